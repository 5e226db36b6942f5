// SPDX-License-Identifier: Apache-2.0

// AES-256-CTR with VAES on 256-bit registers: two blocks a register, eight registers in flight, and the
// keystream added to the lanes in registers, so that it never reaches memory.
#if defined(__x86_64__)

#include <immintrin.h>

#include "prg/aes256.hpp"
#include "prg/backend.hpp"
#include "sordino/secret.hpp"

#define SORDINO_TARGET __attribute__((target("avx2,aes,vaes")))

namespace sordino::prg {
namespace {

enum class Sink { overwrite, add32, subtract32, add64, subtract64 };

constexpr std::size_t blocks_per_register = 2;
constexpr std::size_t batch_registers = 8;
constexpr std::size_t batch_blocks = blocks_per_register * batch_registers;

// The number of each block within its batch, where the counter has its lowest byte. A batch begins at a
// multiple of its size, so an XOR is the addition, and one counter in the order of the IV serves the batch.
struct Numbers {
    alignas(64) std::uint8_t byte[batch_blocks * block_bytes];
};

constexpr Numbers number_blocks() {
    Numbers numbers{};
    for (std::size_t i = 0; i < batch_blocks; ++i) {
        numbers.byte[i * block_bytes + block_bytes - 1] = static_cast<std::uint8_t>(i);
    }
    return numbers;
}

constexpr Numbers numbers = number_blocks();

[[gnu::always_inline]] SORDINO_TARGET inline __m256i wide_key(const __m128i* round_key) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(round_key));
}

// The keystream of the batch that begins with `block`, a multiple of batch_blocks.
[[gnu::always_inline]] SORDINO_TARGET inline void batch(const __m128i* key, std::uint64_t stream,
                                                        std::uint64_t block, __m256i state[batch_registers]) {
    const auto iv = _mm_set_epi64x(static_cast<long long>(__builtin_bswap64(block)),
                                   static_cast<long long>(__builtin_bswap64(stream)));
    const __m256i first = _mm256_broadcastsi128_si256(_mm_xor_si128(iv, _mm_load_si128(key)));
    const auto* number = reinterpret_cast<const __m256i*>(numbers.byte);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < batch_registers; ++i) {
        state[i] = _mm256_xor_si256(first, _mm256_load_si256(number + i));
    }
#pragma GCC unroll 14
    for (std::size_t round = 1; round < aes256_rounds; ++round) {
        const __m256i round_key = wide_key(key + round);
#pragma GCC unroll 8
        for (std::size_t i = 0; i < batch_registers; ++i) {
            state[i] = _mm256_aesenc_epi128(state[i], round_key);
        }
    }
    const __m256i last_key = wide_key(key + aes256_rounds);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < batch_registers; ++i) state[i] = _mm256_aesenclast_epi128(state[i], last_key);
}

template <Sink sink>
[[gnu::always_inline]] SORDINO_TARGET inline void put(__m256i* lanes, __m256i pad) {
    if constexpr (sink == Sink::overwrite) {
        _mm256_storeu_si256(lanes, pad);
    } else {
        const __m256i old = _mm256_loadu_si256(lanes);
        if constexpr (sink == Sink::add32) _mm256_storeu_si256(lanes, _mm256_add_epi32(old, pad));
        if constexpr (sink == Sink::subtract32) _mm256_storeu_si256(lanes, _mm256_sub_epi32(old, pad));
        if constexpr (sink == Sink::add64) _mm256_storeu_si256(lanes, _mm256_add_epi64(old, pad));
        if constexpr (sink == Sink::subtract64) _mm256_storeu_si256(lanes, _mm256_sub_epi64(old, pad));
    }
}

// Blocks [block, block + count), which lie within one batch.
template <typename Lane, Sink sink>
SORDINO_TARGET void edge(const __m128i* key, std::uint64_t stream, std::uint64_t block, Lane* lanes,
                         std::size_t count) {
    constexpr std::size_t lanes_per_block = block_bytes / sizeof(Lane);
    const std::size_t skip = block % batch_blocks;
    __m256i state[batch_registers];
    batch(key, stream, block - skip, state);
    alignas(64) Lane pad[batch_blocks * lanes_per_block];
    for (std::size_t i = 0; i < batch_registers; ++i) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(pad) + i, state[i]);
    }
    for (std::size_t i = 0; i < count * lanes_per_block; ++i) {
        const Lane value = pad[skip * lanes_per_block + i];
        if constexpr (sink == Sink::overwrite) lanes[i] = value;
        if constexpr (sink == Sink::add32 || sink == Sink::add64) lanes[i] += value;
        if constexpr (sink == Sink::subtract32 || sink == Sink::subtract64) lanes[i] -= value;
    }
    wipe(pad, sizeof pad);
}

template <typename Lane, Sink sink>
SORDINO_TARGET void accumulate(const std::uint8_t* schedule, std::uint64_t stream, std::uint64_t block,
                               Lane* lanes, std::size_t blocks) {
    constexpr std::size_t lanes_per_block = block_bytes / sizeof(Lane);
    const auto* key = reinterpret_cast<const __m128i*>(schedule);
    while (blocks > 0) {
        const std::size_t left = batch_blocks - block % batch_blocks;  // in this batch
        std::size_t count = left < blocks ? left : blocks;
        if (count < batch_blocks) {
            edge<Lane, sink>(key, stream, block, lanes, count);
        } else {
            auto* out = reinterpret_cast<__m256i*>(lanes);
            count = blocks / batch_blocks * batch_blocks;
            for (std::size_t done = 0; done < count; done += batch_blocks, out += batch_registers) {
                __m256i state[batch_registers];
                batch(key, stream, block + done, state);
#pragma GCC unroll 8
                for (std::size_t i = 0; i < batch_registers; ++i) put<sink>(out + i, state[i]);
            }
        }
        lanes += count * lanes_per_block;
        block += count;
        blocks -= count;
    }
}

}  // namespace

const Backend vaes256{
    .name = "vaes256",
    .schedule_bytes = 256,
    .expand_key = aes256_expand_key,
    .keystream = accumulate<std::uint8_t, Sink::overwrite>,
    .add32 = accumulate<std::uint32_t, Sink::add32>,
    .subtract32 = accumulate<std::uint32_t, Sink::subtract32>,
    .add64 = accumulate<std::uint64_t, Sink::add64>,
    .subtract64 = accumulate<std::uint64_t, Sink::subtract64>,
};

}  // namespace sordino::prg

#endif
