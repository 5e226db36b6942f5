// SPDX-License-Identifier: Apache-2.0

// The coordinator's arithmetic: the sum of masked uploads, and what is left of the masks taken off.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace sordino {

using Payload = std::span<const std::uint8_t>;

// lanes[i] = sum_k payloads_k[i] + sum_k PRG(add_k)[i] - sum_k PRG(subtract_k)[i]  mod 2^bits.
//
// Payloads are lanes of `bits` bits as pack() writes them; `add` and `subtract` hold any number of 32-byte
// seeds, whose keystreams are read as by add_masks() at stream 0. What `lanes` held before is overwritten.
// All of it happens in one pass over tiles that stay in the cache; `threads` is at least 1, none:
// default_threads().
//
// Throws, before anything is written, InvalidArgument and, for a payload of a wrong length or with a spare
// bit set, MalformedMessage.
void sum_uploads(std::span<const Payload> payloads, std::span<std::uint32_t> lanes, unsigned bits,
                 std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract,
                 std::optional<std::size_t> threads = std::nullopt);
void sum_uploads(std::span<const Payload> payloads, std::span<std::uint64_t> lanes, unsigned bits,
                 std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract,
                 std::optional<std::size_t> threads = std::nullopt);

}  // namespace sordino
