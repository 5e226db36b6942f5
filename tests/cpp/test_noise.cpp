// SPDX-License-Identifier: Apache-2.0

// Noise of every backend: the stored answers; every kernel's agreement with 255 bits, on words that are
// chosen to lie at the boundaries, where chance never gets; and the exponential's error against its proven
// bound.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "noise/component.hpp"
#include "noise/exact.hpp"
#include "noise/kernel.hpp"
#include "noise/plan.hpp"
#include "sordino/error.hpp"
#include "sordino/noise.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

using noise::batch;
using noise::Candidate;
using noise::Fixed;
using noise::Plan;

constexpr std::array tables{0.5, 1.0, 2.7, 8.0, 16.0};
constexpr std::array rejecting{16.5, 100.0, 65537.3, 1e9, greatest_sigma};
constexpr std::uint64_t error = 26;  // of the kernels' exponential, in units of 2^-52: section 4 of the proof
constexpr std::uint64_t last = (std::uint64_t{1} << 63) - 1;

class Noise : public EveryBackend {};
INSTANTIATE_FOR_EVERY_BACKEND(Noise);

std::vector<double> all_sigmas() {
    std::vector<double> sigmas(tables.begin(), tables.end());
    sigmas.insert(sigmas.end(), rejecting.begin(), rejecting.end());
    return sigmas;
}

double as_double(const Fixed& value) {
    return std::ldexp(static_cast<double>(value.limb(5)), 0) +
           std::ldexp(static_cast<double>(value.limb(4)), -64);
}

// Words on both sides of every boundary, but none that hits one; filled up to a multiple of 32 by chance.
std::vector<std::uint64_t> words_beside_boundaries(const Plan& plan) {
    std::vector<std::uint64_t> words{0, 1};
    const std::span boundaries(plan.fast.boundary, plan.fast.count);
    for (const std::uint64_t boundary : boundaries) {
        for (const std::uint64_t u : {boundary - 1, boundary + 1}) {
            if (u <= last && std::ranges::find(boundaries, u) == boundaries.end()) {
                words.push_back(2 * u);
                words.push_back(2 * u + 1);
            }
        }
    }
    Sequence next(1);
    while (words.size() % 64 != 0) words.push_back(next());
    return words;
}

TEST(NoiseArithmetic, FixedPointAgreesWithDoubles) {
    Sequence next(2);
    for (int i = 0; i < 2000; ++i) {
        const auto a = Fixed::scaled(next(), 40);
        const auto b = Fixed::scaled(next() | 1, 40);
        EXPECT_NEAR(as_double(a / b) / (as_double(a) / as_double(b)), 1.0, 1e-15);
        EXPECT_EQ(a + b - b, a);
        EXPECT_NEAR(as_double(a / 7) / (as_double(a) / 7.0), 1.0, 1e-15);
        const auto t = Fixed::scaled(next() >> 8, 52);
        EXPECT_NEAR(as_double(noise::exp_minus(t)), std::exp(-as_double(t)), 1e-15);
    }
    EXPECT_NEAR(as_double(noise::log_two()), std::log(2.0), 1e-16);
}

// exp(-a) exp(-b) = exp(-(a + b)) far beyond doubles: the difference is below 2^-250.
TEST(NoiseArithmetic, TheExponentialIsOneToManyBits) {
    const Fixed bound = Fixed::scaled(1, 250);
    Sequence next(3);
    for (int i = 0; i < 200; ++i) {
        const auto a = Fixed::scaled(next() >> 8, 53);
        const auto b = Fixed::scaled(next() >> 8, 53);
        const Fixed left = noise::exp_minus(a) * noise::exp_minus(b);
        const Fixed right = noise::exp_minus(a + b);
        EXPECT_LT(left > right ? left - right : right - left, bound);
    }
    const Fixed half = noise::exp_minus(noise::log_two());
    EXPECT_LT(Fixed::scaled(1, 1) - half < bound ? Fixed() : half - Fixed::scaled(1, 1), bound);
}

TEST(NoisePlan, BoundariesRiseToOneAndTheTableHoldsThem) {
    for (const double sigma : all_sigmas()) {
        const Plan plan(sigma);
        EXPECT_TRUE(std::ranges::is_sorted(plan.boundaries));
        EXPECT_EQ(plan.boundaries.back(), (noise::Boundary{last, top, top, plan.boundaries.back()[3]}));
        EXPECT_EQ(plan.fast.count, 16 * plan.fast.columns);
        EXPECT_EQ(plan.fast.boundary[plan.fast.count - 1], last);
        EXPECT_LT(plan.boundaries.size(), 330U);
        const double base = sigma / std::ldexp(1.0, static_cast<int>(plan.fast.shift));
        EXPECT_EQ(plan.rejects, sigma > 16.0);
        if (plan.rejects) {
            EXPECT_GT(base, 4.0);
            EXPECT_LE(base, 8.0);
        }
        EXPECT_NEAR(as_double(plan.rate) * 2 * base * base, 1.0, 1e-14);
    }
}

TEST_P(Noise, AWordBesideABoundaryIsDecidedAsWithMoreBits) {
    const noise::Kernel& kernel = noise::current_kernel();
    for (const double sigma : tables) {
        const Plan plan(sigma);
        const std::vector<std::uint64_t> words = words_beside_boundaries(plan);
        std::vector<std::int64_t> values(words.size());
        EXPECT_FALSE(kernel.table(&plan.fast, words.data(), values.data(), words.size()));
        for (std::size_t i = 0; i < words.size(); ++i) {
            const Candidate candidate{.base = words[i], .random = 0, .low = 0, .extension = {}};
            EXPECT_EQ(values[i], noise::decide(plan, candidate).value) << kernel.name << ' ' << sigma;
        }
    }
}

TEST_P(Noise, AWordThatHitsABoundaryIsSeenAtEveryPlace) {
    const noise::Kernel& kernel = noise::current_kernel();
    for (const double sigma : tables) {
        const Plan plan(sigma);
        for (std::size_t k = 0; k < plan.fast.count; ++k) {
            std::array<std::uint64_t, 32> words{};
            words.fill(2);  // the magnitude 0, for certain
            std::array<std::int64_t, 32> values{};
            ASSERT_FALSE(kernel.table(&plan.fast, words.data(), values.data(), words.size()));
            words[k * 5 % words.size()] = 2 * plan.fast.boundary[k] + k % 2;
            EXPECT_TRUE(kernel.table(&plan.fast, words.data(), values.data(), words.size()))
                << kernel.name << ' ' << sigma << ' ' << k;
        }
    }
}

TEST(NoiseExact, ExtensionBitsDecideAWordThatHitsABoundary) {
    for (const double sigma : all_sigmas()) {
        const Plan plan(sigma);
        for (std::size_t k = 0; k < plan.boundaries.size(); ++k) {
            const noise::Boundary& boundary = plan.boundaries[k];
            if (k > 0 && boundary == plan.boundaries[k - 1]) continue;
            Candidate candidate{.base = 2 * boundary[0], .random = 0, .low = 0, .extension = {}};
            std::copy(boundary.begin() + 1, boundary.end(), candidate.extension.begin());
            EXPECT_EQ(noise::decide(plan, candidate).value >> plan.fast.shift,
                      std::ranges::upper_bound(plan.boundaries, boundary) - plan.boundaries.begin());
            if (candidate.extension[2] == 0) continue;
            candidate.extension[2] -= 1;  // one unit of 2^-255 below
            EXPECT_EQ(noise::decide(plan, candidate).value >> plan.fast.shift, static_cast<std::int64_t>(k));
        }
    }
}

// Of the 64 candidates each has its own random bits, right at the margin on one of its sides or far from it.
TEST_P(Noise, CandidatesBesideTheMarginAreDecidedAsWithMoreBits) {
    const noise::Kernel& kernel = noise::current_kernel();
    Sequence next(4);
    std::size_t undecided_batches = 0;
    for (const double sigma : rejecting) {
        const Plan plan(sigma);
        for (int repeat = 0; repeat < 60; ++repeat) {
            std::array<std::uint64_t, noise::batch_words> words{};
            std::vector<std::int64_t> expected;
            for (std::size_t i = 0; i < batch; ++i) {
                const std::uint64_t base = next() | 2;
                const auto shift = static_cast<unsigned>(plan.fast.shift);
                const std::uint64_t low = (next() >> (64 - shift)) | 1;
                const Fixed v = Fixed::scaled(low, shift);
                const Candidate accepted{
                    .base = base, .random = 0, .low = low << (64 - shift), .extension = {}};
                const auto x = static_cast<std::uint64_t>(std::abs(noise::decide(plan, accepted).value));
                const Fixed t = v * (v + Fixed(2 * (x >> shift))) * plan.rate;
                const std::uint64_t chance = noise::exp_minus(t).leading(52);
                const std::uint64_t distance = repeat % 3 == 0 ? 60 + next() % 8 : next() >> 12;
                const std::uint64_t random = next() % 2 == 0 ? chance + distance : chance - distance;
                words[i] = base;
                words[batch + i] = (random & noise::mask52) << 12 | next() >> 52;
                words[2 * batch + i] = low << (64 - shift);
                const noise::Decision decision = noise::decide(plan, {.base = words[i],
                                                                      .random = words[batch + i],
                                                                      .low = words[2 * batch + i],
                                                                      .extension = {}});
                if (decision.accepted) expected.push_back(decision.value);
            }
            std::array<std::int64_t, batch> out{};
            bool undecided = false;
            const std::size_t count = kernel.propose(&plan.fast, words.data(), out.data(), &undecided);
            if (undecided) ++undecided_batches;
            EXPECT_EQ(std::vector(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count)), expected)
                << kernel.name << ' ' << sigma;
        }
    }
    EXPECT_EQ(undecided_batches, 0U);  // 60 units off are beyond the margin and the error
}

TEST_P(Noise, CandidatesWithinTheMarginAreLeftUndecided) {
    const noise::Kernel& kernel = noise::current_kernel();
    const Plan plan(1000.0);
    for (std::size_t place = 0; place < batch; ++place) {
        std::array<std::uint64_t, noise::batch_words> words{};
        for (std::size_t i = 0; i < batch; ++i) words[i] = 4;
        std::array<std::int64_t, batch> out{};
        bool undecided = true;
        EXPECT_EQ(kernel.propose(&plan.fast, words.data(), out.data(), &undecided), batch);
        EXPECT_FALSE(undecided);
        words[batch + place] = top - (place << 12);  // exp(0) = 1 is place + 1 units above
        kernel.propose(&plan.fast, words.data(), out.data(), &undecided);
        if (place + 1 <= noise::margin - error) {
            EXPECT_TRUE(undecided) << kernel.name << ' ' << place;
        }
        if (place + 1 > noise::margin + error) {
            EXPECT_FALSE(undecided) << kernel.name << ' ' << place;
        }
    }
}

// The one zero that a negative sign would double.
TEST_P(Noise, MinusZeroIsRefused) {
    const noise::Kernel& kernel = noise::current_kernel();
    const Plan plan(1000.0);
    std::array<std::uint64_t, noise::batch_words> words{};
    for (std::size_t i = 0; i < batch; ++i) words[i] = 4 + (i % 4 == 1 ? 1 : 0);  // the magnitude 0
    std::array<std::int64_t, batch> out{};
    out.fill(-1);
    bool undecided = true;
    const std::size_t count = kernel.propose(&plan.fast, words.data(), out.data(), &undecided);
    EXPECT_FALSE(undecided);
    EXPECT_EQ(count, batch - batch / 4);
    EXPECT_TRUE(std::all_of(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(count),
                            [](std::int64_t value) { return value == 0; }));
}

// The bits of one group's stream, from a block on.
std::vector<std::uint64_t> stream_words(Seed seed, std::uint64_t group, std::uint64_t block,
                                        std::size_t count) {
    std::vector<std::uint8_t> bytes(8 * count);
    keystream(seed, bytes, {.stream = group, .block = block});
    std::vector<std::uint64_t> words(count);
    for (std::size_t i = 0; i < bytes.size(); ++i) words[i / 8] |= std::uint64_t{bytes[i]} << (i % 8 * 8);
    return words;
}

// A plan whose boundary `k` is moved to all the 255 bits of candidate c, plus `more` units of 2^-255.
Plan plan_hit(double sigma, Seed seed, std::uint64_t group, std::size_t c, std::uint64_t word,
              std::uint64_t more, std::size_t& k) {
    Plan plan(sigma);
    const std::vector<std::uint64_t> further = stream_words(seed, group, (std::uint64_t{1} << 63) + 4 * c, 3);
    const noise::Boundary u{word >> 1, further[0], further[1], further[2] + more};
    k = static_cast<std::size_t>(std::ranges::upper_bound(plan.boundaries, u) - plan.boundaries.begin());
    plan.boundaries[k] = u;
    plan.fast.boundary[k] = u[0];
    plan.fast.column[k % plan.fast.columns][k / plan.fast.columns] = u[0];
    return plan;
}

// The boundary of a plan is moved onto a word of the keystream, so that only its extension can decide.
TEST_P(Noise, AHitOfATableIsDecidedByItsOwnExtension) {
    const std::vector<std::uint8_t> bytes = sample<std::uint8_t>(32, 8);
    const Seed seed = seed_of(bytes);
    const std::uint64_t group = 5;
    noise::Scratch plain;
    noise::Scratch hit;
    noise::Component(seed, Plan(3.0)).draw(group, plain);
    for (const std::size_t lane : {0U, 1U, 63U, 500U, 1023U}) {
        const std::uint64_t word = stream_words(seed, group, lane / 2, 2)[lane % 2];
        for (const std::uint64_t more : {0U, 1U}) {
            std::size_t k = 0;
            const Plan plan = plan_hit(3.0, seed, group, lane, word, more, k);
            noise::Component(seed, plan).draw(group, hit);
            const auto magnitude = static_cast<std::int64_t>(k + 1 - more);  // U >= C_k, or one unit below
            EXPECT_EQ(hit.samples[lane], (word & 1) != 0 ? -magnitude : magnitude);
            std::size_t others = 0;  // words between the boundary's old place and its new one
            for (std::size_t i = 0; i < noise_group; ++i) {
                if (i != lane && hit.samples[i] != plain.samples[i]) {
                    ++others;
                    EXPECT_EQ(std::abs(hit.samples[i]) + std::abs(plain.samples[i]), 2 * k + 1);
                }
            }
            EXPECT_LT(others, noise_group / 2);
        }
    }
}

TEST_P(Noise, AHitInABatchIsDecidedByItsOwnExtension) {
    const std::vector<std::uint8_t> bytes = sample<std::uint8_t>(32, 9);
    const Seed seed = seed_of(bytes);
    const std::uint64_t group = 6;
    const std::uint64_t number = 3;  // the batch
    const std::vector<std::uint64_t> words = stream_words(seed, group, number * 96, noise::batch_words);
    noise::Scratch scratch;
    for (const std::size_t i : {0U, 7U, 41U, 63U}) {
        for (const std::uint64_t more : {0U, 1U}) {
            std::size_t k = 0;
            const std::size_t c = number * batch + i;
            const Plan plan = plan_hit(1e4, seed, group, c, words[i], more, k);
            noise::Component(seed, plan).draw(group, scratch);
            // All candidates up to this batch, by 255 bits.
            std::vector<std::int64_t> expected;
            for (std::size_t b = 0; b <= number; ++b) {
                const auto w = stream_words(seed, group, b * 96, noise::batch_words);
                for (std::size_t n = 0; n < batch; ++n) {
                    const auto block = (std::uint64_t{1} << 63) + 4 * (b * batch + n);
                    const auto further = stream_words(seed, group, block, 8);
                    Candidate candidate{
                        .base = w[n], .random = w[batch + n], .low = w[2 * batch + n], .extension = {}};
                    std::ranges::copy(further, candidate.extension.begin());
                    const noise::Decision decision = noise::decide(plan, candidate);
                    if (b == number && n == i) {
                        EXPECT_EQ(std::abs(decision.value) >> plan.fast.shift, k + 1 - more);
                    }
                    if (decision.accepted) expected.push_back(decision.value);
                }
            }
            EXPECT_TRUE(std::equal(expected.begin(), expected.end(), scratch.samples));
        }
    }
}

TEST_P(Noise, WhatIsAddedCanBeSubtracted) {
    const std::vector<std::uint8_t> seeds = sample<std::uint8_t>(64, 5);
    const std::array<GaussianNoise, 2> components{
        GaussianNoise{std::span(seeds).first<32>(), 3.0},
        GaussianNoise{std::span(seeds).last<32>(), 12345.0},
    };
    std::vector<std::uint64_t> lanes = sample<std::uint64_t>(5'001, 6);
    const std::vector<std::uint64_t> before = lanes;
    add_noise(std::span(lanes), components, {.offset = 77, .threads = 2});
    EXPECT_NE(lanes, before);
    subtract_noise(std::span(lanes), std::span(components).first(1), {.offset = 77, .threads = 1});
    subtract_noise(std::span(lanes), std::span(components).last(1), {.offset = 77, .threads = 3});
    EXPECT_EQ(lanes, before);
}

TEST_P(Noise, BadArgumentsAreNamed) {
    const std::vector<std::uint8_t> seed = sample<std::uint8_t>(32, 7);
    std::vector<std::uint32_t> lanes(10);
    for (const double sigma : {0.0, -1.0, 0.49, 1.1e12, std::nan(""), HUGE_VAL}) {
        const std::array<GaussianNoise, 1> components{GaussianNoise{seed_of(seed), sigma}};
        EXPECT_TRUE(throws<InvalidArgument>("sigma: ", [&] { add_noise(std::span(lanes), components); }));
        EXPECT_TRUE(throws<InvalidArgument>("sigma: ", [&] { (void)gaussian_variance(sigma); }));
    }
    const std::array<GaussianNoise, 1> components{GaussianNoise{seed_of(seed), 1.0}};
    EXPECT_TRUE(throws<InvalidArgument>("threads: ",
                                        [&] { add_noise(std::span(lanes), components, {.threads = 0}); }));
    EXPECT_TRUE(throws<InvalidArgument>(
        "offset: ", [&] { add_noise(std::span(lanes), components, {.offset = top - 5}); }));
    std::vector<std::uint8_t> drawn(3);
    for (const double q : {0.0, -0.1, 1.1, std::nan("")}) {
        EXPECT_TRUE(
            throws<InvalidArgument>("q: ", [&] { poisson_sample(std::span(drawn), seed_of(seed), q); }));
    }
    EXPECT_TRUE(throws<InvalidArgument>("denominator: ",
                                        [&] { bernoulli_exp(std::span(drawn), seed_of(seed), {1, 0}); }));
    EXPECT_EQ(lanes, std::vector<std::uint32_t>(10));
}

}  // namespace
}  // namespace sordino::test
