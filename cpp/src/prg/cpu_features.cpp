#include "prg/cpu_features.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sordino::prg {

CpuFeatures detect_cpu_features() noexcept {
#if defined(__x86_64__)
    // cpuid and not __builtin_cpu_supports: not every compiler's builtin knows "aes".
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return {};
    return {.aesni = (c & bit_AES) != 0 && (c & bit_SSE4_1) != 0};
#else
    return {};
#endif
}

}  // namespace sordino::prg
