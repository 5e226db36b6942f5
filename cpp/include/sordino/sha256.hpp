// SPDX-License-Identifier: Apache-2.0

// SHA-256 [FIPS 180-4], for the hundreds of thousands of short messages that a round's Merkle trees hash.
// docs/adr/0007-sha256.md says why the library has its own.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sordino {

inline constexpr std::size_t digest_bytes = 32;
using Digest = std::array<std::uint8_t, digest_bytes>;

// Time and addresses depend on the length only.
[[nodiscard]] Digest sha256(std::span<const std::uint8_t> message);

// The implementation in use: "portable" where that is the PRG backend's name too, else the one with the hash
// instructions of this CPU if it has them.
[[nodiscard]] std::string_view sha256_backend();

}  // namespace sordino
