// SPDX-License-Identifier: Apache-2.0

// The keystreams of many seeds, added to and subtracted from one tile of lanes after another.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include "prg/backend.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"
#include "sordino/secret.hpp"
#include "tiles.hpp"

namespace sordino {

// The expanded keys of one side of the sum.
class Schedules {
public:
    Schedules(const prg::Backend& backend, std::span<const std::uint8_t> seeds)
        : stride_(backend.schedule_bytes), count_(seeds.size() / seed_bytes), bytes_(count_ * stride_) {
        for (std::size_t k = 0; k < count_; ++k) {
            backend.expand_key(seeds.data() + k * seed_bytes, bytes_.data() + k * stride_);
        }
    }

    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] const std::uint8_t* operator[](std::size_t k) const noexcept {
        return bytes_.data() + k * stride_;
    }

private:
    std::size_t stride_;
    std::size_t count_;
    SecretBuffer<std::uint8_t> bytes_;
};

template <typename Lane>
class TileMasks {
public:
    // Throws InvalidArgument unless both hold whole seeds.
    TileMasks(std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract, std::uint64_t stream)
        : backend_(prg::current()),
          add_(backend_, whole_seeds(add, "add")),
          subtract_(backend_, whole_seeds(subtract, "subtract")),
          stream_(stream) {}

    // The tile's first lane has the index `position` in the whole vector.
    void apply(std::span<Lane> tile, std::uint64_t position) const noexcept {
        constexpr bool narrow = std::is_same_v<Lane, std::uint32_t>;
        for (std::size_t k = 0; k < add_.size(); ++k) {
            if constexpr (narrow) {
                accumulate(backend_.add32, add_[k], position, tile);
            } else {
                accumulate(backend_.add64, add_[k], position, tile);
            }
        }
        for (std::size_t k = 0; k < subtract_.size(); ++k) {
            if constexpr (narrow) {
                accumulate(backend_.subtract32, subtract_[k], position, tile);
            } else {
                accumulate(backend_.subtract64, subtract_[k], position, tile);
            }
        }
    }

private:
    static std::span<const std::uint8_t> whole_seeds(std::span<const std::uint8_t> seeds, const char* name) {
        if (seeds.size() % seed_bytes == 0) return seeds;
        throw InvalidArgument(std::string(name) + ": the length must be a multiple of 32 bytes");
    }

    // One keystream over lanes that may begin and end anywhere within a block.
    void accumulate(prg::Backend::Accumulate<Lane> kernel, const std::uint8_t* schedule,
                    std::uint64_t position, std::span<Lane> lanes) const noexcept {
        constexpr std::size_t lanes_per_block = prg::block_bytes / sizeof(Lane);
        std::uint64_t block = position / lanes_per_block;
        Lane edge[lanes_per_block] = {};
        if (const std::size_t skip = position % lanes_per_block; skip != 0) {
            const std::size_t count = std::min(lanes.size(), lanes_per_block - skip);
            std::copy_n(lanes.data(), count, edge + skip);
            kernel(schedule, stream_, block++, edge, 1);
            std::copy_n(edge + skip, count, lanes.data());
            lanes = lanes.subspan(count);
        }
        const std::size_t whole = lanes.size() / lanes_per_block;
        kernel(schedule, stream_, block, lanes.data(), whole);
        if (const std::size_t rest = lanes.size() % lanes_per_block; rest != 0) {
            Lane* last = lanes.data() + whole * lanes_per_block;
            std::copy_n(last, rest, edge);
            kernel(schedule, stream_, block + whole, edge, 1);
            std::copy_n(edge, rest, last);
        }
        wipe(edge, sizeof edge);
    }

    const prg::Backend& backend_;
    Schedules add_;
    Schedules subtract_;
    std::uint64_t stream_;
};

}  // namespace sordino
