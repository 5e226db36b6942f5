// SPDX-License-Identifier: Apache-2.0

// SHA-256 with the SHA extensions of x86-64. A round waits for the one before it, and each instruction takes
// longer than it keeps the unit busy, so two messages at once cost little more than one.
#if defined(__x86_64__)

#include <immintrin.h>

#include "sha256/backend.hpp"

#define SORDINO_TARGET __attribute__((target("sha,sse4.1")))

namespace sordino::hash {
namespace {

constexpr std::size_t steps = rounds / 4;  // four rounds a step, as the instructions take them

// The instructions want the state as (a, b, e, f) and (c, d, g, h), from the highest word down.
template <std::size_t ways>
[[gnu::always_inline]] SORDINO_TARGET inline void run(std::uint32_t* states, const std::uint8_t* const* data,
                                                      std::size_t blocks) {
    const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[ways];
    __m128i cdgh[ways];
#pragma GCC unroll 2
    for (std::size_t i = 0; i < ways; ++i) {
        const auto* words = reinterpret_cast<const __m128i*>(states + state_words * i);
        const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(words), 0xB1);
        const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(words + 1), 0x1B);
        abef[i] = _mm_alignr_epi8(cdab, efgh, 8);
        cdgh[i] = _mm_blend_epi16(efgh, cdab, 0xF0);
    }
    for (std::size_t block = 0; block < blocks; ++block) {
        __m128i before_abef[ways];
        __m128i before_cdgh[ways];
        __m128i w[ways][4];  // the last sixteen words of the message schedule, in a ring
#pragma GCC unroll 2
        for (std::size_t i = 0; i < ways; ++i) {
            before_abef[i] = abef[i];
            before_cdgh[i] = cdgh[i];
        }
#pragma GCC unroll 16
        for (std::size_t step = 0; step < steps; ++step) {
            const __m128i constants =
                _mm_load_si128(reinterpret_cast<const __m128i*>(round_constants + 4 * step));
#pragma GCC unroll 2
            for (std::size_t i = 0; i < ways; ++i) {
                __m128i& now = w[i][step % 4];
                if (step < 4) {
                    const auto* bytes =
                        reinterpret_cast<const __m128i*>(data[i] + block_bytes * block + 16 * step);
                    now = _mm_shuffle_epi8(_mm_loadu_si128(bytes), swap_bytes);
                } else {
                    const __m128i last = w[i][(step + 3) % 4];
                    const __m128i seven_back = _mm_alignr_epi8(last, w[i][(step + 2) % 4], 4);
                    const __m128i partial =
                        _mm_add_epi32(_mm_sha256msg1_epu32(now, w[i][(step + 1) % 4]), seven_back);
                    now = _mm_sha256msg2_epu32(partial, last);
                }
                const __m128i sums = _mm_add_epi32(now, constants);
                cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], sums);
                abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], _mm_shuffle_epi32(sums, 0x0E));
            }
        }
#pragma GCC unroll 2
        for (std::size_t i = 0; i < ways; ++i) {
            abef[i] = _mm_add_epi32(abef[i], before_abef[i]);
            cdgh[i] = _mm_add_epi32(cdgh[i], before_cdgh[i]);
        }
    }
#pragma GCC unroll 2
    for (std::size_t i = 0; i < ways; ++i) {
        auto* words = reinterpret_cast<__m128i*>(states + state_words * i);
        const __m128i feba = _mm_shuffle_epi32(abef[i], 0x1B);
        const __m128i dchg = _mm_shuffle_epi32(cdgh[i], 0xB1);
        _mm_storeu_si128(words, _mm_blend_epi16(feba, dchg, 0xF0));
        _mm_storeu_si128(words + 1, _mm_alignr_epi8(dchg, feba, 8));
    }
}

SORDINO_TARGET void compress(std::uint32_t* state, const std::uint8_t* data, std::size_t blocks) {
    run<1>(state, &data, blocks);
}

SORDINO_TARGET void compress_two(std::uint32_t* states, const std::uint8_t* first, const std::uint8_t* second,
                                 std::size_t blocks) {
    const std::uint8_t* const data[] = {first, second};
    run<2>(states, data, blocks);
}

}  // namespace

const Backend sha_ni = {.name = "sha_ni", .compress = compress, .compress_two = compress_two};

}  // namespace sordino::hash

#endif
