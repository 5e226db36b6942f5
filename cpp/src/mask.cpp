// SPDX-License-Identifier: Apache-2.0

#include "sordino/mask.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <thread>

#include "sordino/error.hpp"
#include "tile_masks.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

template <typename Lane>
void run(std::span<Lane> lanes, std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract,
         const MaskRange& range) {
    const TileMasks<Lane> masks(add, subtract, range.stream);
    for_each_tile(lanes, range.offset, range.threads,
                  [&masks](std::span<Lane> tile, std::uint64_t position) { masks.apply(tile, position); });
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
