// SPDX-License-Identifier: Apache-2.0

#include "noise/exact.hpp"

#include <algorithm>

namespace sordino::noise {

Decision decide(const Plan& plan, const Candidate& candidate) noexcept {
    const Boundary u{candidate.base >> 1, candidate.extension[0], candidate.extension[1],
                     candidate.extension[2]};
    const auto above = std::ranges::upper_bound(plan.boundaries, u);
    const auto y = static_cast<std::uint64_t>(above - plan.boundaries.begin());
    const bool negative = (candidate.base & 1) != 0;
    const auto with_sign = [negative](std::uint64_t magnitude) {
        return static_cast<std::int64_t>(negative ? 0 - magnitude : magnitude);
    };
    if (!plan.rejects) return {.value = with_sign(y), .accepted = true};

    const auto shift = static_cast<unsigned>(plan.fast.shift);
    const std::uint64_t low = candidate.low >> (64 - shift);
    const std::uint64_t magnitude = (y << shift) + low;
    const Fixed v = Fixed::scaled(low, shift);
    const Fixed chance = exp_minus(v * (v + Fixed(2 * y)) * plan.rate);
    bool accepted = chance.integer() != 0;
    if (!accepted) {
        const Boundary limit{chance.limb(4), chance.limb(3), chance.limb(2), chance.limb(1)};
        const Boundary random{candidate.random, candidate.extension[4], candidate.extension[5],
                              candidate.extension[6]};
        accepted = random < limit;
    }
    const bool minus_zero = negative && magnitude == 0;
    return {.value = with_sign(magnitude), .accepted = accepted && !minus_zero};
}

}  // namespace sordino::noise
