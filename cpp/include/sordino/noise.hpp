// SPDX-License-Identifier: Apache-2.0

// Noise on integer lanes, exact and keyed: the same seed gives the same numbers on every machine, with every
// backend, in any pieces and with any number of threads. Integers alone decide; no libm, no floating point.
//
// A sigma is the double that is passed, taken exactly: a dyadic number. Rounding a wanted sigma up is safe.
// docs/math/discrete-gaussian.md proves what is sampled and says what its time shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sordino/prg.hpp"

namespace sordino {

inline constexpr double least_sigma = 0.5;
inline constexpr double greatest_sigma = 1099511627776.0;  // 2^40

// Every sample of every function here lies within this total variation distance, 2 to this power, of the law
// that it names. A vector of d samples costs delta at most d (1 + e^epsilon) times as much.
inline constexpr int noise_distance_log2 = -240;

// Lanes of a group share one stream of the PRG, whose id is the group's number: to draw one, all are drawn.
inline constexpr std::size_t noise_group = 1024;

// The discrete Gaussian N_Z(0, sigma^2) of [CKS20]: P(x) proportional to exp(-x^2 / (2 sigma^2)).
// A seed is for noise only, and for one sigma.
struct GaussianNoise {
    Seed seed;
    double sigma;
};

struct NoiseRange {
    std::uint64_t offset = 0;  // index, in lanes, of the first lane within the whole vector
    std::optional<std::size_t> threads = std::nullopt;  // at least 1; none: default_threads()
};

// lanes[i] += sum_k X_k[offset + i] mod 2^32 (or 2^64), X_k the samples of component k; or -=, which is the
// exact inverse. Each tile of lanes is brought into the cache once, whatever the number of components.
//
// Throws InvalidArgument for a sigma that is NaN or outside [least_sigma, greatest_sigma], and where the
// lanes would pass index 2^64.
void add_noise(std::span<std::uint32_t> lanes, std::span<const GaussianNoise> components,
               NoiseRange range = {});
void add_noise(std::span<std::uint64_t> lanes, std::span<const GaussianNoise> components,
               NoiseRange range = {});
void subtract_noise(std::span<std::uint32_t> lanes, std::span<const GaussianNoise> components,
                    NoiseRange range = {});
void subtract_noise(std::span<std::uint64_t> lanes, std::span<const GaussianNoise> components,
                    NoiseRange range = {});

// The variance of one sample: sigma^2 to a few units in the last place from sigma = 3 on, less below (0.2150
// for 0.5). For the accountant and the planner; nothing is sampled by it.
[[nodiscard]] double gaussian_variance(double sigma);

// A positive fraction, in any terms.
struct Ratio {
    std::uint64_t numerator;
    std::uint64_t denominator;
};

// The discrete Laplace law of [CKS20]: P(x) proportional to exp(-|x| / scale). Draw i, counted from `offset`,
// has the PRG's stream i to itself. Its time shows how many trials it took, and with them the draw's size: it
// is for releases whose noise nobody can time. Throws InvalidArgument unless both terms are in [1, 2^32].
void discrete_laplace(std::span<std::int64_t> out, Seed seed, Ratio scale, NoiseRange range = {});

// out[i] = 1 with probability exp(-x), else 0, [CKS20, Algorithm 1]; streams and time as above. x >= 0.
// Throws InvalidArgument unless the numerator is at most 2^32 and the denominator in [1, 2^32].
void bernoulli_exp(std::span<std::uint8_t> out, Seed seed, Ratio x, NoiseRange range = {});

// out[i] = 1 with probability q, else 0, independently: Poisson sampling. The probability is the double q
// itself from 2^-75 on, below that q rounded down to a multiple of 2^-128. Rounding down is the safe side:
// privacy amplification is monotone in q. Time and addresses do not depend on who is in.
// Throws InvalidArgument unless 0 < q <= 1.
void poisson_sample(std::span<std::uint8_t> out, Seed seed, double q, NoiseRange range = {});

}  // namespace sordino
