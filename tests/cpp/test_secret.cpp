// SPDX-License-Identifier: Apache-2.0

// Secrets: they do not print, compare by all their bytes, and leave nothing behind.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <sstream>
#include <utility>
#include <vector>

#include "sordino/secret.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

const std::array<std::uint8_t, 32> bytes{1, 2, 3};
const std::array<std::uint8_t, 32> zeros{};

TEST(Secrets, PrintTheirSizeOnly) {
    std::ostringstream text;
    text << Secret(bytes);
    EXPECT_EQ(text.str(), "Secret(32 bytes)");
}

TEST(Secrets, AreEqualByAllTheirBytes) {
    EXPECT_TRUE(Secret(bytes) == Secret(bytes));
    for (std::size_t i = 0; i < 32; ++i) {
        for (unsigned bit = 0; bit < 8; ++bit) {
            auto other = bytes;
            other[i] = static_cast<std::uint8_t>(other[i] ^ (1U << bit));
            EXPECT_FALSE(Secret(bytes) == Secret(other)) << "bit " << bit << " of byte " << i;
        }
    }
}

TEST(Secrets, MoveAndLeaveZeros) {
    Secret first(bytes);
    const Secret second(std::move(first));
    EXPECT_TRUE(second == Secret(bytes));
    EXPECT_TRUE(first == Secret(zeros));  // NOLINT(bugprone-use-after-move): what is left is the question

    Secret third(bytes);
    Secret fourth(zeros);
    fourth = std::move(third);
    EXPECT_TRUE(fourth == Secret(bytes));
    EXPECT_TRUE(third == Secret(zeros));  // NOLINT(bugprone-use-after-move)
    Secret& same = fourth;
    fourth = std::move(same);
    EXPECT_TRUE(fourth == Secret(bytes));
}

TEST(Secrets, AreWipedAtTheEnd) {
    alignas(Secret) std::array<std::byte, sizeof(Secret)> place{};
    auto* secret = new (place.data()) Secret(bytes);
    EXPECT_EQ(place[0], std::byte{1});
    secret->~Secret();
    // The compiler may think that nothing can look here any more; a wipe that it drops fails this test.
    __asm__ __volatile__("" : : "r"(place.data()) : "memory");
    for (const std::byte one : place) EXPECT_EQ(one, std::byte{0});
}

TEST(Equality, NeedsEqualLengths) {
    EXPECT_TRUE(equal(bytes, bytes));
    EXPECT_TRUE(equal({}, {}));
    EXPECT_FALSE(equal(std::span(zeros).first(31), zeros));
    EXPECT_FALSE(equal({}, zeros));
}

TEST(Wiping, ZeroesExactlyItsRange) {
    for (std::size_t size = 0; size < 70; ++size) {
        std::vector<std::uint8_t> memory(size + 2, 7);
        wipe(memory.data() + 1, size);
        EXPECT_EQ(memory.front(), 7);
        EXPECT_EQ(memory.back(), 7);
        for (std::size_t i = 0; i < size; ++i) ASSERT_EQ(memory[i + 1], 0);
    }
}

TEST(SecretBuffers, AreAlignedAndZeroAtFirst) {
    for (const std::size_t count : {0U, 1U, 63U, 64U, 1000U}) {
        const SecretBuffer<std::uint64_t> buffer(count);
        EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0U);
        EXPECT_EQ(buffer.size(), count);
        for (const std::uint64_t value : buffer.span()) ASSERT_EQ(value, 0U);
    }
}

TEST(SecretBuffers, RefuseASizeThatWrapsAround) {
    EXPECT_THROW(SecretBuffer<std::uint64_t>(top / 8 + 1), std::bad_array_new_length);
}

}  // namespace
}  // namespace sordino::test
