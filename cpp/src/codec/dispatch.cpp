// The only place that chooses the codec's kernels.
#include "codec/backend.hpp"
#include "prg/backend.hpp"
#include "prg/cpu_features.hpp"

namespace sordino::codec {

const Backend& current() {
#if defined(__x86_64__)
    static const prg::CpuFeatures cpu = prg::detect_cpu_features();
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

}  // namespace sordino::codec
