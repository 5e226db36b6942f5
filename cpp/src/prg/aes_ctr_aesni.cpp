// SPDX-License-Identifier: Apache-2.0

// AES-256-CTR with AES-NI: eight blocks in flight hide the latency of a round, and the keystream is added to
// the lanes in registers, so that it never reaches memory.
#if defined(__x86_64__)

#include <immintrin.h>

#include "prg/aes256.hpp"
#include "prg/backend.hpp"

#define SORDINO_TARGET __attribute__((target("aes,sse4.1")))

namespace sordino::prg {
namespace {

enum class Sink { overwrite, add32, subtract32, add64, subtract64 };

constexpr int batch_blocks = 8;

template <Sink sink>
SORDINO_TARGET inline void put(__m128i* lanes, __m128i pad) {
    if constexpr (sink == Sink::overwrite) {
        _mm_storeu_si128(lanes, pad);
    } else {
        const __m128i old = _mm_loadu_si128(lanes);
        if constexpr (sink == Sink::add32) _mm_storeu_si128(lanes, _mm_add_epi32(old, pad));
        if constexpr (sink == Sink::subtract32) _mm_storeu_si128(lanes, _mm_sub_epi32(old, pad));
        if constexpr (sink == Sink::add64) _mm_storeu_si128(lanes, _mm_add_epi64(old, pad));
        if constexpr (sink == Sink::subtract64) _mm_storeu_si128(lanes, _mm_sub_epi64(old, pad));
    }
}

template <typename Lane, Sink sink>
SORDINO_TARGET void accumulate(const std::uint8_t* schedule, std::uint64_t stream, std::uint64_t block,
                               Lane* lanes, std::size_t blocks) {
    const auto* key = reinterpret_cast<const __m128i*>(schedule);
    auto* out = reinterpret_cast<__m128i*>(lanes);
    const __m128i reverse = _mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i one = _mm_set_epi64x(0, 1);
    // stream | block as one little-endian number; reversed, it is the IV.
    __m128i counter = _mm_set_epi64x(static_cast<long long>(stream), static_cast<long long>(block));
    for (; blocks >= batch_blocks; blocks -= batch_blocks, out += batch_blocks) {
        __m128i state[batch_blocks];
#pragma GCC unroll 8
        for (int i = 0; i < batch_blocks; ++i) {
            state[i] = _mm_xor_si128(_mm_shuffle_epi8(counter, reverse), _mm_load_si128(key));
            counter = _mm_add_epi64(counter, one);
        }
#pragma GCC unroll 14
        for (std::size_t round = 1; round < aes256_rounds; ++round) {
            const __m128i round_key = _mm_load_si128(key + round);
#pragma GCC unroll 8
            for (int i = 0; i < batch_blocks; ++i) state[i] = _mm_aesenc_si128(state[i], round_key);
        }
        const __m128i last_key = _mm_load_si128(key + aes256_rounds);
#pragma GCC unroll 8
        for (int i = 0; i < batch_blocks; ++i) put<sink>(out + i, _mm_aesenclast_si128(state[i], last_key));
    }
    for (; blocks > 0; --blocks, ++out) {
        __m128i state = _mm_xor_si128(_mm_shuffle_epi8(counter, reverse), _mm_load_si128(key));
        counter = _mm_add_epi64(counter, one);
        for (std::size_t round = 1; round < aes256_rounds; ++round) {
            state = _mm_aesenc_si128(state, _mm_load_si128(key + round));
        }
        put<sink>(out, _mm_aesenclast_si128(state, _mm_load_si128(key + aes256_rounds)));
    }
}

}  // namespace

// The S-box circuit expands keys here too: about a microsecond a key, against gigabytes of keystream.
const Backend aesni{
    .name = "aesni",
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
