// SPDX-License-Identifier: Apache-2.0

// A yardstick: AES-256-CTR in registers alone, one thread. masking.py compiles and loads this file.
//
// Nothing is read but the round keys and nothing is written; all keystream is summed into the result, so that
// no block can be left out.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace {

constexpr int rounds = 14;
constexpr int in_flight = 8;  // registers; enough to hide the latency of a round

__attribute__((target("aes,sse4.1"))) std::uint64_t counter_mode_128(const std::uint8_t* keys,
                                                                     std::uint64_t blocks) {
    __m128i key[rounds + 1];
    for (int r = 0; r <= rounds; ++r) {
        const __m128i one_key = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys + 16 * r));
        key[r] = one_key;
    }
    __m128i counter = _mm_setzero_si128();
    const __m128i step = _mm_set_epi64x(1, 0);
    __m128i sum = _mm_setzero_si128();
    for (std::uint64_t done = 0; done < blocks; done += 1 * in_flight) {
        __m128i state[in_flight];
#pragma GCC unroll 8
        for (int i = 0; i < in_flight; ++i) {
            state[i] = _mm_xor_si128(counter, key[0]);
            counter = _mm_add_epi64(counter, step);
        }
#pragma GCC unroll 13
        for (int r = 1; r < rounds; ++r) {
#pragma GCC unroll 8
            for (int i = 0; i < in_flight; ++i) state[i] = _mm_aesenc_si128(state[i], key[r]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < in_flight; ++i) {
            sum = _mm_add_epi32(sum, _mm_aesenclast_si128(state[i], key[rounds]));
        }
    }
    std::uint64_t words[sizeof(sum) / 8];
    std::memcpy(words, &sum, sizeof words);
    std::uint64_t result = 0;
    for (const std::uint64_t word : words) result ^= word;
    return result;
}

__attribute__((target("avx2,aes,vaes"))) std::uint64_t counter_mode_256(const std::uint8_t* keys,
                                                                        std::uint64_t blocks) {
    __m256i key[rounds + 1];
    for (int r = 0; r <= rounds; ++r) {
        const __m128i one_key = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys + 16 * r));
        key[r] = _mm256_broadcastsi128_si256(one_key);
    }
    __m256i counter = _mm256_set_epi64x(1, 0, 0, 0);
    const __m256i step = _mm256_set_epi64x(2, 0, 2, 0);
    __m256i sum = _mm256_setzero_si256();
    for (std::uint64_t done = 0; done < blocks; done += 2 * in_flight) {
        __m256i state[in_flight];
#pragma GCC unroll 8
        for (int i = 0; i < in_flight; ++i) {
            state[i] = _mm256_xor_si256(counter, key[0]);
            counter = _mm256_add_epi64(counter, step);
        }
#pragma GCC unroll 13
        for (int r = 1; r < rounds; ++r) {
#pragma GCC unroll 8
            for (int i = 0; i < in_flight; ++i) state[i] = _mm256_aesenc_epi128(state[i], key[r]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < in_flight; ++i) {
            sum = _mm256_add_epi32(sum, _mm256_aesenclast_epi128(state[i], key[rounds]));
        }
    }
    std::uint64_t words[sizeof(sum) / 8];
    std::memcpy(words, &sum, sizeof words);
    std::uint64_t result = 0;
    for (const std::uint64_t word : words) result ^= word;
    return result;
}

__attribute__((target("avx512f,aes,vaes"))) std::uint64_t counter_mode_512(const std::uint8_t* keys,
                                                                           std::uint64_t blocks) {
    __m512i key[rounds + 1];
    for (int r = 0; r <= rounds; ++r) {
        const __m128i one_key = _mm_loadu_si128(reinterpret_cast<const __m128i*>(keys + 16 * r));
        key[r] = _mm512_maskz_broadcast_i32x4(0xFFFF, one_key);
    }
    __m512i counter = _mm512_set_epi64(3, 0, 2, 0, 1, 0, 0, 0);
    const __m512i step = _mm512_set_epi64(4, 0, 4, 0, 4, 0, 4, 0);
    __m512i sum = _mm512_setzero_si512();
    for (std::uint64_t done = 0; done < blocks; done += 4 * in_flight) {
        __m512i state[in_flight];
#pragma GCC unroll 8
        for (int i = 0; i < in_flight; ++i) {
            state[i] = _mm512_xor_si512(counter, key[0]);
            counter = _mm512_add_epi64(counter, step);
        }
#pragma GCC unroll 13
        for (int r = 1; r < rounds; ++r) {
#pragma GCC unroll 8
            for (int i = 0; i < in_flight; ++i) state[i] = _mm512_aesenc_epi128(state[i], key[r]);
        }
#pragma GCC unroll 8
        for (int i = 0; i < in_flight; ++i) {
            sum = _mm512_add_epi32(sum, _mm512_aesenclast_epi128(state[i], key[rounds]));
        }
    }
    std::uint64_t words[sizeof(sum) / 8];
    std::memcpy(words, &sum, sizeof words);
    std::uint64_t result = 0;
    for (const std::uint64_t word : words) result ^= word;
    return result;
}

}  // namespace

// keys: fifteen round keys of sixteen bytes. width: 128, 256 or 512 bits a register; the caller knows what
// the CPU has. blocks: a multiple of 32.
extern "C" std::uint64_t counter_mode(const std::uint8_t* keys, std::uint64_t blocks, unsigned width) {
    if (width == 512) return counter_mode_512(keys, blocks);
    if (width == 256) return counter_mode_256(keys, blocks);
    return counter_mode_128(keys, blocks);
}
