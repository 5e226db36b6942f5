// SPDX-License-Identifier: Apache-2.0

#include "noise/component.hpp"

#include <utility>

namespace sordino::noise {
namespace {

constexpr std::size_t words_per_block = prg::block_bytes / sizeof(std::uint64_t);
constexpr std::uint64_t extension_block = std::uint64_t{1} << 63;

static_assert(noise_group % batch == 0 && batch_words <= noise_group);

}  // namespace

Component::Component(Seed seed, Plan plan)
    : plan_(std::move(plan)),
      backend_(&prg::current()),
      kernel_(&current_kernel()),
      schedule_(backend_->schedule_bytes) {
    backend_->expand_key(seed.data(), schedule_.data());
}

void Component::draw(std::uint64_t group, Scratch& scratch) const noexcept {
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

void Component::read(std::uint64_t stream, std::uint64_t block, std::uint64_t* words,
                     std::size_t count) const noexcept {
    backend_->keystream(schedule_.data(), stream, block, reinterpret_cast<std::uint8_t*>(words),
                        count / words_per_block);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    for (std::size_t i = 0; i < count; ++i) words[i] = __builtin_bswap64(words[i]);
#endif
}

Decision Component::decide(std::uint64_t group, std::uint64_t number, std::uint64_t base,
                           std::uint64_t random, std::uint64_t low) const noexcept {
    Candidate candidate{.base = base, .random = random, .low = low, .extension = {}};
    const std::size_t count = candidate.extension.size();
    read(group, extension_block + number * (count / words_per_block), candidate.extension.data(), count);
    const Decision decision = noise::decide(plan_, candidate);
    wipe(&candidate, sizeof candidate);
    return decision;
}

std::size_t Component::decide_batch(std::uint64_t group, std::uint64_t number, const std::uint64_t* words,
                                    std::int64_t* out) const noexcept {
    std::size_t accepted = 0;
    for (std::size_t i = 0; i < batch; ++i) {
        const Decision decision =
            decide(group, number * batch + i, words[i], words[batch + i], words[2 * batch + i]);
        out[accepted] = decision.value;
        if (decision.accepted) ++accepted;
    }
    return accepted;
}

}  // namespace sordino::noise
