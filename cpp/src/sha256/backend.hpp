// SPDX-License-Identifier: Apache-2.0

// What an implementation of SHA-256's compression offers. One file an instruction set, the same signatures.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sordino::hash {

inline constexpr std::size_t block_bytes = 64;
inline constexpr std::size_t state_words = 8;
inline constexpr std::size_t rounds = 64;

// Raw pointers, for the reason that prg/backend.hpp gives. `blocks` may be zero.
struct Backend {
    const char* name;
    void (*compress)(std::uint32_t* state, const std::uint8_t* data, std::size_t blocks);
    // Two messages of as many blocks at once: two states one after the other. The rounds of one wait for each
    // other, so the second's are nearly free.
    void (*compress_two)(std::uint32_t* states, const std::uint8_t* first, const std::uint8_t* second,
                         std::size_t blocks);
};

extern const std::uint32_t round_constants[rounds];  // 16-byte aligned

extern const Backend portable;
#if defined(__x86_64__)
extern const Backend sha_ni;
#elif defined(__aarch64__)
extern const Backend armv8;
#endif

// The backend in use. Throws InvalidArgument as prg::current() does.
[[nodiscard]] const Backend& current();

}  // namespace sordino::hash
