// SPDX-License-Identifier: Apache-2.0

// The inner loops in plain C++, to be compiled for the baseline and, by the same text, for AVX2: everything
// is inlined into functions that carry the target.
#pragma once

#include "noise/kernel.hpp"
#include "sordino/secret.hpp"

namespace sordino::noise::scalar {

inline constexpr std::size_t width = 8;  // words that pass over the table together

[[gnu::always_inline]] inline std::uint64_t high52(std::uint64_t left, std::uint64_t right) {
    return static_cast<std::uint64_t>((Wide{left} * right) >> 52);
}

// magnitude[i] = #{k : boundary[k] < u[i]}. Returns the bits of a word that is zero unless one is hit.
[[gnu::always_inline]] inline std::uint64_t look_up(const Fast* fast, const std::uint64_t* u,
                                                    std::uint64_t* magnitude) {
    std::uint64_t below[width] = {};
    std::uint64_t above[width] = {};
    for (std::size_t k = 0; k < fast->count; ++k) {
        const std::uint64_t boundary = fast->boundary[k];
        for (std::size_t i = 0; i < width; ++i) {
            below[i] += (boundary - u[i]) >> 63;
            above[i] += (u[i] - boundary) >> 63;
        }
    }
    std::uint64_t hit = 0;
    for (std::size_t i = 0; i < width; ++i) {
        magnitude[i] = below[i];
        hit |= (below[i] + above[i]) ^ fast->count;
    }
    return hit;
}

[[gnu::always_inline]] inline bool table(const Fast* fast, const std::uint64_t* words, std::int64_t* values,
                                         std::size_t count) {
    std::uint64_t hit = 0;
    for (std::size_t first = 0; first < count; first += width) {
        std::uint64_t u[width];
        std::uint64_t magnitude[width];
        for (std::size_t i = 0; i < width; ++i) u[i] = words[first + i] >> 1;
        hit |= look_up(fast, u, magnitude);
        for (std::size_t i = 0; i < width; ++i) {
            const std::uint64_t negative = 0 - (words[first + i] & 1);
            values[first + i] = static_cast<std::int64_t>((magnitude[i] ^ negative) - negative);
        }
    }
    return hit != 0;
}

// 2^52 exp(-v (v + 2 y) / (2 sigma_0^2)) to `margin`, v = fraction / 2^52: section 4 of the proof.
[[gnu::always_inline]] inline std::uint64_t acceptance(const Fast* fast, std::uint64_t y,
                                                       std::uint64_t fraction) {
    const std::uint64_t sum = (2 * y << 44) + (fraction >> 8);
    const std::uint64_t exponent = high52(high52(fraction, fast->rate), sum);
    const std::uint64_t rest = mask52 - ((exponent << 8) & mask52);
    std::uint64_t polynomial = 0;
    for (std::size_t k = terms; k-- > 0;) {
        polynomial = high52(polynomial + fast->term[k], rest);
    }
    std::uint64_t power = 0;  // all are read, since the index depends on a secret
    for (std::uint64_t i = 0; i < powers; ++i) {
        const std::uint64_t other = i ^ ((exponent >> 44) & (powers - 1));
        power |= fast->power[i] & (0 - ((other - 1) >> 63));
    }
    return (power + high52(power, polynomial)) >> ((exponent >> 48) & 15);
}

// Candidates as values and whether each is accepted, 0 or 1. True if one is undecided.
[[gnu::always_inline]] inline bool weigh(const Fast* fast, const std::uint64_t* words, std::int64_t* values,
                                         std::uint8_t* accepted) {
    std::uint64_t doubt = 0;
    for (std::size_t first = 0; first < batch; first += width) {
        std::uint64_t u[width];
        std::uint64_t magnitude[width];
        for (std::size_t i = 0; i < width; ++i) u[i] = words[first + i] >> 1;
        doubt |= look_up(fast, u, magnitude);
        for (std::size_t i = 0; i < width; ++i) {
            const std::uint64_t negative = words[first + i] & 1;
            const std::uint64_t low = words[2 * batch + first + i] >> (64 - fast->shift);
            const std::uint64_t chance = acceptance(fast, magnitude[i], low << (52 - fast->shift));
            const std::uint64_t distance = chance - (words[batch + first + i] >> 12);
            const std::uint64_t shifted = distance + margin;  // in [0, 2 margin] if the margin cannot decide
            doubt |= ((shifted - (2 * margin + 1)) >> 63) & ((shifted >> 63) ^ 1);

            const std::uint64_t value = (magnitude[i] << fast->shift) + low;
            const std::uint64_t minus_zero = negative & ((value - 1) >> 63);
            values[first + i] = static_cast<std::int64_t>((value ^ (0 - negative)) + negative);
            accepted[first + i] = static_cast<std::uint8_t>(((margin - distance) >> 63) & (minus_zero ^ 1));
        }
    }
    return doubt != 0;
}

[[gnu::always_inline]] inline std::size_t propose(const Fast* fast, const std::uint64_t* words,
                                                  std::int64_t* out, bool* undecided) {
    std::int64_t values[batch];
    std::uint8_t accepted[batch];
    *undecided = weigh(fast, words, values, accepted);
    std::size_t count = 0;
    for (std::size_t i = 0; i < batch; ++i) {
        out[count] = values[i];
        count += accepted[i];
    }
    wipe(values, sizeof values);
    return count;
}

}  // namespace sordino::noise::scalar
