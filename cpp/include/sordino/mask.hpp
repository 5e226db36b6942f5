// SPDX-License-Identifier: Apache-2.0

// Masking of lanes: the sum of many keystreams added to a vector in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sordino {

// How many threads a kernel takes that is not told: SORDINO_THREADS, or one for each core. The variable is
// read at each call. Throws InvalidArgument if it is set to anything but a positive decimal number.
[[nodiscard]] std::size_t default_threads();

struct MaskRange {
    std::uint64_t stream = 0;  // the keystream's stream id
    std::uint64_t offset = 0;  // index, in lanes, of the first lane within the whole vector
    std::optional<std::size_t> threads = std::nullopt;  // at least 1; none: default_threads()
};

// lanes[i] += sum_k PRG(add_k)[offset + i] - sum_k PRG(subtract_k)[offset + i]  mod 2^32 (or 2^64).
//
// `add` and `subtract` hold any number of 32-byte seeds. Lane i reads the keystream bytes
// [(offset + i) w, (offset + i + 1) w), w = sizeof(lane), little-endian. Each tile of lanes is brought into
// the cache once, whatever the number of seeds. The number of threads changes nothing in the result.
void add_masks(std::span<std::uint32_t> lanes, std::span<const std::uint8_t> add,
               std::span<const std::uint8_t> subtract, MaskRange range = {});
void add_masks(std::span<std::uint64_t> lanes, std::span<const std::uint8_t> add,
               std::span<const std::uint8_t> subtract, MaskRange range = {});

}  // namespace sordino
