// SPDX-License-Identifier: Apache-2.0

// The only place that chooses the codec's kernels.
#include "codec/backend.hpp"
#include "prg/backend.hpp"
#include "prg/cpu_features.hpp"

namespace sordino::codec {

#if defined(__x86_64__)
namespace {

const prg::CpuFeatures& features() {
    static const prg::CpuFeatures cpu = prg::detect_cpu_features();
    return cpu;
}

}  // namespace
#endif

const Backend& current() {
#if defined(__x86_64__)
    const prg::CpuFeatures& cpu = features();
    const prg::Backend& prg = prg::current();
    // Who names a PRG gets no wider registers than its own; else a CPU may have AVX without AES in it.
    const bool free = prg::is_automatic();
    if (cpu.avx512 && (free || &prg == &prg::vaes512)) return avx512;
    if (cpu.avx2 && (free || &prg == &prg::vaes512 || &prg == &prg::vaes256)) return avx2;
#else
    (void)prg::current();  // an unknown SORDINO_CPU is refused here too
#endif
    return portable;
}

const Backend& beside_masks() {
    const Backend& widest = current();
#if defined(__x86_64__)
    if (&widest == &avx512 && features().avx2) return avx2;
#endif
    return widest;
}

}  // namespace sordino::codec
