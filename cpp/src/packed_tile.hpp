// Packed lanes, read a tile at a time.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>

#include "sordino/error.hpp"

namespace sordino {

__extension__ using Wide = unsigned __int128;

constexpr std::uint64_t low_mask(unsigned bits) {
    return ~std::uint64_t{0} >> (64 - bits);
}

template <typename Lane>
constexpr unsigned width = std::numeric_limits<Lane>::digits;

template <typename Lane>
void check_bits(unsigned bits) {
    if (bits < 1 || bits > width<Lane>) {
        throw InvalidArgument("bits: must be between 1 and " + std::to_string(width<Lane>) + ", got " +
                              std::to_string(bits));
    }
}

// Throws MalformedMessage, beginning with `name`, unless `data` is exactly so many packed lanes.
void check_packed(std::span<const std::uint8_t> data, std::size_t lanes, unsigned bits,
                  const std::string& name);

// lanes[i] += (or -=) packed lane first + i of `data`, which must hold it.
template <bool subtract, typename Lane>
void accumulate_packed(std::span<const std::uint8_t> data, std::size_t first, std::span<Lane> lanes,
                       unsigned bits) noexcept {
    // A window of sixteen bytes holds any lane wherever it begins: at most 7 bits before it, and 64 of it.
    const auto accumulate = [mask = low_mask(bits)](Lane& lane, const std::uint8_t* bytes, std::size_t bit) {
        Wide window = 0;
        std::memcpy(&window, bytes + bit / 8, sizeof window);
        const auto value = static_cast<Lane>(static_cast<std::uint64_t>(window >> (bit % 8)) & mask);
        lane = static_cast<Lane>(subtract ? lane - value : lane + value);
    };
    // The last windows would pass the end; they are read from a copy with zeros after it.
    std::size_t inner = 0;
    if (data.size() >= sizeof(Wide)) {
        const std::size_t last = ((data.size() - sizeof(Wide)) * 8 + 7) / bits + 1;
        inner = std::min(lanes.size(), last > first ? last - first : 0);
    }
    for (std::size_t i = 0; i < inner; ++i) accumulate(lanes[i], data.data(), (first + i) * bits);
    if (inner == lanes.size()) return;
    std::array<std::uint8_t, 2 * sizeof(Wide)> tail{};
    const std::size_t start = (first + inner) * bits / 8;
    std::ranges::copy(data.subspan(start, std::min(data.size() - start, sizeof(Wide))), tail.begin());
    for (std::size_t i = inner; i < lanes.size(); ++i) {
        accumulate(lanes[i], tail.data(), (first + i) * bits - start * 8);
    }
}

}  // namespace sordino
