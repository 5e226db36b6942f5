// SPDX-License-Identifier: Apache-2.0

// AES-256-CTR in plain C++: bitsliced, eight blocks at a time, no table and no branch on secrets.
//
// A `Word` is two independent 64-bit halves, each with four blocks; the compiler maps it to the vector
// registers that every target has, or to pairs of integers. In half h, bit 16 r + 4 c + k of plane b is bit b
// of the byte in row r, column c of block 4 h + k: a row is sixteen neighbouring bits, so that ShiftRows
// turns within sixteen bits and MixColumns turns the whole half by rows.
#include <bit>
#include <cstring>

#include "prg/aes256.hpp"
#include "prg/backend.hpp"
#include "sordino/secret.hpp"

namespace sordino::prg {
namespace {

using Word = std::uint64_t __attribute__((vector_size(16)));

constexpr std::size_t batch_blocks = 8;
constexpr std::size_t batch_bytes = batch_blocks * block_bytes;
constexpr std::size_t schedule_words = (aes256_rounds + 1) * 8;

template <typename W>
[[gnu::always_inline]] inline void swap_bits(W& low, W& high, std::uint64_t mask, unsigned distance) {
    const W difference = ((low >> distance) ^ high) & mask;
    high ^= difference;
    low ^= difference << distance;
}

// Transposes, in every byte position, the 8 x 8 bits of eight words: bit i of word k becomes bit k of word i.
template <typename W>
[[gnu::always_inline]] inline void transpose(W word[8]) {
    for (unsigned i = 0; i < 8; i += 2) swap_bits(word[i], word[i + 1], 0x5555555555555555, 1);
    for (const unsigned i : {0U, 1U, 4U, 5U}) swap_bits(word[i], word[i + 2], 0x3333333333333333, 2);
    for (unsigned i = 0; i < 4; ++i) swap_bits(word[i], word[i + 4], 0x0F0F0F0F0F0F0F0F, 4);
}

// The four bytes of a column, one in every second byte.
constexpr std::uint64_t spread(std::uint32_t column) {
    std::uint64_t x = column;
    x = (x | (x << 16)) & 0x0000FFFF0000FFFF;
    return (x | (x << 8)) & 0x00FF00FF00FF00FF;
}

constexpr std::uint32_t gather(std::uint64_t x) {
    x &= 0x00FF00FF00FF00FF;
    x = (x | (x >> 8)) & 0x0000FFFF0000FFFF;
    return static_cast<std::uint32_t>(x | (x >> 16));
}

[[gnu::always_inline]] inline void shift_rows(Word plane[8]) {
    for (unsigned b = 0; b < 8; ++b) {
        const Word x = plane[b];
        plane[b] = (x & 0x000000000000FFFF) |                                            // row 0
                   ((x & 0x00000000FFF00000) >> 4) | ((x & 0x00000000000F0000) << 12) |  // row 1
                   ((x & 0x0000FF0000000000) >> 8) | ((x & 0x000000FF00000000) << 8) |   // row 2
                   ((x & 0xF000000000000000) >> 12) | ((x & 0x0FFF000000000000) << 4);   // row 3
    }
}

// Row r of the result: 2 a[r] + 3 a[r+1] + a[r+2] + a[r+3] = 2 t[r] + a[r+1] + t[r+2], t[r] = a[r] + a[r+1].
[[gnu::always_inline]] inline void mix_columns(Word plane[8]) {
    Word next[8];
    Word t[8];
    for (unsigned b = 0; b < 8; ++b) {
        next[b] = (plane[b] >> 16) | (plane[b] << 48);
        t[b] = plane[b] ^ next[b];
    }
    for (unsigned b = 0; b < 8; ++b) {
        plane[b] = next[b] ^ ((t[b] >> 32) | (t[b] << 32));
        if (b > 0) plane[b] ^= t[b - 1];
        if (b == 0 || b == 1 || b == 3 || b == 4) plane[b] ^= t[7];  // the field's polynomial, 0x1B
    }
}

[[gnu::always_inline]] inline void add_round_key(Word plane[8], const std::uint64_t* round_key) {
    for (unsigned b = 0; b < 8; ++b) plane[b] ^= round_key[b];
}

void expand_key(const std::uint8_t* seed, std::uint8_t* schedule) {
    std::uint8_t round_keys[aes256_schedule_bytes];
    aes256_expand_key(seed, round_keys);
    for (std::size_t round = 0; round <= aes256_rounds; ++round) {
        std::uint32_t column[4];
        std::memcpy(column, round_keys + 16 * round, 16);
        std::uint64_t word[8];
        for (unsigned k = 0; k < 4; ++k) {  // the same key under each of the four blocks
            word[k] = spread(column[0]) | (spread(column[2]) << 8);
            word[4 + k] = spread(column[1]) | (spread(column[3]) << 8);
        }
        transpose(word);
        std::memcpy(schedule + sizeof word * round, word, sizeof word);
        wipe(column, sizeof column);
        wipe(word, sizeof word);
    }
    wipe(round_keys, sizeof round_keys);
}

// The keystream of blocks [block, block + 8).
void batch(const std::uint64_t* round_keys, std::uint64_t stream, std::uint64_t block, std::uint8_t* out) {
    const auto column = [](std::uint64_t value, unsigned which) {
        // Columns are little-endian words of the IV, whose numbers are big-endian.
        return __builtin_bswap32(static_cast<std::uint32_t>(value >> (which == 0 ? 32 : 0)));
    };
    Word plane[8];
    for (unsigned k = 0; k < 4; ++k) {
        const std::uint64_t a = block + k;
        const std::uint64_t b = block + 4 + k;
        const std::uint64_t even = spread(column(stream, 0));
        const std::uint64_t odd = spread(column(stream, 1));
        plane[k] = Word{even | (spread(column(a, 0)) << 8), even | (spread(column(b, 0)) << 8)};
        plane[4 + k] = Word{odd | (spread(column(a, 1)) << 8), odd | (spread(column(b, 1)) << 8)};
    }
    transpose(plane);
    add_round_key(plane, round_keys);
    for (std::size_t round = 1; round < aes256_rounds; ++round) {
        sub_bytes(plane);
        shift_rows(plane);
        mix_columns(plane);
        add_round_key(plane, round_keys + 8 * round);
    }
    sub_bytes(plane);
    shift_rows(plane);
    add_round_key(plane, round_keys + 8 * aes256_rounds);
    transpose(plane);
    for (unsigned k = 0; k < 4; ++k) {
        for (unsigned half = 0; half < 2; ++half) {
            const std::uint64_t even = plane[k][half];
            const std::uint64_t odd = plane[4 + k][half];
            const std::uint32_t columns[4] = {gather(even), gather(odd), gather(even >> 8), gather(odd >> 8)};
            std::memcpy(out + block_bytes * (4 * half + k), columns, sizeof columns);
        }
    }
}

enum class Sink { overwrite, add, subtract };

template <typename Lane, Sink sink>
void accumulate(const std::uint8_t* schedule, std::uint64_t stream, std::uint64_t block, Lane* lanes,
                std::size_t blocks) {
    constexpr std::size_t lanes_per_block = block_bytes / sizeof(Lane);
    const auto* round_keys = reinterpret_cast<const std::uint64_t*>(schedule);
    alignas(16) Lane pad[batch_bytes / sizeof(Lane)];
    while (blocks > 0) {
        const std::size_t now = blocks < batch_blocks ? blocks : batch_blocks;
        batch(round_keys, stream, block, reinterpret_cast<std::uint8_t*>(pad));
        for (std::size_t i = 0; i < now * lanes_per_block; ++i) {
            if constexpr (sink == Sink::overwrite) lanes[i] = pad[i];
            if constexpr (sink == Sink::add) lanes[i] += pad[i];
            if constexpr (sink == Sink::subtract) lanes[i] -= pad[i];
        }
        lanes += now * lanes_per_block;
        block += now;
        blocks -= now;
    }
    wipe(pad, sizeof pad);
}

}  // namespace

const Backend portable{
    .name = "portable",
    .schedule_bytes = schedule_words * sizeof(std::uint64_t),
    .expand_key = expand_key,
    .keystream = accumulate<std::uint8_t, Sink::overwrite>,
    .add32 = accumulate<std::uint32_t, Sink::add>,
    .subtract32 = accumulate<std::uint32_t, Sink::subtract>,
    .add64 = accumulate<std::uint64_t, Sink::add>,
    .subtract64 = accumulate<std::uint64_t, Sink::subtract>,
};

}  // namespace sordino::prg
