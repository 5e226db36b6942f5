// SPDX-License-Identifier: Apache-2.0

// Packed lanes bit by bit, from the definition: lane i takes the bits [i b, (i + 1) b) of a little-endian bit
// string. Shares nothing with the library; tests and fuzzers hold the kernels against it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace sordino::test {

template <typename Lane>
std::vector<std::uint8_t> slow_pack(const std::vector<Lane>& lanes, unsigned bits) {
    std::vector<std::uint8_t> out((lanes.size() * bits + 7) / 8);
    for (std::size_t i = 0; i < lanes.size(); ++i) {
        for (unsigned bit = 0; bit < bits; ++bit) {
            const std::size_t at = i * bits + bit;
            const unsigned value = static_cast<unsigned>(lanes[i] >> bit & 1U) << (at % 8);
            out[at / 8] = static_cast<std::uint8_t>(out[at / 8] | value);
        }
    }
    return out;
}

// Nothing where the length is wrong or a spare bit is set.
template <typename Lane>
std::optional<std::vector<Lane>> slow_unpack(std::span<const std::uint8_t> data, std::size_t count,
                                             unsigned bits) {
    if (data.size() != (count * bits + 7) / 8) return std::nullopt;
    const auto bit_at = [data](std::size_t at) {
        return data[at / 8] >> (at % 8) & 1;
    };
    for (std::size_t at = count * bits; at < data.size() * 8; ++at) {
        if (bit_at(at) != 0) return std::nullopt;
    }
    std::vector<Lane> lanes(count);
    for (std::size_t i = 0; i < count; ++i) {
        for (unsigned bit = 0; bit < bits; ++bit) {
            lanes[i] = static_cast<Lane>(lanes[i] | static_cast<Lane>(bit_at(i * bits + bit)) << bit);
        }
    }
    return lanes;
}

// Two's complement in the low `bits` bits.
inline std::int64_t slow_signed(std::uint64_t lane, unsigned bits) {
    std::int64_t value = 0;
    for (unsigned bit = 0; bit + 1 < bits; ++bit) {
        if ((lane >> bit & 1) != 0) value += std::int64_t{1} << bit;
    }
    if ((lane >> (bits - 1) & 1) == 0) return value;
    return bits == 64 ? std::numeric_limits<std::int64_t>::min() + value
                      : value - (std::int64_t{1} << (bits - 1));
}

}  // namespace sordino::test
