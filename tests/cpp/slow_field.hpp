// SPDX-License-Identifier: Apache-2.0

// GF(2^16) and Shamir's sharing from their definitions: schoolbook products of polynomials, one limb after
// another. Shares nothing with the library; tests and fuzzers hold the kernels against it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sordino::test {

// The product of two polynomials over GF(2), then the rest of the division by x^16 + x^12 + x^3 + x + 1.
inline std::uint16_t slow_product(std::uint16_t a, std::uint16_t b) {
    std::uint32_t product = 0;
    for (unsigned i = 0; i < 16; ++i) {
        if ((b >> i & 1) != 0) product ^= std::uint32_t{a} << i;
    }
    for (unsigned i = 31; i >= 16; --i) {
        if ((product >> i & 1) != 0) product ^= std::uint32_t{0x1100B} << (i - 16);
    }
    return static_cast<std::uint16_t>(product);
}

// a^(2^16 - 2), one factor after another in squares.
inline std::uint16_t slow_inverse(std::uint16_t a) {
    std::uint16_t result = 1;
    for (unsigned exponent = 0xFFFE; exponent != 0; exponent >>= 1) {
        if ((exponent & 1) != 0) result = slow_product(result, a);
        a = slow_product(a, a);
    }
    return result;
}

inline std::uint16_t limb(std::span<const std::uint8_t> bytes, std::size_t index) {
    return static_cast<std::uint16_t>(bytes[2 * index] | bytes[2 * index + 1] << 8);
}

inline void put_limb(std::vector<std::uint8_t>& bytes, std::size_t index, std::uint16_t value) {
    bytes[2 * index] = static_cast<std::uint8_t>(value & 0xFF);
    bytes[2 * index + 1] = static_cast<std::uint8_t>(value >> 8);
}

// `coefficients`: threshold - 1 rows as long as the secrets, of x^1, x^2 and so on.
inline std::vector<std::uint8_t> slow_split(std::span<const std::uint8_t> secrets,
                                            std::span<const std::uint16_t> points, std::size_t threshold,
                                            std::span<const std::uint8_t> coefficients) {
    const std::size_t limbs = secrets.size() / 2;
    std::vector<std::uint8_t> shares(points.size() * secrets.size());
    for (std::size_t i = 0; i < points.size(); ++i) {
        for (std::size_t k = 0; k < limbs; ++k) {
            std::uint16_t sum = limb(secrets, k);
            std::uint16_t power = 1;
            for (std::size_t j = 1; j < threshold; ++j) {
                power = slow_product(power, points[i]);
                sum = static_cast<std::uint16_t>(
                    sum ^ slow_product(power, limb(coefficients, (j - 1) * limbs + k)));
            }
            put_limb(shares, i * limbs + k, sum);
        }
    }
    return shares;
}

// sum_i share_i prod_{j != i} x_j / (x_j - x_i)
inline std::vector<std::uint8_t> slow_combine(std::span<const std::uint16_t> points,
                                              std::span<const std::uint8_t> shares) {
    const std::size_t limbs = shares.size() / points.size() / 2;
    std::vector<std::uint8_t> secrets(2 * limbs);
    for (std::size_t i = 0; i < points.size(); ++i) {
        std::uint16_t weight = 1;
        for (std::size_t j = 0; j < points.size(); ++j) {
            if (j == i) continue;
            const auto difference = static_cast<std::uint16_t>(points[j] ^ points[i]);
            weight = slow_product(weight, slow_product(points[j], slow_inverse(difference)));
        }
        for (std::size_t k = 0; k < limbs; ++k) {
            const std::uint16_t part = slow_product(weight, limb(shares, i * limbs + k));
            put_limb(secrets, k, static_cast<std::uint16_t>(limb(secrets, k) ^ part));
        }
    }
    return secrets;
}

}  // namespace sordino::test
