// SPDX-License-Identifier: Apache-2.0

#include "sordino/sha256.hpp"

#include "sha256/opening.hpp"
#include "sordino/secret.hpp"

namespace sordino {

Digest sha256(std::span<const std::uint8_t> message) {
    hash::LastBlocks blocks{};
    Digest digest;
    hash::Opening(hash::current(), message).finish({}, blocks, digest.data());
    wipe(&blocks, sizeof blocks);
    return digest;
}

std::string_view sha256_backend() {
    return hash::current().name;
}

}  // namespace sordino
