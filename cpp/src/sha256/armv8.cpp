// SPDX-License-Identifier: Apache-2.0

// SHA-256 with the hash instructions of ARMv8, two messages at once where there are two.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "sha256/backend.hpp"

#if defined(__clang__)
#define SORDINO_TARGET __attribute__((target("sha2")))
#else
#define SORDINO_TARGET __attribute__((target("+crypto")))
#endif

namespace sordino::hash {
namespace {

constexpr std::size_t steps = rounds / 4;  // four rounds a step, as the instructions take them

template <std::size_t ways>
[[gnu::always_inline]] SORDINO_TARGET inline void run(std::uint32_t* states, const std::uint8_t* const* data,
                                                      std::size_t blocks) {
    uint32x4_t abcd[ways];
    uint32x4_t efgh[ways];
    for (std::size_t i = 0; i < ways; ++i) {
        abcd[i] = vld1q_u32(states + state_words * i);
        efgh[i] = vld1q_u32(states + state_words * i + 4);
    }
    for (std::size_t block = 0; block < blocks; ++block) {
        uint32x4_t before_abcd[ways];
        uint32x4_t before_efgh[ways];
        uint32x4_t w[ways][4];  // the last sixteen words of the message schedule, in a ring
        for (std::size_t i = 0; i < ways; ++i) {
            before_abcd[i] = abcd[i];
            before_efgh[i] = efgh[i];
        }
#pragma GCC unroll 16
        for (std::size_t step = 0; step < steps; ++step) {
            const uint32x4_t constants = vld1q_u32(round_constants + 4 * step);
#pragma GCC unroll 2
            for (std::size_t i = 0; i < ways; ++i) {
                uint32x4_t& now = w[i][step % 4];
                if (step < 4) {
                    const uint8x16_t bytes = vld1q_u8(data[i] + block_bytes * block + 16 * step);
                    now = vreinterpretq_u32_u8(vrev32q_u8(bytes));
                } else {
                    now = vsha256su1q_u32(vsha256su0q_u32(now, w[i][(step + 1) % 4]), w[i][(step + 2) % 4],
                                          w[i][(step + 3) % 4]);
                }
                const uint32x4_t sums = vaddq_u32(now, constants);
                const uint32x4_t old_abcd = abcd[i];
                abcd[i] = vsha256hq_u32(old_abcd, efgh[i], sums);
                efgh[i] = vsha256h2q_u32(efgh[i], old_abcd, sums);
            }
        }
        for (std::size_t i = 0; i < ways; ++i) {
            abcd[i] = vaddq_u32(abcd[i], before_abcd[i]);
            efgh[i] = vaddq_u32(efgh[i], before_efgh[i]);
        }
    }
    for (std::size_t i = 0; i < ways; ++i) {
        vst1q_u32(states + state_words * i, abcd[i]);
        vst1q_u32(states + state_words * i + 4, efgh[i]);
    }
}

SORDINO_TARGET void compress(std::uint32_t* state, const std::uint8_t* data, std::size_t blocks) {
    run<1>(state, &data, blocks);
}

SORDINO_TARGET void compress_two(std::uint32_t* states, const std::uint8_t* first, const std::uint8_t* second,
                                 std::size_t blocks) {
    const std::uint8_t* const data[] = {first, second};
    run<2>(states, data, blocks);
}

}  // namespace

const Backend armv8 = {.name = "armv8", .compress = compress, .compress_two = compress_two};

}  // namespace sordino::hash

#endif
