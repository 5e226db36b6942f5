// SPDX-License-Identifier: Apache-2.0

// Masks of every backend: the stored answers, the keystream itself as an oracle, seeking, cancelling.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/prg.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace sordino::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

class Masks : public EveryBackend {};
INSTANTIATE_FOR_EVERY_BACKEND(Masks);

template <typename Lane>
std::vector<Lane> masked(std::vector<Lane> lanes, std::span<const std::uint8_t> add,
                         std::span<const std::uint8_t> subtract, MaskRange range) {
    add_masks(std::span(lanes), add, subtract, range);
    return lanes;
}

// The keystreams of all seeds, one whole lane after another.
template <typename Lane>
std::vector<Lane> slowly_masked(std::vector<Lane> lanes, std::span<const std::uint8_t> add,
                                std::span<const std::uint8_t> subtract, MaskRange range) {
    const std::uint64_t lanes_per_block = 16 / sizeof(Lane);
    const auto apply = [&](std::span<const std::uint8_t> seeds, bool negative) {
        for (; !seeds.empty(); seeds = seeds.subspan(seed_bytes)) {
            std::vector<Lane> pad(lanes.size());
            const Position position{
                .stream = range.stream,
                .block = range.offset / lanes_per_block,
                .byte = static_cast<unsigned>(range.offset % lanes_per_block * sizeof(Lane))};
            keystream(seeds.first<seed_bytes>(),
                      {reinterpret_cast<std::uint8_t*>(pad.data()), pad.size() * sizeof(Lane)}, position);
            for (std::size_t i = 0; i < lanes.size(); ++i) {
                lanes[i] = static_cast<Lane>(negative ? lanes[i] - pad[i] : lanes[i] + pad[i]);
            }
        }
    };
    apply(add, false);
    apply(subtract, true);
    return lanes;
}

template <typename Lane>
void compare_with_keystream() {
    constexpr std::size_t tile = 16 * 1024 / sizeof(Lane);
    const Bytes seeds = sample<std::uint8_t>(5 * seed_bytes, 3);
    const auto add = std::span(seeds).first(3 * seed_bytes);
    const auto subtract = std::span(seeds).last(2 * seed_bytes);
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{tile - 3},
                                       std::uint64_t{1} << 34, top - 3 * tile}) {
        std::vector<std::size_t> lengths{tile - 1, tile, tile + 1, 2 * tile + 5};
        for (std::size_t count = 0; count < 270; count = count < 70 ? count + 1 : count + 13) {
            lengths.push_back(count);
        }
        for (const std::size_t count : lengths) {
            const std::vector<Lane> lanes = sample<Lane>(count, count);
            const MaskRange range{.stream = 7, .offset = offset, .threads = 1};
            ASSERT_EQ(masked(lanes, add, subtract, range), slowly_masked(lanes, add, subtract, range))
                << count << " lanes at " << offset;
        }
    }
}

TEST_P(Masks, AreTheKeystreamAddedToNarrowLanes) {
    compare_with_keystream<std::uint32_t>();
}

TEST_P(Masks, AreTheKeystreamAddedToWideLanes) {
    compare_with_keystream<std::uint64_t>();
}

TEST_P(Masks, AreTheStoredOnes) {
    const Value stored = vectors("masks");
    ASSERT_FALSE(stored["cases"].items().empty());
    for (const Value& known : stored["cases"].items()) {
        const Bytes add = known["add"].bytes();
        const Bytes subtract = known["subtract"].bytes();
        const MaskRange range{.stream = known["stream"].as<std::uint64_t>(),
                              .offset = known["offset"].as<std::uint64_t>()};
        const auto check = [&](auto lane) {
            using Lane = decltype(lane);
            EXPECT_EQ(masked(known["lanes"].naturals<Lane>(), add, subtract, range),
                      known["masked"].naturals<Lane>());
        };
        if (known["width"].natural() == 32) {
            check(std::uint32_t{});
        } else {
            check(std::uint64_t{});
        }
    }
}

TEST_P(Masks, AreTheSameWhateverTheThreads) {
    const Bytes seeds = sample<std::uint8_t>(3 * seed_bytes, 4);
    const auto lanes = sample<std::uint32_t>(50'001, 5);
    const auto run = [&](std::size_t threads) {
        return masked(lanes, std::span(seeds).first(64), std::span(seeds).last(32),
                      {.stream = 1, .offset = 5, .threads = threads});
    };
    const auto expected = run(1);
    for (const std::size_t threads : {2U, 3U, 7U, 64U}) EXPECT_EQ(run(threads), expected) << threads;
}

TEST_P(Masks, CoverAndComeOff) {
    const Bytes seeds = sample<std::uint8_t>(64, 6);
    const auto plain = sample<std::uint64_t>(10'000, 7);
    const auto covered = masked(plain, seeds, {}, {.stream = 7, .offset = 3, .threads = 2});
    std::size_t same = 0;
    for (std::size_t i = 0; i < plain.size(); ++i) same += plain[i] == covered[i] ? 1U : 0U;
    EXPECT_EQ(same, 0U);
    EXPECT_EQ(masked(covered, {}, seeds, {.stream = 7, .offset = 3}), plain);
}

TEST_P(Masks, TouchNothingBesideTheLanes) {
    const Bytes seed = sample<std::uint8_t>(32, 8);
    for (std::size_t count = 0; count < 80; ++count) {
        std::vector<std::uint32_t> lanes(count + 16, 0xC0FFEE);
        add_masks(std::span(lanes).subspan(8, count), seed, {}, {.offset = count % 5, .threads = 1});
        for (std::size_t i = 0; i < 8; ++i) {
            ASSERT_EQ(lanes[i], 0xC0FFEEU) << count;
            ASSERT_EQ(lanes[8 + count + i], 0xC0FFEEU) << count;
        }
    }
}

TEST(MaskArguments, AreRefusedBeforeAnythingIsWritten) {
    const Bytes seed(33);
    const auto fine = std::span(seed).first(32);
    std::vector<std::uint32_t> lanes(3, 4);
    const std::span<std::uint32_t> all(lanes);
    EXPECT_TRUE(throws<InvalidArgument>("add: ", [&] { add_masks(all, seed, {}); }));
    EXPECT_TRUE(throws<InvalidArgument>("subtract: ", [&] { add_masks(all, fine, seed); }));
    EXPECT_TRUE(throws<InvalidArgument>("threads: ", [&] { add_masks(all, fine, {}, {.threads = 0}); }));
    EXPECT_TRUE(throws<InvalidArgument>("offset: ", [&] { add_masks(all, fine, {}, {.offset = top - 1}); }));
    EXPECT_EQ(lanes, std::vector<std::uint32_t>(3, 4));
}

TEST(MaskArguments, MayBeEmpty) {
    const Bytes seed(32);
    std::vector<std::uint64_t> lanes(3, 4);
    add_masks(std::span(lanes), {}, {});
    add_masks(std::span(lanes).first(0), seed, seed, {.offset = top});
    EXPECT_EQ(lanes, std::vector<std::uint64_t>(3, 4));
}

}  // namespace
}  // namespace sordino::test
