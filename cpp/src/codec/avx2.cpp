// SPDX-License-Identifier: Apache-2.0

// The codec on 256-bit registers. What is left over at the end of a call is the portable kernel's, and so are
// lanes of 64 bits where AVX2 has no instruction for them.
#if defined(__x86_64__)

#include <immintrin.h>

#include "codec/backend.hpp"

#define SORDINO_TARGET __attribute__((target("avx2")))
#define SORDINO_INLINE [[gnu::always_inline]] SORDINO_TARGET inline

namespace sordino::codec {
namespace {

// 1.5 * 2^52 has units of 1: a sum with it rounds to an integer, ties to even, in its lowest bits.
constexpr double magic = 0x1.8p52;
constexpr double magic_reach = 0x1p51;  // of the integers

// The hardware's own prefetching stops at the end of a page, and begins anew for each tile.
constexpr std::size_t ahead = 2048;  // bytes

template <typename Real>
SORDINO_INLINE void fetch(const Real* values) {
    _mm_prefetch(reinterpret_cast<const char*>(values) + ahead, _MM_HINT_T0);
}

SORDINO_INLINE __m256d load(const float* values) {
    return _mm256_cvtps_pd(_mm_loadu_ps(values));
}

SORDINO_INLINE __m256d load(const double* values) {
    return _mm256_loadu_pd(values);
}

template <bool bounded>
struct Scaled {
    __m256d factor, low, high, scale;

    SORDINO_INLINE explicit Scaled(const Encoding& encoding)
        : factor(_mm256_set1_pd(encoding.factor)),
          low(_mm256_set1_pd(-encoding.clip)),
          high(_mm256_set1_pd(encoding.clip)),
          scale(_mm256_set1_pd(encoding.scale)) {}

    template <typename Real>
    SORDINO_INLINE __m256d operator()(const Real* values) const {
        const __m256d value = load(values);
        if constexpr (bounded) {
            const __m256d shrunk = _mm256_mul_pd(value, factor);
            return _mm256_mul_pd(_mm256_min_pd(_mm256_max_pd(shrunk, low), high), scale);
        } else {
            return _mm256_mul_pd(value, scale);
        }
    }
};

// A number below 2^53 as a double: its halves are put behind the exponents of 2^84 and 2^52, which are then
// taken off again; both steps are exact.
SORDINO_INLINE __m256d to_double(__m256i numbers) {
    const __m256i high =
        _mm256_or_si256(_mm256_srli_epi64(numbers, 32), _mm256_castpd_si256(_mm256_set1_pd(0x1p84)));
    const __m256i low = _mm256_blend_epi32(_mm256_castpd_si256(_mm256_set1_pd(0x1p52)), numbers, 0x55);
    const __m256d upper = _mm256_sub_pd(_mm256_castsi256_pd(high), _mm256_set1_pd(0x1p84 + 0x1p52));
    return _mm256_add_pd(upper, _mm256_castsi256_pd(low));
}

// If `random`, floor(y) + [u < y - floor(y)]: below 2^53 the sum is exact, and from there on y is an integer.
template <bool random>
SORDINO_INLINE __m256d randomly(__m256d y, const std::uint64_t* words, std::size_t i) {
    if constexpr (!random) return y;
    const __m256d low = _mm256_floor_pd(y);
    const __m256i word =
        _mm256_srli_epi64(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + i)), 11);
    const __m256d u = _mm256_mul_pd(to_double(word), _mm256_set1_pd(0x1p-53));
    const __m256d up = _mm256_cmp_pd(u, _mm256_sub_pd(y, low), _CMP_LT_OQ);
    return _mm256_add_pd(low, _mm256_and_pd(up, _mm256_set1_pd(1.0)));
}

template <bool random, bool bounded, typename Real>
SORDINO_TARGET std::size_t encode(const Real* values, const std::uint64_t* words, std::uint32_t* lanes,
                                  std::size_t count, const Encoding& encoding) {
    const Scaled<bounded> scaled(encoding);
    const __m256i weight = _mm256_set1_epi32(static_cast<int>(encoding.weight));
    const __m256d shift = _mm256_set1_pd(magic);
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        fetch(values + i);
        const __m256d first = randomly<random>(scaled(values + i), words, i);
        const __m256d second = randomly<random>(scaled(values + i + 4), words, i + 4);
        const __m256 low = _mm256_castpd_ps(_mm256_add_pd(first, shift));
        const __m256 high = _mm256_castpd_ps(_mm256_add_pd(second, shift));
        // 0 2 8 10 | 4 6 12 14, in numbers of 32-bit words
        const __m256i mixed = _mm256_castps_si256(_mm256_shuffle_ps(low, high, 0x88));
        __m256i integers = _mm256_permute4x64_epi64(mixed, 0xD8);
        integers = _mm256_mullo_epi32(integers, weight);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes + i), integers);
    }
    return i;
}

template <bool random, bool bounded, typename Real>
SORDINO_TARGET std::size_t encode(const Real* values, const std::uint64_t* words, std::uint64_t* lanes,
                                  std::size_t count, const Encoding& encoding) {
    if (!(encoding.clip * encoding.scale < magic_reach)) return 0;
    const Scaled<bounded> scaled(encoding);
    const __m256i low_weight = _mm256_set1_epi64x(static_cast<long long>(encoding.weight & 0xFFFFFFFF));
    const __m256i high_weight = _mm256_set1_epi64x(static_cast<long long>(encoding.weight >> 32));
    const __m256d shift = _mm256_set1_pd(magic);
    const bool weighted = encoding.weight != 1;
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        fetch(values + i);
        const __m256d y = randomly<random>(scaled(values + i), words, i);
        __m256i integers =
            _mm256_sub_epi64(_mm256_castpd_si256(_mm256_add_pd(y, shift)), _mm256_castpd_si256(shift));
        if (weighted) {
            const __m256i cross =
                _mm256_add_epi64(_mm256_mul_epu32(_mm256_srli_epi64(integers, 32), low_weight),
                                 _mm256_mul_epu32(integers, high_weight));
            integers = _mm256_add_epi64(_mm256_mul_epu32(integers, low_weight), _mm256_slli_epi64(cross, 32));
        }
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(lanes + i), integers);
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
    const __m256 most = _mm256_set1_ps(bound);
    const __m256 sign = _mm256_set1_ps(-0.0F);
    __m256 beyond = _mm256_setzero_ps();
    std::size_t i = 0;
    for (; i + 32 <= count; i += 32) {
        for (std::size_t j = 0; j < 32; j += 8) {
            fetch(values + i + j);
            const __m256 magnitude = _mm256_andnot_ps(sign, _mm256_loadu_ps(values + i + j));
            beyond = _mm256_or_ps(beyond, _mm256_cmp_ps(magnitude, most, _CMP_NLE_UQ));
        }
    }
    return _mm256_movemask_ps(beyond) == 0 && portable.floats.within(values + i, count - i, limit);
}

SORDINO_TARGET bool within(const double* values, std::size_t count, double limit) {
    const __m256d most = _mm256_set1_pd(limit);
    const __m256d sign = _mm256_set1_pd(-0.0);
    __m256d beyond = _mm256_setzero_pd();
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        for (std::size_t j = 0; j < 16; j += 4) {
            fetch(values + i + j);
            const __m256d magnitude = _mm256_andnot_pd(sign, _mm256_loadu_pd(values + i + j));
            beyond = _mm256_or_pd(beyond, _mm256_cmp_pd(magnitude, most, _CMP_NLE_UQ));
        }
    }
    return _mm256_movemask_pd(beyond) == 0 && portable.doubles.within(values + i, count - i, limit);
}

template <typename Real>
SORDINO_TARGET double square_sum(const Real* values, std::size_t count) {
    constexpr std::size_t registers = accumulators / 4;
    __m256d sum[registers] = {};
    std::size_t i = 0;
    for (; i + accumulators <= count; i += accumulators) {
        for (std::size_t r = 0; r < registers; ++r) {
            const __m256d value = load(values + i + 4 * r);
            sum[r] = _mm256_add_pd(sum[r], _mm256_mul_pd(value, value));
        }
    }
    if (i < count) {
        Real rest[accumulators] = {};
        for (std::size_t j = 0; i + j < count; ++j) rest[j] = values[i + j];
        for (std::size_t r = 0; r < registers; ++r) {
            const __m256d value = load(rest + 4 * r);
            sum[r] = _mm256_add_pd(sum[r], _mm256_mul_pd(value, value));
        }
    }
    for (std::size_t half = registers / 2; half > 0; half /= 2) {
        for (std::size_t r = 0; r < half; ++r) sum[r] = _mm256_add_pd(sum[r], sum[r + half]);
    }
    alignas(32) double last[4];
    _mm256_store_pd(last, sum[0]);
    return (last[0] + last[2]) + (last[1] + last[3]);
}

SORDINO_TARGET void pack32(const std::uint32_t* lanes, std::uint8_t* out, std::size_t groups, unsigned bits) {
    const auto size = static_cast<long long>(bits);
    const std::uint64_t ones = ~std::uint64_t{0} >> (64 - bits);
    const __m256i low = _mm256_set1_epi64x(static_cast<long long>(ones));
    const __m256i high = _mm256_set1_epi64x(static_cast<long long>(std::uint64_t{ones << bits}));
    const __m128i gap = _mm_cvtsi64_si128(32 - size);
    // Pairs of 2 * bits in each 128 bits, put together.
    const __m256i pair_right = _mm256_set_epi64x(64 - 2 * size, 0, 64 - 2 * size, 0);
    const __m128i pair_left = _mm_cvtsi64_si128(2 * size);
    // Those, of 4 * bits, put together: over a word's end, or within the first word of each.
    const bool narrow = bits < 16;
    const __m256i right = narrow ? _mm256_set_epi64x(64, 64, 64 - 4 * size, 64)
                                 : _mm256_set_epi64x(128 - 4 * size, 128 - 4 * size, 0, 0);
    const __m256i left = narrow ? _mm256_set_epi64x(64, 64, 64, 4 * size)
                                : _mm256_set_epi64x(64, 4 * size - 64, 4 * size - 64, 64);
    for (std::size_t g = 0; g < 2 * groups; ++g, lanes += 8, out += bits) {
        const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes));
        const __m256i pairs =
            _mm256_or_si256(_mm256_and_si256(raw, low), _mm256_and_si256(_mm256_srl_epi64(raw, gap), high));
        const __m256i second = _mm256_bsrli_epi128(pairs, 8);
        const __m256i fours =
            _mm256_or_si256(_mm256_srlv_epi64(pairs, pair_right), _mm256_sll_epi64(second, pair_left));
        auto* target = reinterpret_cast<__m256i*>(out);
        if (narrow) {
            const __m256i moved = _mm256_permute4x64_epi64(fours, 0xAA);  // 2, 2, 2, 2
            const __m256i first = _mm256_blend_epi32(_mm256_setzero_si256(), fours, 0x03);
            const __m256i rest =
                _mm256_or_si256(_mm256_srlv_epi64(moved, right), _mm256_sllv_epi64(moved, left));
            _mm256_storeu_si256(target, _mm256_or_si256(first, rest));
        } else {
            const __m256i moved = _mm256_permute4x64_epi64(fours, 0xF8);  // 0, 2, 3, 3
            _mm256_storeu_si256(
                target, _mm256_or_si256(_mm256_srlv_epi64(fours, right), _mm256_sllv_epi64(moved, left)));
        }
    }
}

// A lane begins in one word of its eight lanes' bytes and may end in the next; shifts by a whole word leave
// nothing.
template <bool subtract>
SORDINO_TARGET void unpack32(const std::uint8_t* data, std::uint32_t* lanes, std::size_t groups,
                             unsigned bits) {
    alignas(32) std::uint32_t word[8];
    alignas(32) std::uint32_t skipped[8];
    for (unsigned i = 0; i < 8; ++i) {
        word[i] = i * bits / 32;
        skipped[i] = i * bits % 32;
    }
    const __m256i here = _mm256_load_si256(reinterpret_cast<const __m256i*>(word));
    const __m256i next = _mm256_add_epi32(here, _mm256_set1_epi32(1));
    const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(skipped));
    const __m256i left = _mm256_sub_epi32(_mm256_set1_epi32(32), right);
    const __m256i mask = _mm256_set1_epi32(static_cast<int>(~std::uint32_t{0} >> (32 - bits)));
    for (std::size_t g = 0; g < 2 * groups; ++g, data += bits, lanes += 8) {
        const __m256i raw = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data));
        const __m256i low = _mm256_srlv_epi32(_mm256_permutevar8x32_epi32(raw, here), right);
        const __m256i high = _mm256_sllv_epi32(_mm256_permutevar8x32_epi32(raw, next), left);
        const __m256i value = _mm256_and_si256(_mm256_or_si256(low, high), mask);
        auto* target = reinterpret_cast<__m256i*>(lanes);
        const __m256i old = _mm256_loadu_si256(target);
        _mm256_storeu_si256(target, subtract ? _mm256_sub_epi32(old, value) : _mm256_add_epi32(old, value));
    }
}

SORDINO_TARGET SquareSum integer_square_sum(const std::uint32_t* lanes, std::size_t count) {
    const __m256i low_half = _mm256_set1_epi64x(0xFFFFFFFF);
    __m256i low = _mm256_setzero_si256();
    __m256i high = _mm256_setzero_si256();
    std::size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        const __m256i even = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes + i));
        const __m256i odd = _mm256_srli_epi64(even, 32);
        const __m256i first = _mm256_mul_epi32(even, even);
        const __m256i second = _mm256_mul_epi32(odd, odd);
        low = _mm256_add_epi64(low, _mm256_and_si256(first, low_half));
        low = _mm256_add_epi64(low, _mm256_and_si256(second, low_half));
        high = _mm256_add_epi64(high, _mm256_srli_epi64(first, 32));
        high = _mm256_add_epi64(high, _mm256_srli_epi64(second, 32));
    }
    alignas(32) std::uint64_t lows[4];
    alignas(32) std::uint64_t highs[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lows), low);
    _mm256_store_si256(reinterpret_cast<__m256i*>(highs), high);
    SquareSum sum = portable.integer_square_sum(lanes + i, count - i);
    for (std::size_t j = 0; j < 4; ++j) {
        sum.low += lows[j];
        sum.high += highs[j];
    }
    return sum;
}

void pack64(const std::uint64_t* lanes, std::uint8_t* out, std::size_t groups, unsigned bits) {
    portable.pack64.pack(lanes, out, groups, bits);
}

void add64(const std::uint8_t* data, std::uint64_t* lanes, std::size_t groups, unsigned bits) {
    portable.pack64.add(data, lanes, groups, bits);
}

void subtract64(const std::uint8_t* data, std::uint64_t* lanes, std::size_t groups, unsigned bits) {
    portable.pack64.subtract(data, lanes, groups, bits);
}

template <typename Real, typename Lane>
constexpr Encoders<Real, Lane> encoders{.nearest = nearest<Real, Lane>, .stochastic = stochastic<Real, Lane>};

}  // namespace

const Backend avx2{
    .name = "avx2",
    .float_to_32 = encoders<float, std::uint32_t>,
    .float_to_64 = encoders<float, std::uint64_t>,
    .double_to_32 = encoders<double, std::uint32_t>,
    .double_to_64 = encoders<double, std::uint64_t>,
    .floats = {.within = within, .square_sum = square_sum<float>},
    .doubles = {.within = within, .square_sum = square_sum<double>},
    .pack32 = {.pack = pack32, .add = unpack32<false>, .subtract = unpack32<true>},
    .pack64 = {.pack = pack64, .add = add64, .subtract = subtract64},
    .integer_square_sum = integer_square_sum,
};

}  // namespace sordino::codec

#endif
