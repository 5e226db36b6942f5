// SPDX-License-Identifier: Apache-2.0

// The codec's kernels. One file an instruction set, the same signatures and the same bits everywhere.
//
// As in prg/backend.hpp, functions take raw pointers, so that no inline library code is compiled for a wider
// instruction set than the CPU of whoever links it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace sordino::codec {

// integer = round(clamp(value * factor, -clip, clip) * scale), each product rounded to a double, and
// lane = integer * weight mod 2^w. `bounded` is false where factor is 1 and no value is beyond the clip, so
// that both steps can be left out. The caller has seen to it that |integer * weight| < 2^(w-1), weight > 0.
struct Encoding {
    double factor;
    double clip;
    double scale;
    std::int64_t weight;
    bool bounded;
};

template <typename Real, typename Lane>
struct Encoders {
    // To nearest, ties to even.
    void (*nearest)(const Real* values, Lane* lanes, std::size_t count, const Encoding& encoding);
    // Down, and one up again where the top 53 bits of words[i], as a fraction, are below what was cut off.
    void (*stochastic)(const Real* values, const std::uint64_t* words, Lane* lanes, std::size_t count,
                       const Encoding& encoding);
};

template <typename Real>
struct Readers {
    // Whether every |value| <= limit; NaN is not.
    bool (*within)(const Real* values, std::size_t count, double limit);
    // The sum of squares in doubles: addend i goes to accumulator i mod 32 in the order of i, and the 32 are
    // added as a tree, j with j + 16, then j + 8, and so on. NaN or infinite if a value is.
    double (*square_sum)(const Real* values, std::size_t count);
};

inline constexpr std::size_t accumulators = 32;

// Sixteen lanes are 2 * bits bytes on the wire, whatever the width: the unit of the packing kernels.
inline constexpr std::size_t group_lanes = 16;
// A packing kernel may write, and an unpacking one read, so many bytes from the beginning of each group.
inline constexpr std::size_t group_reach = 144;

template <typename Lane>
struct Packers {
    void (*pack)(const Lane* lanes, std::uint8_t* out, std::size_t groups, unsigned bits);
    void (*add)(const std::uint8_t* data, Lane* lanes, std::size_t groups, unsigned bits);
    void (*subtract)(const std::uint8_t* data, Lane* lanes, std::size_t groups, unsigned bits);
};

// The sum of the squares of 32-bit integers in two's complement is high * 2^32 + low; count < 2^32.
struct SquareSum {
    std::uint64_t low;
    std::uint64_t high;
};

struct Backend {
    const char* name;
    Encoders<float, std::uint32_t> float_to_32;
    Encoders<float, std::uint64_t> float_to_64;
    Encoders<double, std::uint32_t> double_to_32;
    Encoders<double, std::uint64_t> double_to_64;
    Readers<float> floats;
    Readers<double> doubles;
    Packers<std::uint32_t> pack32;
    Packers<std::uint64_t> pack64;
    SquareSum (*integer_square_sum)(const std::uint32_t* lanes, std::size_t count);

    template <typename Real, typename Lane>
    [[nodiscard]] constexpr const Encoders<Real, Lane>& encoders() const noexcept {
        constexpr bool narrow = std::is_same_v<Lane, std::uint32_t>;
        if constexpr (std::is_same_v<Real, float>) {
            if constexpr (narrow) return float_to_32;
            if constexpr (!narrow) return float_to_64;
        } else {
            if constexpr (narrow) return double_to_32;
            if constexpr (!narrow) return double_to_64;
        }
    }
    template <typename Real>
    [[nodiscard]] constexpr const Readers<Real>& readers() const noexcept {
        if constexpr (std::is_same_v<Real, float>) return floats;
        if constexpr (std::is_same_v<Real, double>) return doubles;
    }
    template <typename Lane>
    [[nodiscard]] constexpr const Packers<Lane>& packers() const noexcept {
        if constexpr (std::is_same_v<Lane, std::uint32_t>) return pack32;
        if constexpr (std::is_same_v<Lane, std::uint64_t>) return pack64;
    }
};

extern const Backend portable;
#if defined(__x86_64__)
extern const Backend avx512;
extern const Backend avx2;
#endif

// The backend that goes with the PRG's: SORDINO_CPU and select_backend() choose both. Throws as that does.
[[nodiscard]] const Backend& current();

// The kernels to use in turn with keystreams: tile by tile, encoding on 512-bit registers was seen to slow
// the AES between by a twelfth, more than those registers gain.
[[nodiscard]] const Backend& beside_masks();

}  // namespace sordino::codec
