// SPDX-License-Identifier: Apache-2.0

// Every backend of this CPU against the portable one: any stream, offset, length and number of seeds, with
// the edges of blocks, tiles and of the whole stream among them.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "input.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/prg.hpp"

namespace {

using sordino::fuzz::Input;
using sordino::fuzz::require;
using Bytes = std::vector<std::uint8_t>;

std::uint64_t position(Input& input) {
    constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
    switch (input.upto(4)) {
        case 0:
            return input.take<std::uint8_t>();
        case 1:
            return input.take<std::uint16_t>();
        case 2:
            return top - input.take<std::uint16_t>();
        case 3:
            return (std::uint64_t{1} << input.upto(63)) - input.take<std::uint8_t>();
        default:
            return input.take<std::uint64_t>();
    }
}

struct Outcome {
    Bytes bytes;
    std::string refusal;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

template <typename Value, typename Call>
Outcome outcome(std::vector<Value> values, Call call) {
    Outcome result;
    try {
        call(std::span<Value>(values));
    } catch (const sordino::InvalidArgument& error) {
        result.refusal = error.what();
    }
    const auto raw = std::as_bytes(std::span(values));
    for (const std::byte one : raw) result.bytes.push_back(static_cast<std::uint8_t>(one));
    return result;
}

template <typename Value, typename Call>
void compare(const std::vector<Value>& values, Call call) {
    sordino::select_backend("portable");
    const Outcome expected = outcome(values, call);
    for (const std::string_view name : sordino::backends()) {
        sordino::select_backend(name);
        require(outcome(values, call) == expected, "every backend does the same");
    }
}

template <typename Lane>
void masks(Input& input) {
    const sordino::MaskRange range{.stream = position(input),
                                   .offset = position(input),
                                   .threads = input.take<std::uint8_t>() % 16 == 0 ? 2 : 1};
    const Bytes add = input.bytes(input.upto(3) * sordino::seed_bytes);
    const Bytes subtract = input.bytes(input.upto(2) * sordino::seed_bytes);
    std::vector<Lane> lanes(input.upto(input.flag() ? 300 : 5'000));
    for (std::size_t i = 0; i < lanes.size(); ++i) lanes[i] = static_cast<Lane>(i * 0x9E3779B97F4A7C15);
    compare(lanes, [&](std::span<Lane> into) { sordino::add_masks(into, add, subtract, range); });
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    switch (input.upto(2)) {
        case 0:
            masks<std::uint32_t>(input);
            break;
        case 1:
            masks<std::uint64_t>(input);
            break;
        default: {
            const sordino::Position start{.stream = position(input),
                                          .block = position(input),
                                          .byte = input.take<std::uint8_t>() % 17U};
            const Bytes seed = input.bytes(sordino::seed_bytes);
            compare(Bytes(input.upto(5'000)), [&](std::span<std::uint8_t> out) {
                sordino::keystream(sordino::Seed(seed), out, start);
            });
        }
    }
    return 0;
}
