// SPDX-License-Identifier: Apache-2.0

// The inner loops as the compiler vectorises them for AVX2.
#if defined(__x86_64__)

#include "noise/kernel.hpp"
#include "noise/kernel_scalar.hpp"

namespace sordino::noise {
namespace {

[[gnu::target("avx2")]] bool table(const Fast* fast, const std::uint64_t* words, std::int64_t* values,
                                   std::size_t count) {
    return scalar::table(fast, words, values, count);
}

[[gnu::target("avx2")]] std::size_t propose(const Fast* fast, const std::uint64_t* words, std::int64_t* out,
                                            bool* undecided) {
    return scalar::propose(fast, words, out, undecided);
}

}  // namespace

const Kernel avx2{.name = "avx2", .table = table, .propose = propose};

}  // namespace sordino::noise

#endif
