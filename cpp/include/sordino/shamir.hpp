// SPDX-License-Identifier: Apache-2.0

// Shamir's secret sharing [Sha79] of 32-byte secrets over GF(2^16), many secrets in one call.
//
// A secret is sixteen little-endian 16-bit limbs, each shared by a polynomial of its own; the field is
// GF(2)[x] / (x^16 + x^12 + x^3 + x + 1). docs/adr/0001-shamir-field.md says why. Points are public, secrets
// and shares are not: time and addresses depend on the points and the sizes only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "sordino/prg.hpp"

namespace sordino {

inline constexpr std::size_t shamir_secret_bytes = 32;

// `secrets` holds S secrets one after another, `shares` gets points.size() rows of S shares of 32 bytes.
//
// The coefficient of x^j (1 <= j < threshold) of all limbs is the keystream of `seed` at byte
// (j - 1) * secrets.size(). The seed must be fresh: two calls with one seed cancel each other's cover.
void shamir_split(std::span<const std::uint8_t> secrets, std::span<const std::uint16_t> points,
                  std::size_t threshold, Seed seed, std::span<std::uint8_t> shares);

// Interpolates at zero through all the given rows; with fewer than the threshold the result is noise, and
// with a wrong share it is wrong: integrity is for the layer above.
void shamir_combine(std::span<const std::uint16_t> points, std::span<const std::uint8_t> shares,
                    std::span<std::uint8_t> secrets);

}  // namespace sordino
