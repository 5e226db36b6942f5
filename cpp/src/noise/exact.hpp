// SPDX-License-Identifier: Apache-2.0

// One sample decided with 255 bits and more: what the kernels leave undecided, about once in 2^45 candidates
// and once in 2^56 words of a table. Slow, and its time may show which sample it was.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "noise/plan.hpp"

namespace sordino::noise {

// What a candidate draws from the keystream; `extension` follows the bits of `base`, then those of `random`.
struct Candidate {
    std::uint64_t base;
    std::uint64_t random;
    std::uint64_t low;
    std::array<std::uint64_t, 8> extension;  // words 0 to 2, and 4 to 6
};

struct Decision {
    std::int64_t value;
    bool accepted;
};

// A plan that does not reject accepts all, and reads `base` and its extension only.
[[nodiscard]] Decision decide(const Plan& plan, const Candidate& candidate) noexcept;

}  // namespace sordino::noise
