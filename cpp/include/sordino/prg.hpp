// SPDX-License-Identifier: Apache-2.0

// The pseudorandom generator: standard AES-256-CTR, so that any AES library can check a mask.
//
// Key: the 32-byte seed. IV: stream id (8 bytes, big-endian) | block index (8 bytes, big-endian).
// The algorithm belongs to the protocol; the CPU chooses only the implementation ("backend").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace sordino {

inline constexpr std::size_t seed_bytes = 32;

using Seed = std::span<const std::uint8_t, seed_bytes>;

// The backends that this CPU can run, fastest first.
[[nodiscard]] std::vector<std::string_view> backends();

// The backend in use: the fastest, or the one that the environment variable SORDINO_CPU names.
// Throws InvalidArgument if SORDINO_CPU names one that is unknown or that this CPU cannot run.
[[nodiscard]] std::string_view backend();

// Chooses a backend for the whole process, for tests and measurements; an empty name chooses afresh.
// A kernel that is running keeps the backend that it began with.
void select_backend(std::string_view name);

// A byte of a keystream. Block and byte apart reach every block of the IV, which 64 bits of bytes would not.
struct Position {
    std::uint64_t stream = 0;
    std::uint64_t block = 0;
    unsigned byte = 0;  // below 16
};

// Writes the keystream from `position` on. Throws InvalidArgument if it would pass the stream's last block.
void keystream(Seed seed, std::span<std::uint8_t> out, Position position = {});

}  // namespace sordino
