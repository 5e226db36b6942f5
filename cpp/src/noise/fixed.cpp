// SPDX-License-Identifier: Apache-2.0

#include "noise/fixed.hpp"

namespace sordino::noise {

Fixed Fixed::scaled(Wide value, unsigned shift) noexcept {
    // The value at the bottom, then up by 320 - shift bits.
    const unsigned up = fraction_bits - shift;
    const std::size_t whole = up / 64;
    const unsigned bits = up % 64;
    const std::array<std::uint64_t, 3> parts{
        static_cast<std::uint64_t>(value << bits),
        static_cast<std::uint64_t>((value << bits) >> 64),
        bits == 0 ? 0 : static_cast<std::uint64_t>(value >> (128 - bits)),
    };
    Fixed result;
    for (std::size_t i = 0; i < parts.size() && whole + i < limbs; ++i) result.limb_[whole + i] = parts[i];
    return result;
}

std::uint64_t Fixed::leading(unsigned bits) const noexcept {
    const Wide top = (Wide{limb_[limbs - 1]} << 64) | limb_[limbs - 2];
    return static_cast<std::uint64_t>(top >> (64 - bits));
}

Fixed operator+(Fixed left, const Fixed& right) noexcept {
    Wide carry = 0;
    for (std::size_t i = 0; i < Fixed::limbs; ++i) {
        carry += Wide{left.limb_[i]} + right.limb_[i];
        left.limb_[i] = static_cast<std::uint64_t>(carry);
        carry >>= 64;
    }
    return left;
}

Fixed operator-(Fixed left, const Fixed& right) noexcept {
    std::uint64_t borrow = 0;
    for (std::size_t i = 0; i < Fixed::limbs; ++i) {
        const Wide difference = Wide{left.limb_[i]} - right.limb_[i] - borrow;
        left.limb_[i] = static_cast<std::uint64_t>(difference);
        borrow = static_cast<std::uint64_t>(difference >> 64) & 1;
    }
    return left;
}

Fixed operator*(const Fixed& left, const Fixed& right) noexcept {
    std::array<std::uint64_t, 2 * Fixed::limbs> product{};
    for (std::size_t i = 0; i < Fixed::limbs; ++i) {
        std::uint64_t carry = 0;
        for (std::size_t j = 0; j < Fixed::limbs; ++j) {
            const Wide sum = Wide{left.limb_[i]} * right.limb_[j] + product[i + j] + carry;
            product[i + j] = static_cast<std::uint64_t>(sum);
            carry = static_cast<std::uint64_t>(sum >> 64);
        }
        product[i + Fixed::limbs] = carry;
    }
    Fixed result;
    for (std::size_t i = 0; i < Fixed::limbs; ++i) result.limb_[i] = product[i + Fixed::limbs - 1];
    return result;
}

// Bit by bit: the remainder is below the divisor, which is below 2^63, so doubling it cannot overflow.
Fixed operator/(const Fixed& left, const Fixed& right) noexcept {
    Fixed quotient;
    Fixed remainder;
    constexpr std::size_t bits = 64 * Fixed::limbs;
    for (std::size_t step = 0; step < bits + Fixed::fraction_bits; ++step) {
        remainder = remainder + remainder;
        quotient = quotient + quotient;
        if (step < bits) {
            const std::size_t at = bits - 1 - step;
            remainder.limb_[0] |= (left.limb_[at / 64] >> (at % 64)) & 1;
        }
        if (remainder >= right) {
            remainder = remainder - right;
            quotient.limb_[0] |= 1;
        }
    }
    return quotient;
}

Fixed operator/(Fixed left, std::uint64_t right) noexcept {
    Wide remainder = 0;
    for (std::size_t i = Fixed::limbs; i-- > 0;) {
        remainder = (remainder << 64) | left.limb_[i];
        left.limb_[i] = static_cast<std::uint64_t>(remainder / right);
        remainder %= right;
    }
    return left;
}

std::strong_ordering operator<=>(const Fixed& left, const Fixed& right) noexcept {
    for (std::size_t i = Fixed::limbs; i-- > 0;) {
        if (const auto order = left.limb_[i] <=> right.limb_[i]; order != 0) return order;
    }
    return std::strong_ordering::equal;
}

Fixed exp_minus(const Fixed& t) noexcept {
    Fixed even;  // the sums of the positive and of the negative terms
    Fixed odd;
    Fixed term(1);
    for (std::uint64_t k = 1; term != Fixed(); ++k) {
        (k % 2 == 1 ? even : odd) = (k % 2 == 1 ? even : odd) + term;
        term = term * t / k;
    }
    return even >= odd ? even - odd : Fixed();
}

const Fixed& log_two() noexcept {
    static const Fixed value = [] {
        Fixed sum;  // ln 2 = sum_k 1 / (k 2^k)
        Fixed power(1);
        for (std::uint64_t k = 1; power != Fixed(); ++k) {
            power = power / 2;
            sum = sum + power / k;
        }
        return sum;
    }();
    return value;
}

}  // namespace sordino::noise
