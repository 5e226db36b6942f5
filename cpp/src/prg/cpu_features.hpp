// SPDX-License-Identifier: Apache-2.0

// Which instruction sets this CPU has and the system has switched on; dispatch.cpp alone decides what
// follows.
#pragma once

namespace sordino::prg {

struct CpuFeatures {
    bool avx2 = false;     // and the system saves the 256-bit registers
    bool avx512 = false;   // F, BW, DQ and VL, and the system saves the 512-bit registers
    bool ifma512 = false;  // AVX-512 F, BW and IFMA
    bool aesni = false;    // AES-NI and SSE4.1
    bool vaes256 = false;  // AES-NI, AVX2 and VAES
    bool vaes512 = false;  // AES-NI, AVX-512 F and BW, and VAES
    bool armv8 = false;    // the AES instructions of ARMv8
    bool hash = false;     // instructions for SHA-256: the SHA extensions and SSE4.1, or those of ARMv8
};

[[nodiscard]] CpuFeatures detect_cpu_features() noexcept;

}  // namespace sordino::prg
