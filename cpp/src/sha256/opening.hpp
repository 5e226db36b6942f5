// SPDX-License-Identifier: Apache-2.0

// Messages that begin alike: what they have in common is hashed once.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "sha256/backend.hpp"
#include "sordino/sha256.hpp"

namespace sordino::hash {

// Section 5.3.3: the first 32 bits of the fractional parts of the square roots of the first eight primes.
inline constexpr std::array<std::uint32_t, state_words> first_state = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

// The longest ending: with the padding it fills three blocks after any opening.
inline constexpr std::size_t max_ending = 3 * block_bytes - 9 - (block_bytes - 1);

// The last blocks of a message, with the padding of section 5.1.1.
struct LastBlocks {
    std::array<std::uint8_t, 3 * block_bytes> bytes;
    std::size_t count;
};

inline void put_big_endian(std::uint64_t value, std::uint8_t* out, std::size_t bytes) noexcept {
    for (std::size_t i = 0; i < bytes; ++i) {
        out[i] = static_cast<std::uint8_t>(value >> (8 * (bytes - 1 - i)));
    }
}

inline void put_state(const std::uint32_t* state, std::uint8_t* digest) noexcept {
    for (std::size_t i = 0; i < state_words; ++i) put_big_endian(state[i], digest + 4 * i, 4);
}

class Opening {
public:
    Opening(const Backend& backend, std::span<const std::uint8_t> bytes)
        : backend_(&backend), length_(bytes.size()), state_(first_state) {
        const std::size_t whole = bytes.size() / block_bytes;
        backend.compress(state_.data(), bytes.data(), whole);
        std::copy(bytes.begin() + static_cast<std::ptrdiff_t>(whole * block_bytes), bytes.end(),
                  rest_.begin());
    }

    // The digest of the opening and this ending of at most `max_ending` bytes.
    void finish(std::span<const std::uint8_t> ending, LastBlocks& blocks, std::uint8_t* digest) const {
        last_blocks(ending, blocks);
        auto state = state_;
        backend_->compress(state.data(), blocks.bytes.data(), blocks.count);
        put_state(state.data(), digest);
    }

    // The same for two endings at once.
    void finish_two(std::span<const std::uint8_t> first, std::span<const std::uint8_t> second,
                    std::array<LastBlocks, 2>& blocks, std::uint8_t* digests) const {
        last_blocks(first, blocks[0]);
        last_blocks(second, blocks[1]);
        if (blocks[0].count != blocks[1].count) {
            finish(first, blocks[0], digests);
            finish(second, blocks[1], digests + digest_bytes);
            return;
        }
        std::array<std::uint32_t, 2 * state_words> states;
        std::ranges::copy(state_, states.begin());
        std::ranges::copy(state_, states.begin() + state_words);
        backend_->compress_two(states.data(), blocks[0].bytes.data(), blocks[1].bytes.data(),
                               blocks[0].count);
        put_state(states.data(), digests);
        put_state(states.data() + state_words, digests + digest_bytes);
    }

private:
    void last_blocks(std::span<const std::uint8_t> ending, LastBlocks& blocks) const {
        const std::size_t rest = length_ % block_bytes;
        const std::size_t used = rest + ending.size();
        blocks.count = (used + 1 + 8 + block_bytes - 1) / block_bytes;
        std::uint8_t* out = blocks.bytes.data();
        std::copy_n(rest_.data(), rest, out);
        std::ranges::copy(ending, out + rest);
        out[used] = 0x80;
        std::fill(out + used + 1, out + blocks.count * block_bytes - 8, std::uint8_t{0});
        put_big_endian(8 * std::uint64_t{length_ + ending.size()}, out + blocks.count * block_bytes - 8, 8);
    }

    const Backend* backend_;
    std::size_t length_;
    std::array<std::uint32_t, state_words> state_;
    std::array<std::uint8_t, block_bytes> rest_{};
};

}  // namespace sordino::hash
