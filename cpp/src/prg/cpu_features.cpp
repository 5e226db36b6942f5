// SPDX-License-Identifier: Apache-2.0

#include "prg/cpu_features.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace sordino::prg {

#if defined(__x86_64__)
namespace {

// The register states that the system saves: XCR0. Assembler, since the intrinsic needs a target of its own.
std::uint64_t enabled_states() noexcept {
    std::uint32_t low = 0;
    std::uint32_t high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (std::uint64_t{high} << 32) | low;
}

}  // namespace

// cpuid and not __builtin_cpu_supports: not every compiler's builtin knows "aes" and "vaes".
CpuFeatures detect_cpu_features() noexcept {
    constexpr std::uint64_t ymm_states = 0x06;  // SSE, AVX
    constexpr std::uint64_t zmm_states = 0xE6;  // and the mask registers and both parts of the 512-bit ones
    CpuFeatures features;
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0) return features;
    features.aesni = (c & bit_AES) != 0 && (c & bit_SSE4_1) != 0;
    const bool sse = (c & bit_SSSE3) != 0 && (c & bit_SSE4_1) != 0;
    unsigned unused = 0;
    unsigned extended = 0;
    if (__get_cpuid_count(7, 0, &unused, &extended, &unused, &unused) != 0) {
        features.hash = sse && (extended & bit_SHA) != 0;
    }
    if ((c & bit_OSXSAVE) == 0 || (c & bit_AVX) == 0) return features;
    const std::uint64_t states = enabled_states();
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return features;
    const bool zmm = (states & zmm_states) == zmm_states && (b & bit_AVX512F) != 0 && (b & bit_AVX512BW) != 0;
    const bool vaes = features.aesni && (c & bit_VAES) != 0;
    features.avx2 = (states & ymm_states) == ymm_states && (b & bit_AVX2) != 0;
    features.avx512 = zmm && (b & bit_AVX512DQ) != 0 && (b & bit_AVX512VL) != 0;
    features.ifma512 = zmm && (b & bit_AVX512IFMA) != 0;
    features.vaes256 = features.avx2 && vaes;
    features.vaes512 = zmm && vaes;
    return features;
}
#elif defined(__aarch64__)
CpuFeatures detect_cpu_features() noexcept {
    CpuFeatures features;
#if defined(__linux__)
    features.armv8 = (getauxval(AT_HWCAP) & HWCAP_AES) != 0;
    features.hash = (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0;
#elif defined(__APPLE__)
    features.armv8 = true;  // every 64-bit one of that maker has them
    features.hash = true;
#endif
    return features;
}
#else
CpuFeatures detect_cpu_features() noexcept {
    return {};
}
#endif

}  // namespace sordino::prg
