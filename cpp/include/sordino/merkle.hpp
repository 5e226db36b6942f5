// SPDX-License-Identifier: Apache-2.0

// The Merkle trees over share vectors: thousands of short hashes in one call.
//
// A leaf is SHA-256(opening | I(index) | B(share)), a node SHA-256(node | B(left) | B(right)), the root
// SHA-256(root | B(top)). I and B are the integer and the byte string of the canonical encoding: a tag, the
// length in 8 bytes big-endian, and the value, an integer big-endian without leading zeros. What stands
// before them comes from the caller. Leaves are padded to a power of two by a given digest, so that all paths
// have one length, `merkle_depth(leaves)`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "sordino/sha256.hpp"

namespace sordino {

inline constexpr std::size_t merkle_share_bytes = 32;

struct MerkleForm {
    std::span<const std::uint8_t> node;  // what a node's message begins with
    std::span<const std::uint8_t> root;  // what a root's message begins with, the number of leaves included
    std::span<const std::uint8_t> padding;  // the digest that stands for a missing leaf
};

[[nodiscard]] std::size_t merkle_depth(std::size_t leaves) noexcept;

// The root over each holder's shares. `shares` holds openings.size() rows of as many shares, at least one,
// and `roots` a digest for each row. `threads` is at least 1; none: default_threads().
void merkle_roots(std::span<const std::uint8_t> shares,
                  std::span<const std::span<const std::uint8_t>> openings, const MerkleForm& form,
                  std::span<std::uint8_t> roots, std::optional<std::size_t> threads = std::nullopt);

// The root over one holder's shares, and for each wanted index, which is below their number, its siblings
// from the leaf up.
void merkle_paths(std::span<const std::uint8_t> shares, std::span<const std::uint8_t> opening,
                  const MerkleForm& form, std::span<const std::uint64_t> wanted, std::span<std::uint8_t> root,
                  std::span<std::uint8_t> paths);

// The root that each share leads to, from its index by its path; `paths` holds indices.size() paths of
// `depth` digests.
void merkle_climb(std::span<const std::uint8_t> shares, std::span<const std::uint8_t> opening,
                  const MerkleForm& form, std::span<const std::uint64_t> indices,
                  std::span<const std::uint8_t> paths, std::size_t depth, std::span<std::uint8_t> roots);

}  // namespace sordino
