// SPDX-License-Identifier: Apache-2.0

// encode() and decode() on any bits of float and double, any clip, scale and weight, against the definition
// one value at a time.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>
#include <vector>

#include "input.hpp"
#include "slow_bits.hpp"
#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"

namespace {

using sordino::fuzz::Input;
using sordino::fuzz::require;
using sordino::fuzz::throws;
using Bytes = std::vector<std::uint8_t>;
__extension__ using Wide = __int128;

// Any double, and often enough a small power of two.
double real(Input& input) {
    if (input.flag()) return std::ldexp(1.0, static_cast<int>(input.upto(40)) - 8);
    return std::bit_cast<double>(input.take<std::uint64_t>());
}

bool positive(double value) {
    return std::isfinite(value) && value > 0;
}

// Whether ceil(clip * scale) * weight is below 2^(width - 1).
bool fits(const sordino::FixedPoint& format, unsigned width) {
    if (format.weight < 0) return false;
    const double bound = std::ceil(format.clip * format.scale);
    if (!(bound < 0x1p63)) return false;
    return static_cast<Wide>(bound) * format.weight < Wide{1} << (width - 1);
}

// The value's integer before the weight; `word` is the keystream's where rounding is stochastic.
std::int64_t rounded(double value, const sordino::FixedPoint& format, std::optional<std::uint64_t> word) {
    const double y = std::min(std::max(value, -format.clip), format.clip) * format.scale;
    const double low = std::floor(y);
    const double fraction = y - low;
    bool up = fraction > 0.5 || (fraction == 0.5 && std::fmod(low, 2.0) != 0);
    if (word) up = static_cast<double>(*word >> 11) * 0x1p-53 < fraction;
    return static_cast<std::int64_t>(low) + (up ? 1 : 0);
}

template <typename Real, typename Lane>
void encode(Input& input) {
    using Word = std::conditional_t<sizeof(Real) == 4, std::uint32_t, std::uint64_t>;
    constexpr unsigned width = std::numeric_limits<Lane>::digits;
    sordino::FixedPoint format{.clip = real(input), .scale = real(input), .weight = 1};
    format.weight = input.flag() ? input.take<std::uint8_t>() : input.take<std::int64_t>();
    format.saturate = input.flag();
    const bool stochastic = input.flag();
    const Bytes seed = input.bytes(sordino::seed_bytes);
    const std::uint64_t offset = input.take<std::uint8_t>();
    if (stochastic)
        format.rounding =
            sordino::StochasticRounding{.seed = sordino::Seed(seed), .stream = 3, .offset = offset};

    const bool any = input.flag();  // any bits, or values within the clip
    std::vector<Real> values(input.upto(600));
    for (Real& value : values) {
        const Word word = input.take<Word>();
        const double part = static_cast<double>(word) / static_cast<double>(std::numeric_limits<Word>::max());
        value = any ? std::bit_cast<Real>(word) : static_cast<Real>(format.clip * (part - 0.5));
    }
    bool valid = positive(format.clip) && positive(format.scale) && fits(format, width);
    for (const Real value : values) {
        const double magnitude = std::fabs(static_cast<double>(value));
        valid = valid && (magnitude <= format.clip || (std::isfinite(magnitude) && format.saturate));
    }
    std::vector<Lane> lanes(values.size(), 9);
    const auto call = [&] {
        sordino::encode(std::span<const Real>(values), std::span(lanes), format);
    };
    if (!valid) {
        require(throws<sordino::InvalidArgument>(call), "what does not fit is refused");
        require(lanes == std::vector<Lane>(values.size(), 9), "and changes nothing");
        return;
    }
    call();
    std::vector<std::uint64_t> words(values.size());
    sordino::keystream(sordino::Seed(seed),
                       {reinterpret_cast<std::uint8_t*>(words.data()), words.size() * sizeof(std::uint64_t)},
                       {.stream = 3, .block = offset / 2, .byte = static_cast<unsigned>(offset % 2) * 8});
    std::vector<std::int64_t> integers(values.size());
    std::vector<double> decoded(values.size());
    sordino::signed_integers(std::span<const Lane>(lanes), integers, width);
    sordino::decode(std::span<const Lane>(lanes), decoded, width, format.scale);
    for (std::size_t i = 0; i < values.size(); ++i) {
        const auto word = stochastic ? std::optional(words[i]) : std::nullopt;
        const std::int64_t expected = rounded(static_cast<double>(values[i]), format, word) * format.weight;
        require(lanes[i] == static_cast<Lane>(expected), "a lane is the rounded value times the weight");
        require(integers[i] == expected, "and no lane wraps around");
        require(decoded[i] == static_cast<double>(expected) / format.scale, "decode() divides by the scale");
    }
}

// The low bits alone decide.
void signed_lanes(Input& input) {
    const unsigned bits = 1 + input.take<std::uint8_t>() % 64U;
    std::vector<std::uint64_t> lanes(input.upto(300));
    for (std::uint64_t& lane : lanes) lane = input.take<std::uint64_t>();
    std::vector<std::int64_t> integers(lanes.size());
    sordino::signed_integers(std::span<const std::uint64_t>(lanes), integers, bits);
    for (std::size_t i = 0; i < lanes.size(); ++i) {
        require(integers[i] == sordino::test::slow_signed(lanes[i], bits), "two's complement");
    }
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    sordino::fuzz::select_some_backend(input);
    switch (input.upto(4)) {
        case 0:
            encode<float, std::uint32_t>(input);
            break;
        case 1:
            encode<float, std::uint64_t>(input);
            break;
        case 2:
            encode<double, std::uint32_t>(input);
            break;
        case 3:
            encode<double, std::uint64_t>(input);
            break;
        default:
            signed_lanes(input);
    }
    return 0;
}
