// SPDX-License-Identifier: Apache-2.0

// The only place that chooses how SHA-256 is computed.
#include "prg/backend.hpp"
#include "prg/cpu_features.hpp"
#include "sha256/backend.hpp"

namespace sordino::hash {

const Backend& current() {
    [[maybe_unused]] static const bool instructions = prg::detect_cpu_features().hash;
    // Who asks for portable code gets nothing else. An unknown SORDINO_CPU is refused here too.
    [[maybe_unused]] const bool wanted = &prg::current() != &prg::portable || prg::is_automatic();
#if defined(__x86_64__)
    if (wanted && instructions) return sha_ni;
#elif defined(__aarch64__)
    if (wanted && instructions) return armv8;
#endif
    return portable;
}

}  // namespace sordino::hash
