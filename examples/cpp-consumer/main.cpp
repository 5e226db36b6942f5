// SPDX-License-Identifier: Apache-2.0

// Three sites sum vectors that nobody else can read; one of them is lost, and the sum is exact all the same.
//
// It shows the library, not the protocol: keys, signatures and who may ask for what are the Python package's
// part, and sites that trust nobody need them (docs/protocol.md).
#include <array>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <random>
#include <span>
#include <vector>

#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/prg.hpp"
#include "sordino/shamir.hpp"
#include "sordino/version.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t sites = 3;
constexpr std::size_t threshold = 2;
constexpr std::size_t length = 5;
constexpr unsigned bits = 40;  // on the wire; three lanes below 2^37 cannot overflow it
constexpr double scale = 0x1p24;
constexpr std::size_t lost = 2;
constexpr std::array<std::uint16_t, sites> points{1, 2, 3};
constexpr std::array<std::array<double, length>, sites> values{{
    {0.52, -1.10, 3.25, 0.0, 100.5},
    {-0.31, 0.80, 1e-7, -0.0, 23.25},
    {1.20, -0.05, -2.5, 4000.0, 7.125},
}};

Bytes fresh_seed() {
    std::random_device entropy;  // the operating system's generator, in the C++ libraries at hand
    Bytes seed(sordino::seed_bytes);
    for (auto& byte : seed) byte = static_cast<std::uint8_t>(entropy());
    return seed;
}

sordino::Seed as_seed(const Bytes& bytes) {
    return std::span(bytes).first<sordino::seed_bytes>();
}

void append(Bytes& to, const Bytes& more) {
    to.insert(to.end(), more.begin(), more.end());
}

std::vector<std::uint64_t> encoded(std::size_t site) {
    std::vector<std::uint64_t> lanes(length);
    sordino::encode(values[site], lanes, {.clip = 4096.0, .scale = scale, .weight = 1});
    return lanes;
}

struct Round {
    std::array<Bytes, sites> self_seed;
    std::array<std::array<Bytes, sites>, sites> pair_seed;  // known to both ends
    std::array<Bytes, sites> shares;                        // row s: what each site holds of self_seed[s]
};

Round agree() {
    Round round;
    for (std::size_t i = 0; i < sites; ++i) {
        round.self_seed[i] = fresh_seed();
        round.shares[i].resize(sites * sordino::shamir_secret_bytes);
        const Bytes coefficients = fresh_seed();
        sordino::shamir_split(round.self_seed[i], points, threshold, as_seed(coefficients), round.shares[i]);
        for (std::size_t j = i + 1; j < sites; ++j) {
            round.pair_seed[i][j] = fresh_seed();
            round.pair_seed[j][i] = round.pair_seed[i][j];
        }
    }
    return round;
}

// y = x + PRG(self) + sum over higher sites - sum over lower ones, packed.
Bytes upload(const Round& round, std::size_t site) {
    Bytes add = round.self_seed[site];
    Bytes subtract;
    for (std::size_t other = 0; other < sites; ++other) {
        if (other != site) append(other > site ? add : subtract, round.pair_seed[site][other]);
    }
    std::vector<std::uint64_t> lanes = encoded(site);
    sordino::add_masks(lanes, add, subtract);
    Bytes packed(sordino::packed_size(length, bits));
    sordino::pack(lanes, packed, bits);
    return packed;
}

// Lost after its upload: its part counts, and two others rebuild the seed of its own mask.
Bytes rebuilt_seed(const Round& round, std::size_t site) {
    Bytes seed(sordino::shamir_secret_bytes);
    const auto held = std::span(round.shares[site]).first(threshold * sordino::shamir_secret_bytes);
    sordino::shamir_combine(std::span(points).first(threshold), held, seed);
    return seed;
}

bool sum(bool lost_before_upload) {
    const Round round = agree();
    std::vector<std::uint64_t> total(length);
    std::vector<std::uint64_t> plain(length);
    Bytes to_add;       // what is still missing of masks in the total
    Bytes to_subtract;  // what is still too much
    for (std::size_t site = 0; site < sites; ++site) {
        if (site == lost && lost_before_upload) continue;
        sordino::unpack_add(upload(round, site), total, bits);
        append(to_subtract, site == lost ? rebuilt_seed(round, site) : round.self_seed[site]);
        if (lost_before_upload) {  // nothing cancels what the survivors shared with it, so they reveal that
            append(lost > site ? to_subtract : to_add, round.pair_seed[site][lost]);
        }
        const std::vector<std::uint64_t> lanes = encoded(site);
        for (std::size_t i = 0; i < length; ++i) plain[i] += lanes[i];
    }
    sordino::add_masks(total, to_add, to_subtract);

    std::vector<double> decoded(length);
    std::vector<double> expected(length);
    sordino::decode(total, decoded, bits, scale);
    sordino::decode(plain, expected, bits, scale);
    std::cout << (lost_before_upload ? "lost before its upload, sum of two:  "
                                     : "lost after its upload, sum of three:");
    for (const double value : decoded) std::cout << ' ' << value;
    std::cout << (decoded == expected ? "  exact\n" : "  WRONG\n");
    return decoded == expected;
}

}  // namespace

int main() {
    try {
        std::cout << "sordino " << sordino::version_string << ", " << sordino::backend() << '\n';
        const bool before = sum(true);
        const bool after = sum(false);
        return before && after ? EXIT_SUCCESS : EXIT_FAILURE;
    } catch (const sordino::Error& error) {
        std::cerr << error.what() << '\n';
        return EXIT_FAILURE;
    }
}
