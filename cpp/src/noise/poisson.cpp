// SPDX-License-Identifier: Apache-2.0

// Poisson sampling: word pair i of stream 0, a number U below 2^128, includes draw i if U < q 2^128.
#include <algorithm>
#include <string>

#include "noise/plan.hpp"
#include "prg/backend.hpp"
#include "sordino/error.hpp"
#include "sordino/noise.hpp"
#include "sordino/secret.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

using noise::Wide;

constexpr std::size_t draws = 256;  // that share one call of the PRG

// floor(q 2^128), q < 1. Exact for q >= 2^-75, since a double has 53 bits.
Wide threshold(double q) noexcept {
    const noise::Dyadic parts = noise::dyadic(q);  // a subnormal q is far below 2^-128, whatever this says
    const int up = parts.exponent + 128;
    if (up >= 0) return Wide{parts.mantissa} << up;
    return up > -64 ? Wide{parts.mantissa >> -up} : Wide{0};
}

std::uint64_t little_endian(const std::uint8_t* bytes) noexcept {
    std::uint64_t value = 0;
    for (unsigned i = 0; i < sizeof value; ++i) value |= std::uint64_t{bytes[i]} << (8 * i);
    return value;
}

}  // namespace

void poisson_sample(std::span<std::uint8_t> out, Seed seed, double q, NoiseRange range) {
    const bool possible = q > 0.0 && q <= 1.0;  // NaN is not
    if (!possible) {
        throw InvalidArgument("q: must be above 0 and at most 1, got " + std::to_string(q));
    }
    const bool everyone = q == 1.0;
    const Wide limit = everyone ? 0 : threshold(q);
    const prg::Backend& backend = prg::current();
    SecretBuffer<std::uint8_t> schedule(backend.schedule_bytes);
    backend.expand_key(seed.data(), schedule.data());
    for_each_tile(
        out, range.offset, range.threads, [&](std::span<std::uint8_t> tile, std::uint64_t position) {
            std::uint8_t bytes[draws * prg::block_bytes];
            for (std::size_t first = 0; first < tile.size(); first += draws) {
                const std::size_t count = std::min(draws, tile.size() - first);
                backend.keystream(schedule.data(), 0, position + first, bytes, count);
                for (std::size_t i = 0; i < count; ++i) {
                    const std::uint8_t* block = bytes + i * prg::block_bytes;
                    const Wide u = (Wide{little_endian(block + 8)} << 64) | little_endian(block);
                    // The borrow of u - limit, in two halves, so that no compiler makes a branch of it.
                    const Wide halved = (u >> 1) - (limit >> 1) - (~u & limit & 1);
                    tile[first + i] =
                        static_cast<std::uint8_t>(halved >> 127) | static_cast<std::uint8_t>(everyone);
                }
            }
            wipe(bytes, sizeof bytes);
        });
}

}  // namespace sordino
