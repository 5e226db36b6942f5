#include "sordino/codec.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>

#include "packed_tile.hpp"
#include "sordino/error.hpp"
#include "sordino/secret.hpp"

namespace sordino {
namespace {

void check_positive(const char* name, double value) {
    if (!(value > 0) || !std::isfinite(value)) {
        throw InvalidArgument(std::string(name) + ": must be positive and finite");
    }
}

// The largest magnitude that a lane can get, whatever the values: refusing by it does not depend on data.
template <typename Lane>
void check_capacity(const FixedPoint& format) {
    if (format.weight < 0) throw ValueOutOfRange("weight: must not be negative");
    constexpr std::int64_t largest = std::numeric_limits<std::make_signed_t<Lane>>::max();
    const double bound = std::ceil(format.clip * format.scale);
    std::int64_t product = 0;
    if (!(bound < 0x1p63) ||
        __builtin_mul_overflow(static_cast<std::int64_t>(bound), format.weight, &product) ||
        product > largest) {
        throw ValueOutOfRange("weight: ceil(clip * scale) * weight does not fit a signed lane of " +
                              std::to_string(width<Lane>) + " bits");
    }
}

template <typename Real>
void check_values(std::span<const Real> values, const FixedPoint& format) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double magnitude = std::fabs(static_cast<double>(values[i]));
        if (magnitude <= format.clip) continue;
        if (std::isfinite(magnitude) && format.saturate) continue;
        // The index and not the value: an error message may be logged, a value is a patient's.
        const char* fault = std::isnan(magnitude)       ? " is NaN"
                            : !std::isfinite(magnitude) ? " is infinite"
                                                        : " is outside the clip";
        throw ValueOutOfRange("values: element " + std::to_string(i) + fault);
    }
}

template <typename Lane>
Lane weighted(std::int64_t integer, std::int64_t weight) {
    return static_cast<Lane>(static_cast<std::uint64_t>(integer) * static_cast<std::uint64_t>(weight));
}

template <typename Real, typename Lane>
void encode_any(std::span<const Real> values, std::span<Lane> lanes, const FixedPoint& format) {
    if (values.size() != lanes.size()) throw InvalidArgument("lanes: must be as long as values");
    check_positive("clip", format.clip);
    check_positive("scale", format.scale);
    check_capacity<Lane>(format);
    check_values(values, format);
    const auto scaled = [&](Real value) {
        return std::clamp(static_cast<double>(value), -format.clip, format.clip) * format.scale;
    };
    if (!format.rounding) {
        for (std::size_t i = 0; i < values.size(); ++i) {
            lanes[i] = weighted<Lane>(std::llrint(scaled(values[i])), format.weight);
        }
        return;
    }

    const StochasticRounding& rounding = *format.rounding;
    if (values.size() > std::numeric_limits<std::uint64_t>::max() - rounding.offset) {
        throw InvalidArgument("offset: the values would pass index 2**64");
    }
    SecretBuffer<std::uint64_t> words(std::min<std::size_t>(values.size(), 1024));
    for (std::size_t start = 0; start < values.size(); start += words.size()) {
        const std::size_t count = std::min(words.size(), values.size() - start);
        const std::uint64_t word = rounding.offset + start;  // two to a block
        const Position position{
            .stream = rounding.stream, .block = word / 2, .byte = static_cast<unsigned>(word % 2) * 8};
        keystream(rounding.seed,
                  {reinterpret_cast<std::uint8_t*>(words.data()), count * sizeof(std::uint64_t)}, position);
        for (std::size_t i = 0; i < count; ++i) {
            // floor(y) + [u < y - floor(y)] and not floor(y + u): that sum could round up past ceil(y).
            const double y = scaled(values[start + i]);
            const double low = std::floor(y);
            const double u = static_cast<double>(words.data()[i] >> 11) * 0x1p-53;
            const std::int64_t integer = static_cast<std::int64_t>(low) + (u < y - low ? 1 : 0);
            lanes[start + i] = weighted<Lane>(integer, format.weight);
        }
    }
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
    const std::uint64_t mask = low_mask(bits);
    Wide pending = 0;  // less than 64 bits are left over, so 127 are held at most
    unsigned held = 0;
    std::uint8_t* next = out.data();
    for (const Lane lane : lanes) {
        pending |= static_cast<Wide>(lane & mask) << held;
        held += bits;
        if (held >= 64) {
            const auto word = static_cast<std::uint64_t>(pending);
            std::memcpy(next, &word, sizeof word);
            next += sizeof word;
            pending >>= 64;
            held -= 64;
        }
    }
    const auto rest = static_cast<std::uint64_t>(pending);
    if (held > 0) std::memcpy(next, &rest, (held + 7) / 8);
}

template <bool subtract, typename Lane>
void unpack_any(std::span<const std::uint8_t> data, std::span<Lane> lanes, unsigned bits) {
    check_bits<Lane>(bits);
    check_packed(data, lanes.size(), bits, "data");
    accumulate_packed<subtract>(data, 0, lanes, bits);
}

}  // namespace

void encode(std::span<const float> values, std::span<std::uint32_t> lanes, const FixedPoint& format) {
    encode_any(values, lanes, format);
}

void encode(std::span<const float> values, std::span<std::uint64_t> lanes, const FixedPoint& format) {
    encode_any(values, lanes, format);
}

void encode(std::span<const double> values, std::span<std::uint32_t> lanes, const FixedPoint& format) {
    encode_any(values, lanes, format);
}

void encode(std::span<const double> values, std::span<std::uint64_t> lanes, const FixedPoint& format) {
    encode_any(values, lanes, format);
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
