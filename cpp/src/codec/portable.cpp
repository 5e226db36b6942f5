// SPDX-License-Identifier: Apache-2.0

// The codec without any instruction set: the definition that the others are held to.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "codec/backend.hpp"

namespace sordino::codec {
namespace {

__extension__ using Wide = unsigned __int128;

double scaled(double value, const Encoding& encoding) {
    if (encoding.bounded) value = std::clamp(value * encoding.factor, -encoding.clip, encoding.clip);
    return value * encoding.scale;
}

template <typename Lane>
Lane weighted(std::int64_t integer, std::int64_t weight) {
    return static_cast<Lane>(static_cast<std::uint64_t>(integer) * static_cast<std::uint64_t>(weight));
}

template <typename Real, typename Lane>
void nearest(const Real* values, Lane* lanes, std::size_t count, const Encoding& encoding) {
    for (std::size_t i = 0; i < count; ++i) {
        lanes[i] = weighted<Lane>(std::llrint(scaled(values[i], encoding)), encoding.weight);
    }
}

template <typename Real, typename Lane>
void stochastic(const Real* values, const std::uint64_t* words, Lane* lanes, std::size_t count,
                const Encoding& encoding) {
    for (std::size_t i = 0; i < count; ++i) {
        // floor(y) + [u < y - floor(y)] and not floor(y + u): that sum could round up past ceil(y).
        const double y = scaled(values[i], encoding);
        const double low = std::floor(y);
        const double u = static_cast<double>(words[i] >> 11) * 0x1p-53;
        const std::int64_t integer = static_cast<std::int64_t>(low) + (u < y - low ? 1 : 0);
        lanes[i] = weighted<Lane>(integer, encoding.weight);
    }
}

template <typename Real>
bool within(const Real* values, std::size_t count, double limit) {
    bool all = true;
    for (std::size_t i = 0; i < count; ++i) all &= std::fabs(static_cast<double>(values[i])) <= limit;
    return all;
}

template <typename Real>
double square_sum(const Real* values, std::size_t count) {
    double sum[accumulators] = {};
    std::size_t i = 0;
    for (; i + accumulators <= count; i += accumulators) {
        for (std::size_t j = 0; j < accumulators; ++j) {
            const auto value = static_cast<double>(values[i + j]);
            sum[j] += value * value;
        }
    }
    for (std::size_t j = 0; i < count; ++i, ++j) {
        const auto value = static_cast<double>(values[i]);
        sum[j] += value * value;
    }
    for (std::size_t half = accumulators / 2; half > 0; half /= 2) {
        for (std::size_t j = 0; j < half; ++j) sum[j] += sum[j + half];
    }
    return sum[0];
}

constexpr std::uint64_t low_mask(unsigned bits) {
    return ~std::uint64_t{0} >> (64 - bits);
}

template <typename Lane>
void pack(const Lane* lanes, std::uint8_t* out, std::size_t groups, unsigned bits) {
    const std::uint64_t mask = low_mask(bits);
    Wide pending = 0;  // less than 64 bits are left over, so 127 are held at most
    unsigned held = 0;
    for (std::size_t i = 0; i < groups * group_lanes; ++i) {
        pending |= static_cast<Wide>(lanes[i] & mask) << held;
        held += bits;
        if (held >= 64) {
            const auto word = static_cast<std::uint64_t>(pending);
            std::memcpy(out, &word, sizeof word);
            out += sizeof word;
            pending >>= 64;
            held -= 64;
        }
    }
    const auto rest = static_cast<std::uint64_t>(pending);
    if (held > 0) std::memcpy(out, &rest, (held + 7) / 8);
}

template <bool subtract, typename Lane>
void unpack(const std::uint8_t* data, Lane* lanes, std::size_t groups, unsigned bits) {
    const std::uint64_t mask = low_mask(bits);
    for (std::size_t g = 0; g < groups; ++g, data += 2 * std::size_t{bits}, lanes += group_lanes) {
        for (unsigned i = 0; i < group_lanes; ++i) {
            // Sixteen bytes hold any lane wherever it begins: at most 7 bits before it, and 64 of it.
            Wide window = 0;
            std::memcpy(&window, data + i * bits / 8, sizeof window);
            const auto value = static_cast<Lane>(static_cast<std::uint64_t>(window >> (i * bits % 8)) & mask);
            lanes[i] = static_cast<Lane>(subtract ? lanes[i] - value : lanes[i] + value);
        }
    }
}

SquareSum integer_square_sum(const std::uint32_t* lanes, std::size_t count) {
    SquareSum sum{};
    for (std::size_t i = 0; i < count; ++i) {
        const std::int64_t integer = static_cast<std::int32_t>(lanes[i]);
        const auto square = static_cast<std::uint64_t>(integer * integer);
        sum.low += square & 0xFFFFFFFF;
        sum.high += square >> 32;
    }
    return sum;
}

template <typename Real, typename Lane>
constexpr Encoders<Real, Lane> encoders{.nearest = nearest<Real, Lane>, .stochastic = stochastic<Real, Lane>};
template <typename Lane>
constexpr Packers<Lane> packers{
    .pack = pack<Lane>, .add = unpack<false, Lane>, .subtract = unpack<true, Lane>};

}  // namespace

const Backend portable{
    .name = "portable",
    .float_to_32 = encoders<float, std::uint32_t>,
    .float_to_64 = encoders<float, std::uint64_t>,
    .double_to_32 = encoders<double, std::uint32_t>,
    .double_to_64 = encoders<double, std::uint64_t>,
    .floats = {.within = within<float>, .square_sum = square_sum<float>},
    .doubles = {.within = within<double>, .square_sum = square_sum<double>},
    .pack32 = packers<std::uint32_t>,
    .pack64 = packers<std::uint64_t>,
    .integer_square_sum = integer_square_sum,
};

}  // namespace sordino::codec
