// add_noise and subtract_noise: groups of lanes, each from its own stream of the PRG.
//
// Layout of group g's stream, in words of 64 bits: a table reads word i for lane i. One that rejects reads
// batches of 64 candidates, 3 * 64 words each, from the first on, until the lanes of the group are filled in
// order. The bits that extend candidate c are the eight words from block 2^63 + 4 c on.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "noise/exact.hpp"
#include "noise/kernel.hpp"
#include "noise/plan.hpp"
#include "prg/backend.hpp"
#include "sordino/error.hpp"
#include "sordino/noise.hpp"
#include "sordino/secret.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

using noise::batch;
using noise::batch_words;

constexpr std::size_t words_per_block = prg::block_bytes / sizeof(std::uint64_t);
constexpr std::uint64_t extension_block = std::uint64_t{1} << 63;

static_assert(lanes_per_tile<std::uint32_t> % noise_group == 0);
static_assert(lanes_per_tile<std::uint64_t> % noise_group == 0);
static_assert(noise_group % batch == 0 && batch_words <= noise_group);

// A thread's own room.
struct Scratch {
    alignas(64) std::uint64_t words[noise_group];
    alignas(64) std::int64_t samples[noise_group + batch];

    Scratch() = default;
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { wipe(this, sizeof *this); }
};

class Component {
public:
    Component(const prg::Backend& backend, const GaussianNoise& component)
        : plan_(component.sigma),
          backend_(&backend),
          kernel_(&noise::current_kernel()),
          schedule_(backend.schedule_bytes) {
        backend.expand_key(component.seed.data(), schedule_.data());
    }

    // The first noise_group samples of scratch.samples become those of the group.
    void draw(std::uint64_t group, Scratch& scratch) const noexcept {
        if (!plan_.rejects) {
            read(group, 0, scratch.words, noise_group);
            if (!kernel_->table(&plan_.fast, scratch.words, scratch.samples, noise_group)) return;
            for (std::size_t i = 0; i < noise_group; ++i) {
                scratch.samples[i] = decide(group, i, scratch.words[i], 0, 0).value;
            }
            return;
        }
        std::size_t filled = 0;
        for (std::uint64_t number = 0; filled < noise_group; ++number) {
            read(group, number * (batch_words / words_per_block), scratch.words, batch_words);
            std::int64_t* out = scratch.samples + filled;
            bool undecided = false;
            std::size_t accepted = kernel_->propose(&plan_.fast, scratch.words, out, &undecided);
            if (undecided) accepted = decide_batch(group, number, scratch.words, out);
            filled += accepted;
        }
    }

private:
    void read(std::uint64_t stream, std::uint64_t block, std::uint64_t* words,
              std::size_t count) const noexcept {
        backend_->keystream(schedule_.data(), stream, block, reinterpret_cast<std::uint8_t*>(words),
                            count / words_per_block);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        for (std::size_t i = 0; i < count; ++i) words[i] = __builtin_bswap64(words[i]);
#endif
    }

    [[nodiscard]] noise::Decision decide(std::uint64_t group, std::uint64_t number, std::uint64_t base,
                                         std::uint64_t random, std::uint64_t low) const noexcept {
        noise::Candidate candidate{.base = base, .random = random, .low = low, .extension = {}};
        const std::size_t count = candidate.extension.size();
        const std::uint64_t block = extension_block + number * (count / words_per_block);
        read(group, block, candidate.extension.data(), count);
        const noise::Decision decision = noise::decide(plan_, candidate);
        wipe(&candidate, sizeof candidate);
        return decision;
    }

    std::size_t decide_batch(std::uint64_t group, std::uint64_t number, const std::uint64_t* words,
                             std::int64_t* out) const noexcept {
        std::size_t accepted = 0;
        for (std::size_t i = 0; i < batch; ++i) {
            const noise::Decision decision =
                decide(group, number * batch + i, words[i], words[batch + i], words[2 * batch + i]);
            out[accepted] = decision.value;
            if (decision.accepted) ++accepted;
        }
        return accepted;
    }

    noise::Plan plan_;
    const prg::Backend* backend_;
    const noise::Kernel* kernel_;
    SecretBuffer<std::uint8_t> schedule_;
};

template <bool subtract, typename Lane>
void run(std::span<Lane> lanes, std::span<const GaussianNoise> components, const NoiseRange& range) {
    const prg::Backend& backend = prg::current();
    std::vector<std::unique_ptr<const Component>> parts;
    parts.reserve(components.size());
    for (const GaussianNoise& component : components) {
        parts.push_back(std::make_unique<const Component>(backend, component));
    }
    for_each_tile(lanes, range.offset, range.threads, [&parts](std::span<Lane> tile, std::uint64_t position) {
        Scratch scratch;
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
    if (!(sigma >= least_sigma && sigma <= greatest_sigma)) {
        throw InvalidArgument("sigma: must be between 0.5 and 2**40, got " + std::to_string(sigma));
    }
    // Beyond, sigma^2 is too large by less than a part in 2^240: section 1 of docs/math/discrete-gaussian.md.
    if (sigma > 3.0) return sigma * sigma;
    const noise::Fixed rate = noise::gaussian_rate(sigma, 0);
    const noise::Fixed variance = noise::moment(rate, 1) / noise::moment(rate, 0);
    return std::ldexp(static_cast<double>(variance.leading(60)), -60);
}

}  // namespace sordino
