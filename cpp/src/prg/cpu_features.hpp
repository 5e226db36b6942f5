// Which instruction sets this CPU has; dispatch.cpp alone decides what follows from it.
#pragma once

namespace sordino::prg {

struct CpuFeatures {
    bool aesni;  // AES-NI and SSE4.1
};

[[nodiscard]] CpuFeatures detect_cpu_features() noexcept;

}  // namespace sordino::prg
