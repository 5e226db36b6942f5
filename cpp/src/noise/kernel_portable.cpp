// SPDX-License-Identifier: Apache-2.0

// The inner loops for any CPU.
#include "noise/kernel.hpp"
#include "noise/kernel_scalar.hpp"

namespace sordino::noise {
namespace {

bool table(const Fast* fast, const std::uint64_t* words, std::int64_t* values, std::size_t count) {
    return scalar::table(fast, words, values, count);
}

std::size_t propose(const Fast* fast, const std::uint64_t* words, std::int64_t* out, bool* undecided) {
    return scalar::propose(fast, words, out, undecided);
}

}  // namespace

const Kernel portable{.name = "portable", .table = table, .propose = propose};

}  // namespace sordino::noise
