// SPDX-License-Identifier: Apache-2.0

// Lanes tile by tile: a tile stays in the first-level cache while keystreams or uploads pass over it, and
// threads share the tiles.
#pragma once

#include <algorithm>
#include <atomic>
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

// Calls work(first, count) for runs of [0, units), on several threads at once, the caller's own too. A thread
// that is done takes the next run, so that nobody waits for a whole share of one that the system has put
// aside. `work` must not throw.
template <typename Work>
void share_out(std::uint64_t units, std::size_t threads, const Work& work) {
    constexpr std::uint64_t runs_a_thread = 8;
    if (units == 0) return;
    const std::uint64_t workers = std::min<std::uint64_t>(threads, units);
    const std::uint64_t run =
        workers == 1 ? units : std::max<std::uint64_t>(1, units / workers / runs_a_thread);
    std::atomic<std::uint64_t> next{0};
    const auto take_runs = [&]() noexcept {
        for (;;) {
            const std::uint64_t first = next.fetch_add(run, std::memory_order_relaxed);
            if (first >= units) return;
            work(first, std::min(run, units - first));
        }
    };
    std::vector<std::jthread> others;
    for (bool more = true; more && others.size() + 1 < workers;) {
        try {
            others.emplace_back(take_runs);
        } catch (const std::exception&) {
            // The system gives no more threads, or no memory for one: those that there are do it all. Half a
            // mask would be worse than a slow one.
            more = false;
        }
    }
    take_runs();
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

    const std::size_t before = offset % tile;  // lanes that the first tile lacks
    const std::size_t tiles = (before + lanes.size() - 1) / tile + 1;
    share_out(tiles, wanted, [&](std::uint64_t first, std::uint64_t count) noexcept {
        std::size_t begin = first == 0 ? 0 : first * tile - before;
        const std::size_t end = std::min<std::size_t>(lanes.size(), (first + count) * tile - before);
        while (begin < end) {
            const std::uint64_t position = offset + begin;
            const std::size_t size = std::min<std::size_t>(end - begin, tile - position % tile);
            work(lanes.subspan(begin, size), position);
            begin += size;
        }
    });
}

// Calls work(first, count) for contiguous parts of [0, count), several a thread, that begin at multiples of
// `unit`. `work` must not throw; it is called on several threads at once, on the caller's own too.
template <typename Work>
void for_each_part(std::uint64_t count, std::size_t unit, std::size_t threads, const Work& work) {
    if (count == 0) return;
    share_out((count - 1) / unit + 1, threads, [&](std::uint64_t first, std::uint64_t units) noexcept {
        work(first * unit, std::min<std::uint64_t>(units * unit, count - first * unit));
    });
}

}  // namespace sordino
