// Lanes tile by tile: a tile stays in the first-level cache while keystreams or uploads pass over it, and
// threads share the tiles.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <limits>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "sordino/error.hpp"
#include "sordino/mask.hpp"

namespace sordino {

// Half of the smallest first-level cache.
inline constexpr std::size_t tile_bytes = std::size_t{16} * 1024;

template <typename Lane>
inline constexpr std::size_t lanes_per_tile = tile_bytes / sizeof(Lane);

// The number that an argument or the environment gives.
inline std::size_t thread_count(std::optional<std::size_t> threads) {
    const std::size_t count = threads ? *threads : default_threads();
    if (count == 0) throw InvalidArgument("threads: must be at least 1");
    return count;
}

// Calls work(tile, position) for every tile of `lanes`, whose first lane has the index `offset` in the whole
// vector. Tiles end where those of the whole vector end, so that only the two outer ones cut a block of
// keystream. `work` must not throw; it is called on several threads at once, on the caller's own too.
template <typename Lane, typename Work>
void for_each_tile(std::span<Lane> lanes, std::uint64_t offset, std::optional<std::size_t> threads,
                   const Work& work) {
    constexpr std::size_t tile = lanes_per_tile<Lane>;
    const std::size_t wanted = thread_count(threads);
    if (lanes.size() > std::numeric_limits<std::uint64_t>::max() - offset) {
        throw InvalidArgument("offset: the lanes would pass index 2**64");
    }
    if (lanes.empty()) return;

    const auto go_over = [&work](std::span<Lane> part, std::uint64_t position) noexcept {
        while (!part.empty()) {
            const std::size_t count = std::min<std::size_t>(part.size(), tile - position % tile);
            work(part.first(count), position);
            part = part.subspan(count);
            position += count;
        }
    };
    const std::size_t tiles = (lanes.size() - 1) / tile + 1;
    const std::size_t workers = std::min(wanted, tiles);
    const std::size_t share = (tiles - 1) / workers + 1;  // tiles a worker

    std::vector<std::jthread> others;
    others.reserve(workers);
    std::uint64_t position = offset;
    while (!lanes.empty()) {
        const std::size_t count = std::min<std::size_t>(lanes.size(), share * tile - position % tile);
        const std::span<Lane> part = lanes.first(count);
        lanes = lanes.subspan(count);
        bool handed_over = false;
        if (!lanes.empty()) {  // the last part is for the caller's own thread
            try {
                others.emplace_back([&go_over, part, position] { go_over(part, position); });
                handed_over = true;
            } catch (const std::exception&) {
                // The system gives no more threads, or no memory for one. Half a mask would be worse than a
                // slow one.
                handed_over = false;
            }
        }
        if (!handed_over) go_over(part, position);
        position += count;
    }
}

// Calls work(first, count) for contiguous parts of [0, count), one a thread, that begin at multiples of
// `unit`. `work` must not throw; it is called on several threads at once, on the caller's own too.
template <typename Work>
void for_each_part(std::uint64_t count, std::size_t unit, std::size_t threads, const Work& work) {
    if (count == 0) return;
    const std::uint64_t units = (count - 1) / unit + 1;
    const std::uint64_t share = ((units - 1) / std::min<std::uint64_t>(threads, units) + 1) * unit;
    std::vector<std::jthread> others;
    std::uint64_t first = 0;
    for (; count - first > share; first += share) {
        bool handed_over = false;
        try {
            others.emplace_back([&work, first, share]() noexcept { work(first, share); });
            handed_over = true;
        } catch (const std::exception&) {
            handed_over = false;  // the system gives no more threads
        }
        if (!handed_over) work(first, share);
    }
    work(first, count - first);
}

}  // namespace sordino
