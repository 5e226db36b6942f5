// SPDX-License-Identifier: Apache-2.0

// Kernels called from many threads at once; run it under ThreadSanitizer too.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <thread>
#include <vector>

#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/prg.hpp"
#include "sordino/shamir.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr int callers = 4;

// All at once, each with its number.
template <typename Call>
void race(Call call) {
    std::atomic<int> waiting{callers};
    std::vector<std::jthread> threads;
    for (int number = 0; number < callers; ++number) {
        threads.emplace_back([&, number] {
            --waiting;
            while (waiting > 0) std::this_thread::yield();
            call(number);
        });
    }
}

TEST(Threads, MaskVectorsOfTheirOwn) {
    const Bytes seeds = sample<std::uint8_t>(64, 1);
    const auto lanes = sample<std::uint32_t>(30'011, 2);
    auto expected = lanes;
    add_masks(std::span(expected), seeds, {}, {.stream = 3, .offset = 1, .threads = 1});
    std::vector<std::vector<std::uint32_t>> results(callers, lanes);
    race([&](int number) {
        add_masks(std::span(results[static_cast<std::size_t>(number)]), seeds, {},
                  {.stream = 3, .offset = 1, .threads = 3});
    });
    for (const auto& result : results) EXPECT_EQ(result, expected);
}

// Neighbouring parts of one vector, cut within a block and within a tile.
TEST(Threads, MaskPartsOfOneVector) {
    const Bytes seeds = sample<std::uint8_t>(64, 1);
    auto expected = sample<std::uint64_t>(callers * 5'003, 2);
    auto lanes = expected;
    add_masks(std::span(expected), seeds, {}, {.offset = 1, .threads = 1});
    race([&](int number) {
        const std::size_t start = static_cast<std::size_t>(number) * 5'003;
        add_masks(std::span(lanes).subspan(start, 5'003), seeds, {}, {.offset = 1 + start, .threads = 2});
    });
    EXPECT_EQ(lanes, expected);
}

// Whichever backend a call begins with, its result is the same.
TEST(Threads, MaskWhileAnotherSelectsTheBackend) {
    const Bytes seed = sample<std::uint8_t>(32, 1);
    auto expected = sample<std::uint32_t>(9'000, 2);
    std::vector<std::vector<std::uint32_t>> results(callers, expected);
    add_masks(std::span(expected), seed, {}, {.threads = 1});
    race([&](int number) {
        if (number == 0) {
            for (int i = 0; i < 20; ++i) {
                for (const std::string_view name : backends()) select_backend(name);
            }
        }
        add_masks(std::span(results[static_cast<std::size_t>(number)]), seed, {}, {.threads = 2});
    });
    select_backend("");
    for (const auto& result : results) EXPECT_EQ(result, expected);
}

TEST(Threads, ChooseTheBackendTogether) {
    std::vector<std::string_view> names(callers);
    select_backend("");
    race([&](int number) { names[static_cast<std::size_t>(number)] = backend(); });
    for (const std::string_view name : names) EXPECT_EQ(name, backend());
}

TEST(Threads, ShareAndPackAtOnce) {
    const Bytes secrets = sample<std::uint8_t>(32 * 40, 1);
    const Bytes seed = sample<std::uint8_t>(32, 2);
    const std::vector<std::uint16_t> points{3, 1, 65535, 9};
    std::vector<Bytes> rebuilt(callers, Bytes(secrets.size()));
    race([&](int number) {
        Bytes shares(points.size() * secrets.size());
        shamir_split(secrets, points, 3, seed_of(seed), shares);
        shamir_combine(std::span(points).first(3), std::span(shares).first(3 * secrets.size()),
                       rebuilt[static_cast<std::size_t>(number)]);
        const auto lanes = sample<std::uint32_t>(1'001, 3);
        Bytes packed(packed_size(lanes.size(), 32));
        pack(std::span(lanes), packed, 32);
        std::vector<std::uint32_t> unpacked(lanes.size());
        unpack_add(packed, std::span(unpacked), 32);
        EXPECT_EQ(unpacked, lanes);
    });
    for (const Bytes& each : rebuilt) EXPECT_EQ(each, secrets);
}

TEST(DefaultThreads, ComeFromTheEnvironment) {
    {
        const Environment variable("SORDINO_THREADS", "3");
        EXPECT_EQ(default_threads(), 3U);
    }
    for (const char* value : {static_cast<const char*>(nullptr), ""}) {
        const Environment variable("SORDINO_THREADS", value);
        EXPECT_GE(default_threads(), 1U);
    }
}

TEST(DefaultThreads, AreRefusedUnlessAPositiveNumber) {
    std::vector<std::uint32_t> lanes(3, 4);
    const Bytes seed(32);
    for (const char* value : {"0", "-1", "two", "2 ", " 2", "1.5", "99999999999999999999"}) {
        const Environment variable("SORDINO_THREADS", value);
        EXPECT_TRUE(throws<InvalidArgument>("SORDINO_THREADS: ", [] { (void)default_threads(); })) << value;
        EXPECT_TRUE(
            throws<InvalidArgument>("SORDINO_THREADS: ", [&] { add_masks(std::span(lanes), seed, {}); }));
    }
    EXPECT_EQ(lanes, std::vector<std::uint32_t>(3, 4));
}

}  // namespace
}  // namespace sordino::test
