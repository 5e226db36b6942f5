// SPDX-License-Identifier: Apache-2.0

// What an implementation of AES-256-CTR offers. One file an instruction set, the same signatures everywhere.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sordino::prg {

inline constexpr std::size_t block_bytes = 16;

// Functions take raw pointers: those compiled for a wider instruction set must not instantiate inline
// library code, which the linker might then hand to everyone. A schedule is 64-byte aligned; lanes and bytes
// need only their natural alignment. `blocks` may be zero.
struct Backend {
    template <typename Lane>
    using Accumulate = void (*)(const std::uint8_t* schedule, std::uint64_t stream, std::uint64_t block,
                                Lane* lanes, std::size_t blocks);

    const char* name;
    std::size_t schedule_bytes;  // a multiple of 64
    void (*expand_key)(const std::uint8_t* seed, std::uint8_t* schedule);
    Accumulate<std::uint8_t> keystream;  // overwrites
    Accumulate<std::uint32_t> add32;
    Accumulate<std::uint32_t> subtract32;
    Accumulate<std::uint64_t> add64;
    Accumulate<std::uint64_t> subtract64;
};

extern const Backend portable;
#if defined(__x86_64__)
extern const Backend vaes512;
extern const Backend vaes256;
extern const Backend aesni;
#elif defined(__aarch64__)
extern const Backend armv8;
#endif

// The backend in use. Throws InvalidArgument if SORDINO_CPU asks for one that cannot run here.
[[nodiscard]] const Backend& current();

// Whether nobody named it: then other kernels need not keep to its instruction set.
[[nodiscard]] bool is_automatic();

}  // namespace sordino::prg
