// SPDX-License-Identifier: Apache-2.0

// The coordinator's sum: packed uploads and masks over tiles, against unpacking and masking one by one.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "slow_bits.hpp"
#include "sordino/aggregate.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

class Sums : public EveryBackend {};
INSTANTIATE_FOR_EVERY_BACKEND(Sums);

template <typename Lane>
std::vector<Bytes> uploads(std::size_t sites, std::size_t count, unsigned bits) {
    std::vector<Bytes> result;
    for (std::size_t site = 0; site < sites; ++site) {
        result.push_back(slow_pack(sample<Lane>(count, site + bits), bits));
    }
    return result;
}

template <typename Lane>
void compare(std::size_t count, unsigned bits) {
    const Bytes seeds = sample<std::uint8_t>(5 * seed_bytes, 3);
    const auto add = std::span(seeds).first(2 * seed_bytes);
    const auto subtract = std::span(seeds).last(3 * seed_bytes);
    const std::vector<Bytes> packed = uploads<Lane>(3, count, bits);
    std::vector<Lane> expected(count);
    for (const Bytes& each : packed) {
        const auto lanes = slow_unpack<Lane>(each, count, bits);
        ASSERT_TRUE(lanes.has_value());
        for (std::size_t i = 0; i < count; ++i) expected[i] = static_cast<Lane>(expected[i] + (*lanes)[i]);
    }
    add_masks(std::span(expected), add, subtract, {.threads = 1});
    for (Lane& lane : expected) lane = static_cast<Lane>(lane & (top >> (64 - bits)));

    const std::vector<Payload> payloads(packed.begin(), packed.end());
    for (const std::size_t threads : {1U, 3U}) {
        std::vector<Lane> lanes(count, 77);
        sum_uploads(payloads, std::span(lanes), bits, add, subtract, threads);
        ASSERT_EQ(lanes, expected) << count << " lanes of " << bits << " bits, threads: " << threads;
    }
}

TEST_P(Sums, AreThoseOfUnpackedLanes) {
    constexpr std::size_t tile = 16 * 1024;  // bytes
    for (const std::size_t count : {0U, 1U, 2U, 3U, 7U, 17U, 65U}) {
        for (unsigned bits = 1; bits <= 32; ++bits) compare<std::uint32_t>(count, bits);
        for (unsigned bits = 1; bits <= 64; ++bits) compare<std::uint64_t>(count, bits);
    }
    for (const unsigned bits : {1U, 13U, 31U, 32U}) {
        for (const std::size_t count : {tile / 4 - 1, tile / 4, tile / 4 + 1, 3 * tile / 4 + 5}) {
            compare<std::uint32_t>(count, bits);
            compare<std::uint64_t>(count, 2 * bits - 1);
        }
    }
}

TEST(SumArguments, AreRefusedBeforeAnythingIsWritten) {
    std::vector<std::uint64_t> lanes(5, 9);
    std::vector<Bytes> packed = uploads<std::uint64_t>(3, lanes.size(), 13);
    const Bytes seeds(33);
    const auto attempt = [&](unsigned bits, std::span<const std::uint8_t> add, std::size_t threads) {
        return [&, bits, add, threads] {
            const std::vector<Payload> payloads(packed.begin(), packed.end());
            sum_uploads(payloads, std::span(lanes), bits, add, {}, threads);
        };
    };
    EXPECT_TRUE(throws<InvalidArgument>("bits: ", attempt(0, {}, 1)));
    EXPECT_TRUE(throws<InvalidArgument>("bits: ", attempt(65, {}, 1)));
    EXPECT_TRUE(throws<InvalidArgument>("add: ", attempt(13, seeds, 1)));
    EXPECT_TRUE(throws<InvalidArgument>("threads: ", attempt(13, {}, 0)));
    EXPECT_TRUE(throws<MalformedMessage>("payloads[0]: ", attempt(20, {}, 1)));
    packed[2].back() = static_cast<std::uint8_t>(packed[2].back() | 0x80);
    EXPECT_TRUE(throws<MalformedMessage>("payloads[2]: ", attempt(13, {}, 1)));
    packed[1].pop_back();
    EXPECT_TRUE(throws<MalformedMessage>("payloads[1]: ", attempt(13, {}, 1)));
    EXPECT_EQ(lanes, std::vector<std::uint64_t>(5, 9));
}

}  // namespace
}  // namespace sordino::test
