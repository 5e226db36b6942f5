// SPDX-License-Identifier: Apache-2.0

// Non-negative fixed-point numbers below 2^64 with 320 fractional bits: what probabilities are made of.
//
// Every operation rounds down, so a result is at most one unit (2^-320) below the exact one for the given
// operands. None of this sees a secret except exp_minus(), in decisions of probability 2^-45.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>

namespace sordino::noise {

__extension__ using Wide = unsigned __int128;

class Fixed {
public:
    static constexpr std::size_t limbs = 6;
    static constexpr unsigned fraction_bits = 320;

    constexpr Fixed() = default;
    constexpr explicit Fixed(std::uint64_t integer) : limb_{0, 0, 0, 0, 0, integer} {}

    // value * 2^-shift, exactly where the bits allow; shift <= 320.
    [[nodiscard]] static Fixed scaled(Wide value, unsigned shift) noexcept;

    // The first 64 * (index + 1) .. bits after the point: limb 4 is the most significant.
    [[nodiscard]] std::uint64_t limb(std::size_t index) const noexcept { return limb_[index]; }
    [[nodiscard]] std::uint64_t integer() const noexcept { return limb_[limbs - 1]; }

    // floor(value * 2^bits) for a value below 2^(64 - bits); bits <= 63.
    [[nodiscard]] std::uint64_t leading(unsigned bits) const noexcept;

    friend Fixed operator+(Fixed left, const Fixed& right) noexcept;  // no overflow is checked anywhere
    friend Fixed operator-(Fixed left, const Fixed& right) noexcept;  // left >= right
    friend Fixed operator*(const Fixed& left, const Fixed& right) noexcept;
    friend Fixed operator/(const Fixed& left, const Fixed& right) noexcept;
    friend Fixed operator/(Fixed left, std::uint64_t right) noexcept;
    friend std::strong_ordering operator<=>(const Fixed& left, const Fixed& right) noexcept;
    friend bool operator==(const Fixed& left, const Fixed& right) noexcept = default;

private:
    std::array<std::uint64_t, limbs> limb_{};  // least significant first
};

// exp(-t) for t <= 32: Taylor's series. The terms are below e^32 < 2^47, so that each is less than 2^49 units
// off, 400 of them less than 2^58: the error is below 2^-262.
[[nodiscard]] Fixed exp_minus(const Fixed& t) noexcept;

[[nodiscard]] const Fixed& log_two() noexcept;  // ln 2, to 2^-310

}  // namespace sordino::noise
