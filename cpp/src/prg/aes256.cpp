// SPDX-License-Identifier: Apache-2.0

#include "prg/aes256.hpp"

#include <bit>
#include <cstring>

#include "sordino/secret.hpp"

namespace sordino::prg {

static_assert(std::endian::native == std::endian::little, "lanes and round keys are read as little-endian");

namespace {

// SubWord of FIPS 197, 5.2: the four bytes become eight planes of four bits.
std::uint32_t sub_word(std::uint32_t word) {
    std::uint32_t plane[8];
    for (unsigned bit = 0; bit < 8; ++bit) {
        plane[bit] = 0;
        for (unsigned byte = 0; byte < 4; ++byte) plane[bit] |= ((word >> (8 * byte + bit)) & 1U) << byte;
    }
    sub_bytes(plane);
    std::uint32_t result = 0;
    for (unsigned bit = 0; bit < 8; ++bit) {
        for (unsigned byte = 0; byte < 4; ++byte) result |= ((plane[bit] >> byte) & 1U) << (8 * byte + bit);
    }
    return result;
}

}  // namespace

void aes256_expand_key(const std::uint8_t* key, std::uint8_t* round_keys) noexcept {
    constexpr unsigned key_words = 8;
    constexpr unsigned words = aes256_schedule_bytes / 4;
    std::uint32_t w[words];
    std::memcpy(w, key, 32);
    std::uint32_t constant = 1;  // Rcon never needs its reduction: seven doublings stay below 256
    for (unsigned i = key_words; i < words; ++i) {
        std::uint32_t previous = w[i - 1];
        if (i % key_words == 0) {
            previous = sub_word(std::rotr(previous, 8)) ^ constant;
            constant <<= 1;
        } else if (i % key_words == 4) {
            previous = sub_word(previous);
        }
        w[i] = w[i - key_words] ^ previous;
    }
    std::memcpy(round_keys, w, sizeof w);
    wipe(w, sizeof w);
}

}  // namespace sordino::prg
