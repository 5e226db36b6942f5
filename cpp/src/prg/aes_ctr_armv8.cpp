// SPDX-License-Identifier: Apache-2.0

// AES-256-CTR with the AES instructions of ARMv8: eight blocks in flight hide the latency of a round, and the
// keystream is added to the lanes in registers, so that it never reaches memory.
#if defined(__aarch64__)

#include <arm_neon.h>

#include "prg/aes256.hpp"
#include "prg/backend.hpp"

#if defined(__clang__)
#define SORDINO_TARGET __attribute__((target("aes")))
#else
#define SORDINO_TARGET __attribute__((target("+crypto")))
#endif

namespace sordino::prg {
namespace {

enum class Sink { overwrite, add32, subtract32, add64, subtract64 };

constexpr std::size_t batch_blocks = 8;

// The keystream of the blocks [counter, counter + count); `counter` is stream | block, two 64-bit numbers
// that turn into the IV when the bytes of each are reversed. AESE adds its key first and has no MixColumns,
// so each round here begins with the key that FIPS 197 adds at the end of the round before. Each AESE stands
// beside its AESMC, since many CPUs execute such a pair as one.
template <std::size_t count>
[[gnu::always_inline]] SORDINO_TARGET inline void encrypt(const std::uint8_t* schedule, uint64x2_t counter,
                                                          uint8x16_t state[count]) {
    const uint64x2_t one = vcombine_u64(vcreate_u64(0), vcreate_u64(1));
#pragma GCC unroll 8
    for (std::size_t i = 0; i < count; ++i) {
        state[i] = vrev64q_u8(vreinterpretq_u8_u64(counter));
        counter = vaddq_u64(counter, one);
    }
#pragma GCC unroll 13
    for (std::size_t round = 0; round + 1 < aes256_rounds; ++round) {
        const uint8x16_t key = vld1q_u8(schedule + block_bytes * round);
#pragma GCC unroll 8
        for (std::size_t i = 0; i < count; ++i) state[i] = vaesmcq_u8(vaeseq_u8(state[i], key));
    }
    const uint8x16_t key = vld1q_u8(schedule + block_bytes * (aes256_rounds - 1));
    const uint8x16_t last = vld1q_u8(schedule + block_bytes * aes256_rounds);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < count; ++i) state[i] = veorq_u8(vaeseq_u8(state[i], key), last);
}

template <typename Lane, Sink sink>
[[gnu::always_inline]] SORDINO_TARGET inline void put(Lane* lanes, uint8x16_t pad) {
    if constexpr (sink == Sink::overwrite) vst1q_u8(lanes, pad);
    if constexpr (sink == Sink::add32)
        vst1q_u32(lanes, vaddq_u32(vld1q_u32(lanes), vreinterpretq_u32_u8(pad)));
    if constexpr (sink == Sink::subtract32) {
        vst1q_u32(lanes, vsubq_u32(vld1q_u32(lanes), vreinterpretq_u32_u8(pad)));
    }
    if constexpr (sink == Sink::add64)
        vst1q_u64(lanes, vaddq_u64(vld1q_u64(lanes), vreinterpretq_u64_u8(pad)));
    if constexpr (sink == Sink::subtract64) {
        vst1q_u64(lanes, vsubq_u64(vld1q_u64(lanes), vreinterpretq_u64_u8(pad)));
    }
}

template <typename Lane, Sink sink>
SORDINO_TARGET void accumulate(const std::uint8_t* schedule, std::uint64_t stream, std::uint64_t block,
                               Lane* lanes, std::size_t blocks) {
    constexpr std::size_t lanes_per_block = block_bytes / sizeof(Lane);
    const uint64x2_t step = vcombine_u64(vcreate_u64(0), vcreate_u64(batch_blocks));
    const uint64x2_t one = vcombine_u64(vcreate_u64(0), vcreate_u64(1));
    uint64x2_t counter = vcombine_u64(vcreate_u64(stream), vcreate_u64(block));
    for (; blocks >= batch_blocks; blocks -= batch_blocks) {
        uint8x16_t state[batch_blocks];
        encrypt<batch_blocks>(schedule, counter, state);
        counter = vaddq_u64(counter, step);
#pragma GCC unroll 8
        for (std::size_t i = 0; i < batch_blocks; ++i) {
            put<Lane, sink>(lanes, state[i]);
            lanes += lanes_per_block;
        }
    }
    for (; blocks > 0; --blocks, lanes += lanes_per_block) {
        uint8x16_t state[1];
        encrypt<1>(schedule, counter, state);
        counter = vaddq_u64(counter, one);
        put<Lane, sink>(lanes, state[0]);
    }
}

}  // namespace

const Backend armv8{
    .name = "armv8",
    .schedule_bytes = 256,
    .expand_key = aes256_expand_key,
    .keystream = accumulate<std::uint8_t, Sink::overwrite>,
    .add32 = accumulate<std::uint32_t, Sink::add32>,
    .subtract32 = accumulate<std::uint32_t, Sink::subtract32>,
    .add64 = accumulate<std::uint64_t, Sink::add64>,
    .subtract64 = accumulate<std::uint64_t, Sink::subtract64>,
};

}  // namespace sordino::prg

#endif
