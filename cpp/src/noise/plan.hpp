// SPDX-License-Identifier: Apache-2.0

// What sampling with one sigma needs, made from exact arithmetic: docs/math/discrete-gaussian.md, section 2.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "noise/fixed.hpp"

namespace sordino::noise {

inline constexpr double greatest_table_sigma = 16.0;
inline constexpr std::size_t rows = 16;  // of the table, for which two 512-bit registers are one column
inline constexpr std::size_t powers = 16;
inline constexpr std::size_t terms = 7;
inline constexpr std::uint64_t mask52 = (std::uint64_t{1} << 52) - 1;

// How far, in units of 2^-52, the kernels' exp may be from the truth: they decide only beyond.
inline constexpr std::uint64_t margin = 32;

// What kernels read. All numbers are below 2^63, so that signed and unsigned comparison agree.
struct Fast {
    // boundary[i] = floor(2^63 C_i), C_i the probability of a magnitude of at most i, up to the first that is
    // 2^63 - 1; filled up with that. `count` is a multiple of the columns, 16 of them at most.
    alignas(64) std::uint64_t boundary[rows * 16];
    // The same as a table: column[s][r] = boundary[r * columns + s].
    alignas(64) std::uint64_t column[16][rows];
    alignas(64) std::uint64_t power[powers];  // floor(2^52 2^(-(i + 1) / 16))
    std::uint64_t term[terms];                // floor(2^52 (ln 2 / 16)^(k + 1) / (k + 1)!)
    std::uint64_t rate;                       // floor(2^52 * 16 log2(e) / (2 sigma_0^2)), where one rejects
    std::uint64_t shift;                      // j
    std::size_t columns;
    std::size_t count;
};

// floor(2^255 C), as 63 bits and three words of 64, most significant first.
using Boundary = std::array<std::uint64_t, 4>;

struct Plan {
    Fast fast;
    std::vector<Boundary> boundaries;  // up to a tail below 2^-260
    Fixed rate;                        // 1 / (2 sigma_0^2)
    bool rejects;  // sigma = 2^j sigma_0, j >= 1 and 4 < sigma_0 <= 8; else j = 0 and the table is folded

    // Throws InvalidArgument that names `sigma` if it is NaN or out of range.
    explicit Plan(double sigma);
};

// The sums over x of exp(-rate x^2) x^(2 power), x over all integers.
[[nodiscard]] Fixed moment(const Fixed& rate, unsigned power) noexcept;

// A double in [2^-300, 2^300] as mantissa * 2^exponent.
struct Dyadic {
    std::uint64_t mantissa;
    int exponent;
};
[[nodiscard]] Dyadic dyadic(double value) noexcept;

// 1 / (2 (sigma 2^-shift)^2)
[[nodiscard]] Fixed gaussian_rate(double sigma, unsigned shift) noexcept;

}  // namespace sordino::noise
