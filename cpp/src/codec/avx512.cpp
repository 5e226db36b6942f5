// SPDX-License-Identifier: Apache-2.0

// The codec on 512-bit registers. What is left over at the end of a call is the portable kernel's.
#if defined(__x86_64__)

#include <immintrin.h>

#include "codec/backend.hpp"

#define SORDINO_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define SORDINO_INLINE [[gnu::always_inline]] SORDINO_TARGET inline

namespace sordino::codec {
namespace {

// The hardware's own prefetching stops at the end of a page, and begins anew for each tile.
constexpr std::size_t ahead = 2048;  // bytes

template <typename Real>
SORDINO_INLINE void fetch(const Real* values) {
    _mm_prefetch(reinterpret_cast<const char*>(values) + ahead, _MM_HINT_T0);
}

SORDINO_INLINE __m512d load(const float* values) {
    return _mm512_maskz_cvtps_pd(0xFF, _mm256_loadu_ps(values));
}

SORDINO_INLINE __m512d load(const double* values) {
    return _mm512_loadu_pd(values);
}

template <bool bounded>
struct Scaled {
    __m512d factor, low, high, scale;

    SORDINO_INLINE explicit Scaled(const Encoding& encoding)
        : factor(_mm512_set1_pd(encoding.factor)),
          low(_mm512_set1_pd(-encoding.clip)),
          high(_mm512_set1_pd(encoding.clip)),
          scale(_mm512_set1_pd(encoding.scale)) {}

    template <typename Real>
    SORDINO_INLINE __m512d operator()(const Real* values) const {
        const __m512d value = load(values);
        if constexpr (bounded) {
            const __m512d shrunk = _mm512_mul_pd(value, factor);
            const __m512d raised = _mm512_maskz_max_pd(0xFF, shrunk, low);
            return _mm512_mul_pd(_mm512_maskz_min_pd(0xFF, raised, high), scale);
        } else {
            return _mm512_mul_pd(value, scale);
        }
    }
};

// Integers in doubles, sixteen of them, as 32-bit lanes. 1.5 * 2^52 has units of 1, so the sum rounds to an
// integer, ties to even, and its lowest 32 bits are that integer mod 2^32.
SORDINO_INLINE __m512i integers32(__m512d first, __m512d second) {
    const __m512d magic = _mm512_set1_pd(0x1.8p52);
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_epi32(_mm512_castpd_si512(_mm512_add_pd(first, magic)), even,
                                     _mm512_castpd_si512(_mm512_add_pd(second, magic)));
}

SORDINO_INLINE __m512i integers64(__m512d values) {
    return _mm512_maskz_cvt_roundpd_epi64(0xFF, values, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// If `random`, floor(y) + [u < y - floor(y)]: below 2^53 the sum is exact, and from there on y is an integer.
template <bool random>
SORDINO_INLINE __m512d randomly(__m512d y, const std::uint64_t* words, std::size_t i) {
    if constexpr (!random) return y;
    const __m512d low = _mm512_maskz_roundscale_pd(0xFF, y, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    const __m512i word = _mm512_maskz_srli_epi64(0xFF, _mm512_loadu_si512(words + i), 11);
    const __m512d u = _mm512_mul_pd(_mm512_maskz_cvtepi64_pd(0xFF, word), _mm512_set1_pd(0x1p-53));
    const __mmask8 up = _mm512_cmp_pd_mask(u, _mm512_sub_pd(y, low), _CMP_LT_OQ);
    return _mm512_mask_add_pd(low, up, low, _mm512_set1_pd(1.0));
}

template <bool random, bool bounded, typename Real>
SORDINO_TARGET std::size_t encode(const Real* values, const std::uint64_t* words, std::uint32_t* lanes,
                                  std::size_t count, const Encoding& encoding) {
    const Scaled<bounded> scaled(encoding);
    const __m512i weight = _mm512_set1_epi32(static_cast<int>(encoding.weight));
    const bool weighted = encoding.weight != 1;
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        fetch(values + i);
        const __m512d first = randomly<random>(scaled(values + i), words, i);
        const __m512d second = randomly<random>(scaled(values + i + 8), words, i + 8);
        __m512i integers = integers32(first, second);
        if (weighted) integers = _mm512_mullo_epi32(integers, weight);
        _mm512_storeu_si512(lanes + i, integers);
    }
    return i;
}

template <bool random, bool bounded, typename Real>
SORDINO_TARGET std::size_t encode(const Real* values, const std::uint64_t* words, std::uint64_t* lanes,
                                  std::size_t count, const Encoding& encoding) {
    const Scaled<bounded> scaled(encoding);
    const __m512i weight = _mm512_set1_epi64(encoding.weight);
    const bool weighted = encoding.weight != 1;
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        fetch(values + i);
        const __m512d y = randomly<random>(scaled(values + i), words, i);
        __m512i integers = integers64(y);
        if (weighted) integers = _mm512_mullo_epi64(integers, weight);
        _mm512_storeu_si512(lanes + i, integers);
    }
    return i;
}

template <typename Real, typename Lane>
void nearest(const Real* values, Lane* lanes, std::size_t count, const Encoding& encoding) {
    const std::size_t done = encoding.bounded ? encode<false, true>(values, nullptr, lanes, count, encoding)
                                              : encode<false, false>(values, nullptr, lanes, count, encoding);
    portable.encoders<Real, Lane>().nearest(values + done, lanes + done, count - done, encoding);
}

template <typename Real, typename Lane>
void stochastic(const Real* values, const std::uint64_t* words, Lane* lanes, std::size_t count,
                const Encoding& encoding) {
    const std::size_t done = encoding.bounded ? encode<true, true>(values, words, lanes, count, encoding)
                                              : encode<true, false>(values, words, lanes, count, encoding);
    portable.encoders<Real, Lane>().stochastic(values + done, words + done, lanes + done, count - done,
                                               encoding);
}

SORDINO_TARGET bool within(const float* values, std::size_t count, double limit) {
    // Of floats, exactly those are within the limit that are within the largest float which is.
    auto bound = static_cast<float>(limit < 0x1.fffffep127 ? limit : 0x1.fffffep127);
    if (static_cast<double>(bound) > limit)
        bound = __builtin_bit_cast(float, __builtin_bit_cast(int, bound) - 1);
    const __m512 most = _mm512_set1_ps(bound);
    __mmask16 beyond = 0;
    std::size_t i = 0;
    for (; i + 64 <= count; i += 64) {
        for (std::size_t j = 0; j < 64; j += 16) {
            fetch(values + i + j);
            const __m512 magnitude = _mm512_abs_ps(_mm512_loadu_ps(values + i + j));
            beyond |= _mm512_cmp_ps_mask(magnitude, most, _CMP_NLE_UQ);
        }
    }
    return beyond == 0 && portable.floats.within(values + i, count - i, limit);
}

SORDINO_TARGET bool within(const double* values, std::size_t count, double limit) {
    const __m512d most = _mm512_set1_pd(limit);
    __mmask8 beyond = 0;
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        for (std::size_t j = 0; j < 32; j += 8) {
            fetch(values + i + j);
            const __m512d magnitude = _mm512_abs_pd(_mm512_loadu_pd(values + i + j));
            beyond |= _mm512_cmp_pd_mask(magnitude, most, _CMP_NLE_UQ);
        }
    }
    return beyond == 0 && portable.doubles.within(values + i, count - i, limit);
}

template <typename Real>
SORDINO_TARGET double square_sum(const Real* values, std::size_t count) {
    constexpr std::size_t registers = accumulators / 8;
    __m512d sum[registers] = {};
    std::size_t i = 0;
    for (; i + accumulators <= count; i += accumulators) {
        for (std::size_t r = 0; r < registers; ++r) {
            const __m512d value = load(values + i + 8 * r);
            sum[r] = _mm512_add_pd(sum[r], _mm512_mul_pd(value, value));
        }
    }
    if (i < count) {
        Real rest[accumulators] = {};
        for (std::size_t j = 0; i + j < count; ++j) rest[j] = values[i + j];
        for (std::size_t r = 0; r < registers; ++r) {
            const __m512d value = load(rest + 8 * r);
            sum[r] = _mm512_add_pd(sum[r], _mm512_mul_pd(value, value));
        }
    }
    sum[0] = _mm512_add_pd(_mm512_add_pd(sum[0], sum[2]), _mm512_add_pd(sum[1], sum[3]));
    alignas(64) double last[8];
    _mm512_store_pd(last, sum[0]);
    return ((last[0] + last[4]) + (last[2] + last[6])) + ((last[1] + last[5]) + (last[3] + last[7]));
}

// Two elements of `size` bits each half of 256 bits, 64 < size <= 128, put together in the half's beginning.
struct Halves {
    __m512i right, left;

    SORDINO_INLINE explicit Halves(long long size)
        : right(_mm512_set_epi64(128 - size, 128 - size, 0, 0, 128 - size, 128 - size, 0, 0)),
          left(_mm512_set_epi64(64, size - 64, size - 64, 64, 64, size - 64, size - 64, 64)) {}

    SORDINO_INLINE __m512i operator()(__m512i pairs) const {
        const __m512i moved = _mm512_maskz_permutex_epi64(0xFF, pairs, 0xF8);  // 0, 2, 3, 3
        return _mm512_or_si512(_mm512_maskz_srlv_epi64(0xFF, pairs, right),
                               _mm512_maskz_sllv_epi64(0xFF, moved, left));
    }
};

// Two elements of `size` <= 64 bits in each 128 bits, put together in the beginning of those.
struct Quarters {
    __m512i right;
    __m128i left;

    SORDINO_INLINE explicit Quarters(long long size)
        : right(_mm512_maskz_broadcast_i64x2(0xFF, _mm_set_epi64x(64 - size, 0))),
          left(_mm_cvtsi64_si128(size)) {}

    SORDINO_INLINE __m512i operator()(__m512i elements) const {
        const __m512i second = _mm512_bsrli_epi128(elements, 8);
        return _mm512_or_si512(_mm512_maskz_srlv_epi64(0xFF, elements, right),
                               _mm512_maskz_sll_epi64(0xFF, second, left));
    }
};

SORDINO_TARGET void pack32(const std::uint32_t* lanes, std::uint8_t* out, std::size_t groups, unsigned bits) {
    const auto size = static_cast<long long>(bits);
    const std::uint64_t mask = ~std::uint64_t{0} >> (64 - bits);
    const __m512i low = _mm512_set1_epi64(static_cast<long long>(mask));
    const __m512i high = _mm512_set1_epi64(static_cast<long long>(std::uint64_t{mask << bits}));
    const __m128i gap = _mm_cvtsi64_si128(32 - size);
    const Quarters quarters(2 * size);
    const bool narrow = bits < 16;
    const Halves halves(narrow ? 128 : 4 * size);
    // Narrow elements leave the upper half of their 128 bits empty.
    const __m512i right = _mm512_set_epi64(64, 64, 64 - 4 * size, 64, 64, 64, 64 - 4 * size, 64);
    const __m512i left = _mm512_set_epi64(64, 64, 64, 4 * size, 64, 64, 64, 4 * size);
    for (std::size_t g = 0; g < groups; ++g, lanes += group_lanes, out += 2 * std::size_t{bits}) {
        _mm_prefetch(reinterpret_cast<const char*>(out) + ahead, _MM_HINT_ET0);
        const __m512i raw = _mm512_loadu_si512(lanes);
        const __m512i shifted = _mm512_maskz_srl_epi64(0xFF, raw, gap);
        const __m512i pairs = _mm512_or_si512(_mm512_and_si512(raw, low), _mm512_and_si512(shifted, high));
        __m512i packed = quarters(pairs);
        if (narrow) {
            const __m512i moved = _mm512_maskz_permutex_epi64(0xFF, packed, 0xAA);  // 2, 2, 2, 2
            const __m512i first = _mm512_maskz_mov_epi64(0x11, packed);
            packed = _mm512_or_si512(first, _mm512_or_si512(_mm512_maskz_srlv_epi64(0xFF, moved, right),
                                                            _mm512_maskz_sllv_epi64(0xFF, moved, left)));
        } else {
            packed = halves(packed);
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_maskz_extracti64x4_epi64(0xF, packed, 0));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + bits),
                            _mm512_maskz_extracti64x4_epi64(0xF, packed, 1));
    }
}

SORDINO_TARGET void pack64(const std::uint64_t* lanes, std::uint8_t* out, std::size_t groups, unsigned bits) {
    if (bits <= 32) {
        for (std::size_t g = 0; g < groups; ++g, lanes += group_lanes, out += 2 * std::size_t{bits}) {
            std::uint32_t narrow[group_lanes];
            for (std::size_t i = 0; i < group_lanes; ++i) narrow[i] = static_cast<std::uint32_t>(lanes[i]);
            pack32(narrow, out, 1, bits);
        }
        return;
    }
    const auto size = static_cast<long long>(bits);
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(~std::uint64_t{0} >> (64 - bits)));
    const Quarters quarters(size);
    const Halves halves(2 * size);
    // The second half, 4 * bits long, follows the first: whole words of distance, and a shift.
    const unsigned words = 4 * bits / 64;
    const unsigned shift = 4 * bits % 64;
    const __m512i number = _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7);
    const __m512i from = _mm512_add_epi64(number, _mm512_set1_epi64(4 - static_cast<int>(words)));
    const __m512i before = _mm512_sub_epi64(from, _mm512_set1_epi64(1));
    const auto here = static_cast<__mmask8>(0x0FU << words);
    const auto next = static_cast<__mmask8>(0x0FU << (words + 1));
    const __m128i left = _mm_cvtsi64_si128(shift);
    const __m128i right = _mm_cvtsi64_si128(64 - static_cast<long long>(shift));
    for (std::size_t g = 0; g < 2 * groups; ++g, lanes += 8, out += bits) {
        const __m512i raw = _mm512_and_si512(_mm512_loadu_si512(lanes), mask);
        const __m512i both = halves(quarters(raw));
        const __m512i low =
            _mm512_maskz_sll_epi64(0xFF, _mm512_maskz_permutexvar_epi64(here, from, both), left);
        const __m512i high =
            _mm512_maskz_srl_epi64(0xFF, _mm512_maskz_permutexvar_epi64(next, before, both), right);
        const __m512i first = _mm512_maskz_mov_epi64(0x0F, both);
        _mm512_storeu_si512(out, _mm512_or_si512(first, _mm512_or_si512(low, high)));
    }
}

// A lane begins in one word of the group and may end in the next; shifts by a whole word leave nothing.
template <bool subtract>
SORDINO_TARGET void unpack32(const std::uint8_t* data, std::uint32_t* lanes, std::size_t groups,
                             unsigned bits) {
    alignas(64) std::uint32_t word[group_lanes];
    alignas(64) std::uint32_t skipped[group_lanes];
    for (unsigned i = 0; i < group_lanes; ++i) {
        word[i] = i * bits / 32;
        skipped[i] = i * bits % 32;
    }
    const __m512i here = _mm512_load_si512(word);
    const __m512i next = _mm512_add_epi32(here, _mm512_set1_epi32(1));
    const __m512i right = _mm512_load_si512(skipped);
    const __m512i left = _mm512_sub_epi32(_mm512_set1_epi32(32), right);
    const __m512i mask = _mm512_set1_epi32(static_cast<int>(~std::uint32_t{0} >> (32 - bits)));
    for (std::size_t g = 0; g < groups; ++g, data += 2 * std::size_t{bits}, lanes += group_lanes) {
        const __m512i raw = _mm512_loadu_si512(data);
        const __m512i low =
            _mm512_maskz_srlv_epi32(0xFFFF, _mm512_maskz_permutexvar_epi32(0xFFFF, here, raw), right);
        const __m512i high =
            _mm512_maskz_sllv_epi32(0xFFFF, _mm512_maskz_permutexvar_epi32(0xFFFF, next, raw), left);
        const __m512i value = _mm512_and_si512(_mm512_or_si512(low, high), mask);
        const __m512i old = _mm512_loadu_si512(lanes);
        _mm512_storeu_si512(lanes, subtract ? _mm512_sub_epi32(old, value) : _mm512_add_epi32(old, value));
    }
}

template <bool subtract>
SORDINO_TARGET void unpack64(const std::uint8_t* data, std::uint64_t* lanes, std::size_t groups,
                             unsigned bits) {
    alignas(64) std::uint64_t word[8];
    alignas(64) std::uint64_t skipped[8];
    for (unsigned i = 0; i < 8; ++i) {
        word[i] = i * bits / 64;
        skipped[i] = i * bits % 64;
    }
    const __m512i here = _mm512_load_si512(word);
    const __m512i next = _mm512_add_epi64(here, _mm512_set1_epi64(1));
    const __m512i right = _mm512_load_si512(skipped);
    const __m512i left = _mm512_sub_epi64(_mm512_set1_epi64(64), right);
    const __m512i mask = _mm512_set1_epi64(static_cast<long long>(~std::uint64_t{0} >> (64 - bits)));
    for (std::size_t g = 0; g < 2 * groups; ++g, data += bits, lanes += 8) {
        const __m512i raw = _mm512_loadu_si512(data);
        const __m512i low =
            _mm512_maskz_srlv_epi64(0xFF, _mm512_maskz_permutexvar_epi64(0xFF, here, raw), right);
        const __m512i high =
            _mm512_maskz_sllv_epi64(0xFF, _mm512_maskz_permutexvar_epi64(0xFF, next, raw), left);
        const __m512i value = _mm512_and_si512(_mm512_or_si512(low, high), mask);
        const __m512i old = _mm512_loadu_si512(lanes);
        _mm512_storeu_si512(lanes, subtract ? _mm512_sub_epi64(old, value) : _mm512_add_epi64(old, value));
    }
}

SORDINO_TARGET SquareSum integer_square_sum(const std::uint32_t* lanes, std::size_t count) {
    const __m512i low_half = _mm512_set1_epi64(0xFFFFFFFF);
    __m512i low = _mm512_setzero_si512();
    __m512i high = _mm512_setzero_si512();
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        const __m512i even = _mm512_loadu_si512(lanes + i);
        const __m512i odd = _mm512_maskz_srli_epi64(0xFF, even, 32);
        const __m512i first = _mm512_maskz_mul_epi32(0xFF, even, even);
        const __m512i second = _mm512_maskz_mul_epi32(0xFF, odd, odd);
        low = _mm512_add_epi64(low, _mm512_and_si512(first, low_half));
        low = _mm512_add_epi64(low, _mm512_and_si512(second, low_half));
        high = _mm512_add_epi64(high, _mm512_maskz_srli_epi64(0xFF, first, 32));
        high = _mm512_add_epi64(high, _mm512_maskz_srli_epi64(0xFF, second, 32));
    }
    alignas(64) std::uint64_t lows[8];
    alignas(64) std::uint64_t highs[8];
    _mm512_store_si512(lows, low);
    _mm512_store_si512(highs, high);
    SquareSum sum = portable.integer_square_sum(lanes + i, count - i);
    for (std::size_t j = 0; j < 8; ++j) {
        sum.low += lows[j];
        sum.high += highs[j];
    }
    return sum;
}

template <typename Real, typename Lane>
constexpr Encoders<Real, Lane> encoders{.nearest = nearest<Real, Lane>, .stochastic = stochastic<Real, Lane>};

}  // namespace

const Backend avx512{
    .name = "avx512",
    .float_to_32 = encoders<float, std::uint32_t>,
    .float_to_64 = encoders<float, std::uint64_t>,
    .double_to_32 = encoders<double, std::uint32_t>,
    .double_to_64 = encoders<double, std::uint64_t>,
    .floats = {.within = within, .square_sum = square_sum<float>},
    .doubles = {.within = within, .square_sum = square_sum<double>},
    .pack32 = {.pack = pack32, .add = unpack32<false>, .subtract = unpack32<true>},
    .pack64 = {.pack = pack64, .add = unpack64<false>, .subtract = unpack64<true>},
    .integer_square_sum = integer_square_sum,
};

}  // namespace sordino::codec

#endif
