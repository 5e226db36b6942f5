// SPDX-License-Identifier: Apache-2.0

// The only place that chooses the Gaussian's inner loops: the widest that go with the PRG's backend, so that
// whoever forces a backend forces both.
#include <string_view>

#include "noise/kernel.hpp"
#include "prg/backend.hpp"
#include "prg/cpu_features.hpp"

namespace sordino::noise {

const Kernel& current_kernel() {
#if defined(__x86_64__)
    static const prg::CpuFeatures cpu = prg::detect_cpu_features();
    const std::string_view backend = prg::current().name;
    if (backend == prg::vaes512.name && cpu.ifma512) return avx512;
    if (backend != prg::portable.name && cpu.avx2) return avx2;
#endif
    return portable;
}

}  // namespace sordino::noise
