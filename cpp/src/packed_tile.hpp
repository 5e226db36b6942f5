// SPDX-License-Identifier: Apache-2.0

// Packed lanes, read and written a tile at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>

#include "codec/backend.hpp"
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

// lanes[i] += (or -=) packed lane first + i of `data`, which must hold it: a window of sixteen bytes holds
// any lane wherever it begins, at most 7 bits before it, and 64 of it.
template <bool subtract, typename Lane>
void accumulate_singly(std::span<const std::uint8_t> data, std::size_t first, std::span<Lane> lanes,
                       unsigned bits) noexcept {
    for (std::size_t i = 0; i < lanes.size(); ++i) {
        const std::size_t bit = (first + i) * bits;
        Wide window = 0;
        std::memcpy(&window, data.data() + bit / 8, std::min(sizeof window, data.size() - bit / 8));
        const auto value =
            static_cast<Lane>(static_cast<std::uint64_t>(window >> (bit % 8)) & low_mask(bits));
        lanes[i] = static_cast<Lane>(subtract ? lanes[i] - value : lanes[i] + value);
    }
}

// The same. The backend must have been asked for before, so that an unknown SORDINO_CPU has been refused.
template <bool subtract, typename Lane>
void accumulate_packed(std::span<const std::uint8_t> data, std::size_t first, std::span<Lane> lanes,
                       unsigned bits) noexcept {
    // Up to the first whole group, the groups whose reach stays within the data, and what is left.
    constexpr std::size_t group = codec::group_lanes;
    const std::size_t head = std::min((group - first % group) % group, lanes.size());
    accumulate_singly<subtract>(data, first, lanes.first(head), bits);
    lanes = lanes.subspan(head);
    first += head;
    const std::size_t stride = group * bits / 8;
    const std::size_t start = first / group * stride;
    std::size_t groups = 0;
    if (first % group == 0 && data.size() >= start + codec::group_reach) {
        groups = std::min(lanes.size() / group, (data.size() - start - codec::group_reach) / stride + 1);
        const auto& kernels = codec::current().packers<Lane>();
        (subtract ? kernels.subtract : kernels.add)(data.data() + start, lanes.data(), groups, bits);
    }
    accumulate_singly<subtract>(data, first + groups * group, lanes.subspan(groups * group), bits);
}

// Writes the ceil(lanes * bits / 8) bytes of a tile that begins at a whole byte; spare last bits are zero.
template <typename Lane>
void pack_tile(const codec::Backend& backend, std::span<const Lane> lanes, std::uint8_t* out,
               unsigned bits) noexcept {
    constexpr std::size_t group = codec::group_lanes;
    const auto pack = backend.packers<Lane>().pack;
    const std::size_t stride = group * bits / 8;
    const std::size_t size = (lanes.size() * bits + 7) / 8;
    const std::size_t groups = size < codec::group_reach ? 0 : (size - codec::group_reach) / stride + 1;
    const std::size_t whole = std::min(groups, lanes.size() / group);
    pack(lanes.data(), out, whole, bits);
    // The kernel would reach beyond the end of what is left.
    std::uint8_t last[codec::group_reach];
    for (std::size_t i = whole * group, at = whole * stride; i < lanes.size(); i += group, at += stride) {
        Lane padded[group] = {};
        std::copy_n(lanes.data() + i, std::min(group, lanes.size() - i), padded);
        pack(padded, last, 1, bits);
        std::copy_n(last, std::min(stride, size - at), out + at);
    }
}

}  // namespace sordino
