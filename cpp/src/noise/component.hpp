// SPDX-License-Identifier: Apache-2.0

// The samples of one seed and one plan, group by group.
//
// Layout of group g's stream, in words of 64 bits: a table reads word i for lane i. One that rejects reads
// batches of 64 candidates, 3 * 64 words each, from the first on, until the lanes of the group are filled in
// order. The bits that extend candidate c are the eight words from block 2^63 + 4 c on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "noise/exact.hpp"
#include "noise/kernel.hpp"
#include "noise/plan.hpp"
#include "prg/backend.hpp"
#include "sordino/noise.hpp"
#include "sordino/secret.hpp"

namespace sordino::noise {

// A thread's own room, with the samples of one group at its front after a draw.
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
    // With the PRG's backend in use.
    Component(Seed seed, Plan plan);

    // The first noise_group samples of the scratch become those of the group.
    void draw(std::uint64_t group, Scratch& scratch) const noexcept;

private:
    void read(std::uint64_t stream, std::uint64_t block, std::uint64_t* words,
              std::size_t count) const noexcept;
    [[nodiscard]] Decision decide(std::uint64_t group, std::uint64_t number, std::uint64_t base,
                                  std::uint64_t random, std::uint64_t low) const noexcept;
    std::size_t decide_batch(std::uint64_t group, std::uint64_t number, const std::uint64_t* words,
                             std::int64_t* out) const noexcept;

    Plan plan_;
    const prg::Backend* backend_;
    const Kernel* kernel_;
    SecretBuffer<std::uint8_t> schedule_;
};

}  // namespace sordino::noise
