// SPDX-License-Identifier: Apache-2.0

// The coordinator's sum of packed uploads and masks, some of them malformed, against a bit-by-bit oracle.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "input.hpp"
#include "slow_bits.hpp"
#include "sordino/aggregate.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/prg.hpp"

namespace {

using sordino::fuzz::Input;
using sordino::fuzz::require;
using sordino::fuzz::throws;
using Bytes = std::vector<std::uint8_t>;

template <typename Lane>
void sum(Input& input) {
    constexpr unsigned width = std::numeric_limits<Lane>::digits;
    const unsigned bits = 1 + input.take<std::uint8_t>() % width;
    const std::size_t count = input.upto(input.flag() ? 40 : 5'000);
    const Bytes add = input.bytes(input.upto(2) * sordino::seed_bytes);
    const Bytes subtract = input.bytes(input.upto(2) * sordino::seed_bytes);
    std::vector<Lane> expected(count);
    std::vector<Bytes> packed(input.upto(3));
    bool valid = true;
    for (Bytes& each : packed) {
        each = input.bytes((count * bits + 7) / 8 + (input.take<std::uint8_t>() == 1 ? 1 : 0));
        if (!each.empty() && input.take<std::uint8_t>() % 8 != 0) {
            const auto used = static_cast<unsigned>((count * bits + 7) % 8 + 1);
            each.back() = static_cast<std::uint8_t>(each.back() & (0xFFU >> (8 - used)));
        }
        const auto lanes = sordino::test::slow_unpack<Lane>(each, count, bits);
        valid = valid && lanes.has_value();
        for (std::size_t i = 0; valid && i < count; ++i) {
            expected[i] = static_cast<Lane>(expected[i] + (*lanes)[i]);
        }
    }
    const std::vector<sordino::Payload> payloads(packed.begin(), packed.end());
    std::vector<Lane> lanes(count, 77);
    const std::size_t threads = input.take<std::uint8_t>() % 16 == 0 ? 2 : 1;
    const auto call = [&] {
        sordino::sum_uploads(payloads, std::span(lanes), bits, add, subtract, threads);
    };
    if (!valid) {
        require(throws<sordino::MalformedMessage>(call), "what pack() never writes is refused");
        require(lanes == std::vector<Lane>(count, 77), "a refused message changes nothing");
        return;
    }
    call();
    sordino::add_masks(std::span(expected), add, subtract, {.threads = 1});
    for (Lane& lane : expected) lane = static_cast<Lane>(lane & (~std::uint64_t{0} >> (64 - bits)));
    require(lanes == expected, "the sum is that of the lanes and keystreams");
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    sordino::fuzz::select_some_backend(input);
    if (input.flag()) {
        sum<std::uint32_t>(input);
    } else {
        sum<std::uint64_t>(input);
    }
    return 0;
}
