// SPDX-License-Identifier: Apache-2.0

// What an implementation of the Gaussian's inner loops offers. One file an instruction set, the same
// signatures everywhere. Neither branches nor addresses depend on the words, except that `propose` counts
// what it accepts. Functions take raw pointers, as prg/backend.hpp explains.
#pragma once

#include <cstddef>
#include <cstdint>

#include "noise/plan.hpp"

namespace sordino::noise {

inline constexpr std::size_t batch = 64;  // candidates, and three words for each
inline constexpr std::size_t batch_words = 3 * batch;

struct Kernel {
    const char* name;

    // A word gives a sign (its lowest bit) and a magnitude: the number of boundaries that are below its
    // upper 63 bits. `count` is a multiple of 32. True if a word hits a boundary, so that 63 bits cannot
    // decide: then all values are to be made again by exact.hpp.
    bool (*table)(const Fast* fast, const std::uint64_t* words, std::int64_t* values, std::size_t count);

    // Appends those of 64 candidates that are accepted to `out`, which has room for 64, in order; returns how
    // many. Candidate i has the words i, 64 + i, 128 + i. *undecided as above.
    std::size_t (*propose)(const Fast* fast, const std::uint64_t* words, std::int64_t* out, bool* undecided);
};

extern const Kernel portable;
#if defined(__x86_64__)
extern const Kernel avx2;
extern const Kernel avx512;
#endif

// The one that goes with the PRG's backend in use.
[[nodiscard]] const Kernel& current_kernel();

}  // namespace sordino::noise
