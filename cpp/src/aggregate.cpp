// SPDX-License-Identifier: Apache-2.0

#include "sordino/aggregate.hpp"

#include <algorithm>
#include <limits>
#include <string>

#include "packed_tile.hpp"
#include "sordino/error.hpp"
#include "tile_masks.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

template <typename Lane>
void sum_any(std::span<const Payload> payloads, std::span<Lane> lanes, unsigned bits,
             std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract,
             std::optional<std::size_t> threads) {
    check_bits<Lane>(bits);
    for (std::size_t k = 0; k < payloads.size(); ++k) {
        check_packed(payloads[k], lanes.size(), bits, "payloads[" + std::to_string(k) + "]");
    }
    const TileMasks<Lane> masks(add, subtract, 0);
    const auto kept = static_cast<Lane>(low_mask(bits));
    for_each_tile(lanes, 0, threads, [&](std::span<Lane> tile, std::uint64_t position) {
        std::ranges::fill(tile, Lane{0});
        for (const Payload payload : payloads) accumulate_packed<false>(payload, position, tile, bits);
        masks.apply(tile, position);
        for (Lane& lane : tile) lane = static_cast<Lane>(lane & kept);
    });
}

}  // namespace

void sum_uploads(std::span<const Payload> payloads, std::span<std::uint32_t> lanes, unsigned bits,
                 std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract,
                 std::optional<std::size_t> threads) {
    sum_any(payloads, lanes, bits, add, subtract, threads);
}

void sum_uploads(std::span<const Payload> payloads, std::span<std::uint64_t> lanes, unsigned bits,
                 std::span<const std::uint8_t> add, std::span<const std::uint8_t> subtract,
                 std::optional<std::size_t> threads) {
    sum_any(payloads, lanes, bits, add, subtract, threads);
}

}  // namespace sordino
