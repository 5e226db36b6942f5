// SPDX-License-Identifier: Apache-2.0

// Fixed-point lanes, and their exact b-bit form on the wire.
//
// A lane is an element of Z_{2^w}, w = 32 or 64; negative numbers are in two's complement.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sordino/prg.hpp"

namespace sordino {

// Stochastic rounding: lane i goes up with the probability of its fraction, by the 53 top bits of the
// keystream's 64-bit little-endian word offset + i.
struct StochasticRounding {
    Seed seed;
    std::uint64_t stream = 0;
    std::uint64_t offset = 0;
};

struct FixedPoint {
    double clip;          // values beyond [-clip, clip] are refused, or saturate
    double scale;         // units per 1.0
    std::int64_t weight;  // multiplied after rounding, so that a sum of weighted lanes is exact
    bool saturate = false;
    std::optional<StochasticRounding> rounding = std::nullopt;  // none: to nearest, ties to even
    // Before all that, the vector is brought to this L2 norm if it has a larger one: each value is multiplied
    // by l2_bound / l2_norm. What is beyond the clip then saturates.
    std::optional<double> l2_bound = std::nullopt;
};

// lanes[i] = round(values[i] * scale) * weight mod 2^w.
//
// Throws ValueOutOfRange before anything is written: for NaN and infinity always, for |value| > clip unless
// it saturates, for a negative weight, and where ceil(clip * scale) * weight is not below 2^(w-1). The number
// of threads (none: default_threads()) changes nothing in the result, here and below.
void encode(std::span<const float> values, std::span<std::uint32_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads = std::nullopt);
void encode(std::span<const float> values, std::span<std::uint64_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads = std::nullopt);
void encode(std::span<const double> values, std::span<std::uint32_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads = std::nullopt);
void encode(std::span<const double> values, std::span<std::uint64_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads = std::nullopt);

// encode(), and pack() of the lanes, without the lanes ever reaching memory: the values are read once to
// check them and once to encode them. `out` has exactly packed_size() bytes. Throws as encode() does, where w
// is `bits`, so that each encoded value fits its packed lane.
void encode_pack(std::span<const float> values, std::span<std::uint8_t> out, const FixedPoint& format,
                 unsigned bits, std::optional<std::size_t> threads = std::nullopt);
void encode_pack(std::span<const double> values, std::span<std::uint8_t> out, const FixedPoint& format,
                 unsigned bits, std::optional<std::size_t> threads = std::nullopt);

// The square root of the sum of the squares, the same double on every machine: in each block of 4096 values,
// value i is added to the partial sum i mod 32; partial sum j takes up j + 16, then j + 8, and so on; blocks
// are added in their order. Values whose squares leave the range of doubles are scaled by a power of two.
// Throws ValueOutOfRange for NaN and infinity.
[[nodiscard]] double l2_norm(std::span<const float> values,
                             std::optional<std::size_t> threads = std::nullopt);
[[nodiscard]] double l2_norm(std::span<const double> values,
                             std::optional<std::size_t> threads = std::nullopt);

// The low `bits` bits of each lane as a signed integer.
void signed_integers(std::span<const std::uint32_t> lanes, std::span<std::int64_t> out, unsigned bits);
void signed_integers(std::span<const std::uint64_t> lanes, std::span<std::int64_t> out, unsigned bits);

// The same, divided by the scale.
void decode(std::span<const std::uint32_t> lanes, std::span<double> out, unsigned bits, double scale);
void decode(std::span<const std::uint64_t> lanes, std::span<double> out, unsigned bits, double scale);

// ceil(lanes * bits / 8).
[[nodiscard]] std::size_t packed_size(std::size_t lanes, unsigned bits);

// Lane i takes the bits [i * bits, (i + 1) * bits) of a little-endian bit string; spare last bits are zero.
// `out` has exactly packed_size() bytes.
void pack(std::span<const std::uint32_t> lanes, std::span<std::uint8_t> out, unsigned bits);
void pack(std::span<const std::uint64_t> lanes, std::span<std::uint8_t> out, unsigned bits);

// lanes[i] += unpacked[i], or -=, mod 2^w. Throws MalformedMessage for a wrong length or a spare bit that is
// set, and then leaves the lanes as they were.
void unpack_add(std::span<const std::uint8_t> data, std::span<std::uint32_t> lanes, unsigned bits);
void unpack_add(std::span<const std::uint8_t> data, std::span<std::uint64_t> lanes, unsigned bits);
void unpack_subtract(std::span<const std::uint8_t> data, std::span<std::uint32_t> lanes, unsigned bits);
void unpack_subtract(std::span<const std::uint8_t> data, std::span<std::uint64_t> lanes, unsigned bits);

}  // namespace sordino
