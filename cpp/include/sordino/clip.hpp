// SPDX-License-Identifier: Apache-2.0

// Rows of gradients, one a patient, clipped and summed as integers: where a patient's influence is bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "sordino/codec.hpp"

namespace sordino {

__extension__ using SquaredNorm = unsigned __int128;

// How often a row is rounded stochastically before it is rounded toward zero. With the limit of KLS21, Prop.
// 22 at beta = e^(-1/2), an attempt fails with a probability of at most beta, so all of them with 2^-46.
inline constexpr unsigned rounding_attempts = 64;

struct RowClip {
    double bound;  // of a row's L2 norm
    double scale;  // units per 1.0
    SquaredNorm
        limit;  // of the squared L2 norm of a row's integers; at least (bound * scale)^2, or its floor
    // None: to nearest. `offset` counts rows: attempt a at column j of row i takes the word
    // (offset + i) * (columns, rounded up to even) + j of the stream stream + a; so streams up to stream + 63
    // belong to this call.
    std::optional<StochasticRounding> rounding = std::nullopt;
};

// What the site may know, and nobody else: each number depends on single patients.
struct RowCounts {
    std::uint64_t clipped = 0;    // rows whose norm was above the bound
    std::uint64_t left_out = 0;   // rows with NaN or infinity; refusing them would tell of a patient
    std::uint64_t truncated = 0;  // rows that no other rounding brought within the limit
};

// lanes[j] += sum_i x_ij mod 2^w, where x_i = round(row_i * min(1, bound / ||row_i||) * scale) and
// ||x_i||^2 <= limit, exactly, for every row: after Kairouz, Liu & Steinke 2021, Prop. 22. Stochastic
// rounding is repeated until that holds. `rows` holds rows of lanes.size() values, one after the other.
//
// Rows are shared among threads; their number changes nothing in the result. A thread needs a few tiles.
// Throws InvalidArgument for a bound or scale that is not positive and finite, a limit below what it must be,
// values that make no whole rows, and an offset or stream that would pass 2^64, and ValueOutOfRange where
// ceil(bound * scale) is not below 2^(w-1); the lanes are then as they were. No value is refused.
RowCounts clip_accumulate(std::span<const float> rows, std::span<std::uint32_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads = std::nullopt);
RowCounts clip_accumulate(std::span<const float> rows, std::span<std::uint64_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads = std::nullopt);
RowCounts clip_accumulate(std::span<const double> rows, std::span<std::uint32_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads = std::nullopt);
RowCounts clip_accumulate(std::span<const double> rows, std::span<std::uint64_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads = std::nullopt);

}  // namespace sordino
