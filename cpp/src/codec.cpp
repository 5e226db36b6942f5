// SPDX-License-Identifier: Apache-2.0

#include "sordino/codec.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "encoder.hpp"
#include "packed_tile.hpp"
#include "sordino/error.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

template <typename Real, typename Lane>
void encode_any(std::span<const Real> values, std::span<Lane> lanes, const FixedPoint& format,
                std::optional<std::size_t> threads) {
    if (values.size() != lanes.size()) throw InvalidArgument("lanes: must be as long as values");
    check_format(format, values.size(), width<Lane>);
    const std::size_t workers = thread_count(threads);
    const codec::Backend& backend = codec::current();
    const codec::Encoding encoding = plan_encoding(backend, values, format, workers);
    const TileEncoder<Real, Lane> encode_tile(backend, encoding, format.rounding);
    for_each_part(values.size(), square_block, workers,
                  [&](std::uint64_t first, std::uint64_t count) noexcept {
                      Scratch<Lane, 1> scratch;
                      encode_tile(values.subspan(first, count), first, lanes.data() + first, scratch.words);
                  });
}

template <typename Lane>
std::int64_t sign_extended(Lane lane, unsigned bits) {
    const unsigned unused = 64 - bits;
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(lane) << unused) >> unused;
}

template <typename Lane>
void signed_any(std::span<const Lane> lanes, std::span<std::int64_t> out, unsigned bits) {
    check_bits<Lane>(bits);
    if (out.size() != lanes.size()) throw InvalidArgument("out: must be as long as lanes");
    for (std::size_t i = 0; i < lanes.size(); ++i) out[i] = sign_extended(lanes[i], bits);
}

template <typename Lane>
void decode_any(std::span<const Lane> lanes, std::span<double> out, unsigned bits, double scale) {
    check_bits<Lane>(bits);
    check_positive("scale", scale);
    if (out.size() != lanes.size()) throw InvalidArgument("out: must be as long as lanes");
    for (std::size_t i = 0; i < lanes.size(); ++i) {
        out[i] = static_cast<double>(sign_extended(lanes[i], bits)) / scale;
    }
}

template <typename Lane>
void pack_any(std::span<const Lane> lanes, std::span<std::uint8_t> out, unsigned bits) {
    check_bits<Lane>(bits);
    if (out.size() != packed_size(lanes.size(), bits)) {
        throw InvalidArgument("out: must have packed_size(lanes, bits) bytes");
    }
    pack_tile(codec::current(), lanes, out.data(), bits);
}

template <bool subtract, typename Lane>
void unpack_any(std::span<const std::uint8_t> data, std::span<Lane> lanes, unsigned bits) {
    check_bits<Lane>(bits);
    check_packed(data, lanes.size(), bits, "data");
    (void)codec::current();
    accumulate_packed<subtract>(data, 0, lanes, bits);
}

}  // namespace

void encode(std::span<const float> values, std::span<std::uint32_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads) {
    encode_any(values, lanes, format, threads);
}

void encode(std::span<const float> values, std::span<std::uint64_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads) {
    encode_any(values, lanes, format, threads);
}

void encode(std::span<const double> values, std::span<std::uint32_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads) {
    encode_any(values, lanes, format, threads);
}

void encode(std::span<const double> values, std::span<std::uint64_t> lanes, const FixedPoint& format,
            std::optional<std::size_t> threads) {
    encode_any(values, lanes, format, threads);
}

void signed_integers(std::span<const std::uint32_t> lanes, std::span<std::int64_t> out, unsigned bits) {
    signed_any(lanes, out, bits);
}

void signed_integers(std::span<const std::uint64_t> lanes, std::span<std::int64_t> out, unsigned bits) {
    signed_any(lanes, out, bits);
}

void decode(std::span<const std::uint32_t> lanes, std::span<double> out, unsigned bits, double scale) {
    decode_any(lanes, out, bits, scale);
}

void decode(std::span<const std::uint64_t> lanes, std::span<double> out, unsigned bits, double scale) {
    decode_any(lanes, out, bits, scale);
}

std::size_t packed_size(std::size_t lanes, unsigned bits) {
    check_bits<std::uint64_t>(bits);
    std::size_t total = 0;
    if (__builtin_mul_overflow(lanes, std::size_t{bits}, &total) ||
        total > std::numeric_limits<std::size_t>::max() - 7) {
        throw InvalidArgument("lanes: too many to pack");
    }
    return (total + 7) / 8;
}

void check_packed(std::span<const std::uint8_t> data, std::size_t lanes, unsigned bits,
                  const std::string& name) {
    if (const std::size_t expected = packed_size(lanes, bits); data.size() != expected) {
        throw MalformedMessage(name + ": packed lanes have " + std::to_string(data.size()) +
                               " bytes instead of " + std::to_string(expected));
    }
    const auto used = static_cast<unsigned>((lanes % 8) * bits % 8);  // bits of the last byte
    if (used != 0 && (data.back() >> used) != 0) {
        throw MalformedMessage(name + ": a spare bit after the packed lanes is set");
    }
}

void pack(std::span<const std::uint32_t> lanes, std::span<std::uint8_t> out, unsigned bits) {
    pack_any(lanes, out, bits);
}

void pack(std::span<const std::uint64_t> lanes, std::span<std::uint8_t> out, unsigned bits) {
    pack_any(lanes, out, bits);
}

void unpack_add(std::span<const std::uint8_t> data, std::span<std::uint32_t> lanes, unsigned bits) {
    unpack_any<false>(data, lanes, bits);
}

void unpack_add(std::span<const std::uint8_t> data, std::span<std::uint64_t> lanes, unsigned bits) {
    unpack_any<false>(data, lanes, bits);
}

void unpack_subtract(std::span<const std::uint8_t> data, std::span<std::uint32_t> lanes, unsigned bits) {
    unpack_any<true>(data, lanes, bits);
}

void unpack_subtract(std::span<const std::uint8_t> data, std::span<std::uint64_t> lanes, unsigned bits) {
    unpack_any<true>(data, lanes, bits);
}

}  // namespace sordino
