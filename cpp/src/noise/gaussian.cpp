// SPDX-License-Identifier: Apache-2.0

// add_noise and subtract_noise: tile by tile, and in it group by group, all components.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "noise/component.hpp"
#include "noise/plan.hpp"
#include "sordino/error.hpp"
#include "sordino/noise.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

static_assert(lanes_per_tile<std::uint32_t> % noise_group == 0);
static_assert(lanes_per_tile<std::uint64_t> % noise_group == 0);

template <bool subtract, typename Lane>
void run(std::span<Lane> lanes, std::span<const GaussianNoise> components, const NoiseRange& range) {
    std::vector<std::unique_ptr<const noise::Component>> parts;
    parts.reserve(components.size());
    for (const GaussianNoise& component : components) {
        parts.push_back(
            std::make_unique<const noise::Component>(component.seed, noise::Plan(component.sigma)));
    }
    for_each_tile(lanes, range.offset, range.threads, [&parts](std::span<Lane> tile, std::uint64_t position) {
        noise::Scratch scratch;
        while (!tile.empty()) {
            const std::size_t skip = position % noise_group;
            const std::size_t count = std::min(tile.size(), noise_group - skip);
            for (const auto& part : parts) {
                part->draw(position / noise_group, scratch);
                const std::int64_t* samples = scratch.samples + skip;
                for (std::size_t i = 0; i < count; ++i) {
                    const auto sample = static_cast<Lane>(samples[i]);
                    if constexpr (subtract) {
                        tile[i] -= sample;
                    } else {
                        tile[i] += sample;
                    }
                }
            }
            tile = tile.subspan(count);
            position += count;
        }
    });
}

}  // namespace

void add_noise(std::span<std::uint32_t> lanes, std::span<const GaussianNoise> components, NoiseRange range) {
    run<false>(lanes, components, range);
}

void add_noise(std::span<std::uint64_t> lanes, std::span<const GaussianNoise> components, NoiseRange range) {
    run<false>(lanes, components, range);
}

void subtract_noise(std::span<std::uint32_t> lanes, std::span<const GaussianNoise> components,
                    NoiseRange range) {
    run<true>(lanes, components, range);
}

void subtract_noise(std::span<std::uint64_t> lanes, std::span<const GaussianNoise> components,
                    NoiseRange range) {
    run<true>(lanes, components, range);
}

double gaussian_variance(double sigma) {
    const bool within = sigma >= least_sigma && sigma <= greatest_sigma;  // NaN is not
    if (!within) {
        throw InvalidArgument("sigma: must be between 0.5 and 2**40, got " + std::to_string(sigma));
    }
    // Beyond, sigma^2 is too large by less than a part in 2^240: section 1 of docs/math/discrete-gaussian.md.
    if (sigma > 3.0) return sigma * sigma;
    const noise::Fixed rate = noise::gaussian_rate(sigma, 0);
    const noise::Fixed variance = noise::moment(rate, 1) / noise::moment(rate, 0);
    return std::ldexp(static_cast<double>(variance.leading(60)), -60);
}

}  // namespace sordino
