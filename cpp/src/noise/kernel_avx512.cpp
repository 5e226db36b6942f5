// SPDX-License-Identifier: Apache-2.0

// The inner loops on 512-bit registers: the table is searched inside registers, so no address depends on a
// sample, and the 52-bit multiplier of AVX-512 IFMA makes the exponential.
#if defined(__x86_64__)

#include <immintrin.h>

#include "noise/kernel.hpp"

#define SORDINO_TARGET __attribute__((target("avx512f,avx512ifma,popcnt")))
#define SORDINO_INLINE [[gnu::always_inline]] SORDINO_TARGET inline

namespace sordino::noise {
namespace {

constexpr std::size_t vectors = 4;  // that go through together, to hide the permutations' latency
constexpr std::size_t width = 8;
constexpr std::size_t stride = vectors * width;

// For the masked forms of instructions: gcc 12 warns that the others use what is not initialised.
constexpr __mmask8 every = 0xFF;

SORDINO_INLINE __m512i all(std::uint64_t value) {
    return _mm512_set1_epi64(static_cast<long long>(value));
}

SORDINO_INLINE __m512i high52(__m512i left, __m512i right) {
    return _mm512_madd52hi_epu64(_mm512_setzero_si512(), left, right);
}

// One column of the table, or the powers: sixteen numbers in two registers.
struct Sixteen {
    __m512i low;
    __m512i high;
};

SORDINO_INLINE Sixteen sixteen(const std::uint64_t* numbers) {
    return {.low = _mm512_load_si512(numbers), .high = _mm512_load_si512(numbers + width)};
}

SORDINO_INLINE __m512i pick(const Sixteen& from, __m512i index) {
    return _mm512_permutex2var_epi64(from.low, index, from.high);
}

// magnitude[v] = #{k : boundary[k] < u[v]}: first the row by bisection over the rows' last boundaries, then
// all columns of it. Returns a mask that is zero unless a boundary is hit.
SORDINO_INLINE __mmask8 look_up(const Fast* fast, const __m512i* u, __m512i* magnitude) {
    const Sixteen last = sixteen(fast->column[fast->columns - 1]);
    __m512i row[vectors];
    __m512i next[vectors];  // the least boundary that is not below u
    const __m512i columns = all(fast->columns);
#pragma GCC unroll 4
    for (std::size_t v = 0; v < vectors; ++v) {
        const __m512i eighth = all(fast->column[fast->columns - 1][7]);
        row[v] = _mm512_maskz_mov_epi64(_mm512_cmplt_epi64_mask(eighth, u[v]), all(8));
    }
#pragma GCC unroll 3
    for (std::uint64_t half = 4; half > 0; half /= 2) {
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            const __m512i middle = pick(last, _mm512_add_epi64(row[v], all(half - 1)));
            const __mmask8 below = _mm512_cmplt_epi64_mask(middle, u[v]);
            row[v] = _mm512_mask_add_epi64(row[v], below, row[v], all(half));
        }
    }
#pragma GCC unroll 4
    for (std::size_t v = 0; v < vectors; ++v) {
        next[v] = pick(last, row[v]);
        magnitude[v] = _mm512_maskz_mul_epu32(every, row[v], columns);
    }
    for (std::size_t s = fast->columns - 1; s-- > 0;) {
        const Sixteen column = sixteen(fast->column[s]);
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            const __m512i boundary = pick(column, row[v]);
            const __mmask8 below = _mm512_cmplt_epi64_mask(boundary, u[v]);
            magnitude[v] = _mm512_mask_add_epi64(magnitude[v], below, magnitude[v], all(1));
            next[v] = _mm512_mask_mov_epi64(boundary, below, next[v]);
        }
    }
    __mmask8 hit = 0;
#pragma GCC unroll 4
    for (std::size_t v = 0; v < vectors; ++v) {
        hit = static_cast<__mmask8>(hit | _mm512_cmpeq_epi64_mask(next[v], u[v]));
    }
    return hit;
}

SORDINO_TARGET bool table(const Fast* fast, const std::uint64_t* words, std::int64_t* values,
                          std::size_t count) {
    __mmask8 hit = 0;
    for (std::size_t first = 0; first < count; first += stride) {
        __m512i word[vectors];
        __m512i u[vectors];
        __m512i magnitude[vectors];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            word[v] = _mm512_loadu_si512(words + first + v * width);
            u[v] = _mm512_maskz_srli_epi64(every, word[v], 1);
        }
        hit = static_cast<__mmask8>(hit | look_up(fast, u, magnitude));
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            const __mmask8 negative = _mm512_test_epi64_mask(word[v], all(1));
            _mm512_storeu_si512(
                values + first + v * width,
                _mm512_mask_sub_epi64(magnitude[v], negative, _mm512_setzero_si512(), magnitude[v]));
        }
    }
    return hit != 0;
}

// As scalar::acceptance.
SORDINO_INLINE __m512i acceptance(const Fast* fast, const Sixteen& power, __m512i y, __m512i fraction) {
    const __m512i low52 = all(mask52);
    const __m512i sum =
        _mm512_add_epi64(_mm512_maskz_slli_epi64(every, y, 45), _mm512_maskz_srli_epi64(every, fraction, 8));
    const __m512i exponent = high52(high52(fraction, all(fast->rate)), sum);
    const __m512i rest = _mm512_maskz_andnot_epi64(every, _mm512_maskz_slli_epi64(every, exponent, 8), low52);
    __m512i polynomial = all(fast->term[terms - 1]);
#pragma GCC unroll 6
    for (std::size_t k = terms - 1; k-- > 0;) {
        polynomial = _mm512_madd52hi_epu64(all(fast->term[k]), polynomial, rest);
    }
    polynomial = high52(polynomial, rest);
    const __m512i root =
        pick(power, _mm512_maskz_srli_epi64(every, exponent, 44));  // the lowest four bits count
    return _mm512_maskz_srlv_epi64(every, _mm512_madd52hi_epu64(root, root, polynomial),
                                   _mm512_maskz_srli_epi64(every, exponent, 48));
}

SORDINO_TARGET std::size_t propose(const Fast* fast, const std::uint64_t* words, std::int64_t* out,
                                   bool* undecided) {
    const Sixteen power = sixteen(fast->power);
    const __m128i shift = _mm_cvtsi64_si128(static_cast<long long>(fast->shift));
    const __m128i shift_to_low = _mm_cvtsi64_si128(static_cast<long long>(64 - fast->shift));
    const __m128i shift_to_fraction = _mm_cvtsi64_si128(static_cast<long long>(52 - fast->shift));
    __mmask8 doubt = 0;
    std::size_t accepted = 0;
    for (std::size_t first = 0; first < batch; first += stride) {
        __m512i word[vectors];
        __m512i u[vectors];
        __m512i y[vectors];
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            word[v] = _mm512_loadu_si512(words + first + v * width);
            u[v] = _mm512_maskz_srli_epi64(every, word[v], 1);
        }
        doubt = static_cast<__mmask8>(doubt | look_up(fast, u, y));
#pragma GCC unroll 4
        for (std::size_t v = 0; v < vectors; ++v) {
            const std::uint64_t* others = words + first + v * width;
            const __m512i low =
                _mm512_maskz_srl_epi64(every, _mm512_loadu_si512(others + 2 * batch), shift_to_low);
            const __m512i chance =
                acceptance(fast, power, y[v], _mm512_maskz_sll_epi64(every, low, shift_to_fraction));
            const __m512i random = _mm512_maskz_srli_epi64(every, _mm512_loadu_si512(others + batch), 12);
            const __m512i distance = _mm512_sub_epi64(chance, random);
            doubt = static_cast<__mmask8>(
                doubt | _mm512_cmple_epu64_mask(_mm512_add_epi64(distance, all(margin)), all(2 * margin)));

            const __m512i value = _mm512_add_epi64(_mm512_maskz_sll_epi64(every, y[v], shift), low);
            const __mmask8 negative = _mm512_test_epi64_mask(word[v], all(1));
            const __mmask8 minus_zero = _mm512_mask_testn_epi64_mask(negative, value, value);
            const auto accept = static_cast<__mmask8>(_mm512_cmpgt_epi64_mask(distance, all(margin)) &
                                                      ~static_cast<unsigned>(minus_zero));
            const __m512i with_sign = _mm512_mask_sub_epi64(value, negative, _mm512_setzero_si512(), value);
            _mm512_storeu_si512(out + accepted, _mm512_maskz_compress_epi64(accept, with_sign));
            accepted += static_cast<std::size_t>(_mm_popcnt_u32(accept));
        }
    }
    *undecided = doubt != 0;
    return accepted;
}

}  // namespace

const Kernel avx512{.name = "avx512", .table = table, .propose = propose};

}  // namespace sordino::noise

#endif
