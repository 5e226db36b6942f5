// SPDX-License-Identifier: Apache-2.0

// The keystream: NIST's vector, the stored answers, and every way to read it in pieces.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "sordino/error.hpp"
#include "sordino/prg.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace sordino::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

class Keystream : public EveryBackend {};
INSTANTIATE_FOR_EVERY_BACKEND(Keystream);

Bytes read(const Bytes& seed, std::size_t count, Position position) {
    Bytes pad(count);
    keystream(seed_of(seed), pad, position);
    return pad;
}

TEST_P(Keystream, IsAes256CtrOfNist) {
    const Value nist = vectors("sp800_38a_f55");
    const Bytes plain = nist["plaintext"].bytes();
    const Bytes cipher = nist["ciphertext"].bytes();
    const Bytes counter = nist["counter"].bytes();
    ASSERT_EQ(plain.size(), 64U);
    Position position;
    for (std::size_t i = 0; i < 8; ++i) {
        position.stream = position.stream << 8 | counter[i];
        position.block = position.block << 8 | counter[8 + i];
    }
    Bytes pad = read(nist["key"].bytes(), plain.size(), position);
    for (std::size_t i = 0; i < pad.size(); ++i) pad[i] ^= plain[i];
    EXPECT_EQ(pad, cipher);
}

TEST_P(Keystream, IsTheStoredOne) {
    const Value stored = vectors("keystream");
    ASSERT_FALSE(stored["cases"].items().empty());
    for (const Value& known : stored["cases"].items()) {
        const Bytes expected = known["keystream"].bytes();
        const Natural offset = known["offset"].natural();
        const Position position{.stream = known["stream"].as<std::uint64_t>(),
                                .block = static_cast<std::uint64_t>(offset / 16),
                                .byte = static_cast<unsigned>(offset % 16)};
        EXPECT_EQ(read(known["seed"].bytes(), expected.size(), position), expected);
    }
}

// Blocks one by one take another path through each kernel than whole batches do.
TEST_P(Keystream, IsTheSameInOnePieceAndInBlocks) {
    const Bytes seed = sample<std::uint8_t>(seed_bytes, 1);
    for (const std::uint64_t first : {std::uint64_t{0}, (std::uint64_t{1} << 32) - 37, top - 99}) {
        Bytes pieces;
        for (std::uint64_t block = 0; block < 100; ++block) {
            const Bytes one = read(seed, 16, {.stream = 9, .block = first + block});
            pieces.insert(pieces.end(), one.begin(), one.end());
        }
        EXPECT_EQ(read(seed, pieces.size(), {.stream = 9, .block = first}), pieces) << first;
        for (std::size_t start = 0; start < 40; ++start) {
            for (const std::size_t count : {0U, 1U, 15U, 16U, 17U, 127U, 128U, 129U, 511U, 513U, 1000U}) {
                const Position position{
                    .stream = 9, .block = first + start / 16, .byte = static_cast<unsigned>(start % 16)};
                const auto expected = std::span(pieces).subspan(start, count);
                ASSERT_TRUE(std::ranges::equal(read(seed, count, position), expected))
                    << count << " bytes from " << start << " after block " << first;
            }
        }
    }
}

TEST_P(Keystream, DiffersByStreamAndSeed) {
    const Bytes seed = sample<std::uint8_t>(seed_bytes, 1);
    const Bytes other = sample<std::uint8_t>(seed_bytes, 2);
    EXPECT_NE(read(seed, 16, {.stream = 0}), read(seed, 16, {.stream = 1}));
    EXPECT_NE(read(seed, 16, {.stream = 0}), read(other, 16, {.stream = 0}));
    EXPECT_NE(read(seed, 16, {.stream = 1, .block = 0}), read(seed, 16, {.stream = 0, .block = 1}));
}

TEST_P(Keystream, EndsWithItsLastBlock) {
    const Bytes seed = sample<std::uint8_t>(seed_bytes, 1);
    Bytes pad(17, 0xEE);
    EXPECT_TRUE(throws<InvalidArgument>("offset: ", [&] { keystream(seed_of(seed), pad, {.block = top}); }));
    EXPECT_TRUE(throws<InvalidArgument>("position: ", [&] { keystream(seed_of(seed), pad, {.byte = 16}); }));
    EXPECT_EQ(pad, Bytes(17, 0xEE));
    keystream(seed_of(seed), std::span(pad).first(16), {.block = top});
    EXPECT_EQ(pad.back(), 0xEE);
}

}  // namespace
}  // namespace sordino::test
