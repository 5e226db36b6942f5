#include "sordino/mask.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

#include "prg/backend.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"
#include "sordino/secret.hpp"

namespace sordino {
namespace {

// Half of the smallest first-level cache: the tile stays there while the seeds pass over it.
constexpr std::size_t tile_bytes = std::size_t{16} * 1024;

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
struct Masking {
    static constexpr std::size_t lanes_per_block = prg::block_bytes / sizeof(Lane);
    static constexpr std::size_t lanes_per_tile = tile_bytes / sizeof(Lane);
    using Accumulate = prg::Backend::Accumulate<Lane>;

    const prg::Backend& backend;
    Schedules add;
    Schedules subtract;
    std::uint64_t stream;

    // One keystream over the lanes at [position, position + lanes.size()), which may begin and end anywhere
    // within a block.
    static void accumulate(Accumulate kernel, const std::uint8_t* schedule, std::uint64_t stream,
                           std::uint64_t position, std::span<Lane> lanes) noexcept {
        std::uint64_t block = position / lanes_per_block;
        Lane edge[lanes_per_block] = {};
        if (const std::size_t skip = position % lanes_per_block; skip != 0) {
            const std::size_t count = std::min(lanes.size(), lanes_per_block - skip);
            std::copy_n(lanes.data(), count, edge + skip);
            kernel(schedule, stream, block++, edge, 1);
            std::copy_n(edge + skip, count, lanes.data());
            lanes = lanes.subspan(count);
        }
        const std::size_t whole = lanes.size() / lanes_per_block;
        kernel(schedule, stream, block, lanes.data(), whole);
        if (const std::size_t rest = lanes.size() % lanes_per_block; rest != 0) {
            Lane* last = lanes.data() + whole * lanes_per_block;
            std::copy_n(last, rest, edge);
            kernel(schedule, stream, block + whole, edge, 1);
            std::copy_n(edge, rest, last);
        }
        wipe(edge, sizeof edge);
    }

    void apply(std::span<Lane> lanes, std::uint64_t position) const noexcept {
        constexpr bool narrow = std::is_same_v<Lane, std::uint32_t>;
        while (!lanes.empty()) {
            // Tiles end where the keystream's tiles end, so that only the two outer ones cut a block.
            const std::size_t count =
                std::min<std::size_t>(lanes.size(), lanes_per_tile - position % lanes_per_tile);
            const std::span<Lane> tile = lanes.first(count);
            for (std::size_t k = 0; k < add.size(); ++k) {
                if constexpr (narrow) {
                    accumulate(backend.add32, add[k], stream, position, tile);
                } else {
                    accumulate(backend.add64, add[k], stream, position, tile);
                }
            }
            for (std::size_t k = 0; k < subtract.size(); ++k) {
                if constexpr (narrow) {
                    accumulate(backend.subtract32, subtract[k], stream, position, tile);
                } else {
                    accumulate(backend.subtract64, subtract[k], stream, position, tile);
                }
            }
            lanes = lanes.subspan(count);
            position += count;
        }
    }
};

template <typename Lane>
void run(std::span<Lane> lanes, std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract,
         const MaskRange& range) {
    if (add.size() % seed_bytes != 0) throw InvalidArgument("add: the length must be a multiple of 32 bytes");
    if (subtract.size() % seed_bytes != 0) {
        throw InvalidArgument("subtract: the length must be a multiple of 32 bytes");
    }
    const std::size_t wanted = range.threads ? *range.threads : default_threads();
    if (wanted == 0) throw InvalidArgument("threads: must be at least 1");
    if (lanes.size() > std::numeric_limits<std::uint64_t>::max() - range.offset) {
        throw InvalidArgument("offset: the lanes would pass index 2**64");
    }
    if (lanes.empty() || (add.empty() && subtract.empty())) return;

    const prg::Backend& backend = prg::current();
    const Masking<Lane> masking{backend, {backend, add}, {backend, subtract}, range.stream};
    constexpr std::size_t tile = Masking<Lane>::lanes_per_tile;
    const std::size_t tiles = (lanes.size() - 1) / tile + 1;
    const std::size_t workers = std::min(wanted, tiles);
    const std::size_t share = (tiles - 1) / workers + 1;  // tiles a worker

    std::vector<std::jthread> threads;
    threads.reserve(workers);
    std::uint64_t position = range.offset;
    while (!lanes.empty()) {
        const std::size_t count = std::min<std::size_t>(lanes.size(), share * tile - position % tile);
        const std::span<Lane> part = lanes.first(count);
        lanes = lanes.subspan(count);
        bool handed_over = false;
        if (!lanes.empty()) {  // the last part is for the caller's own thread
            try {
                threads.emplace_back([&masking, part, position] { masking.apply(part, position); });
                handed_over = true;
            } catch (const std::system_error&) {
                // The system gives no more threads. Half a mask would be worse than a slow one.
                handed_over = false;
            }
        }
        if (!handed_over) masking.apply(part, position);
        position += count;
    }
}

}  // namespace

std::size_t default_threads() {
    const char* variable = std::getenv("SORDINO_THREADS");
    if (variable == nullptr || *variable == '\0') return std::max(1U, std::thread::hardware_concurrency());
    const std::string_view text(variable);
    std::size_t count = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), count);
    if (error != std::errc() || end != text.data() + text.size() || count == 0) {
        throw InvalidArgument("SORDINO_THREADS: must be a positive decimal number");
    }
    return count;
}

void add_masks(std::span<std::uint32_t> lanes, std::span<const std::uint8_t> add,
               std::span<const std::uint8_t> subtract, MaskRange range) {
    run(lanes, add, subtract, range);
}

void add_masks(std::span<std::uint64_t> lanes, std::span<const std::uint8_t> add,
               std::span<const std::uint8_t> subtract, MaskRange range) {
    run(lanes, add, subtract, range);
}

}  // namespace sordino
