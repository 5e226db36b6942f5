// SPDX-License-Identifier: Apache-2.0

#include "sordino/prg.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "prg/backend.hpp"
#include "sordino/error.hpp"
#include "sordino/secret.hpp"

namespace sordino {

void keystream(Seed seed, std::span<std::uint8_t> out, Position position) {
    if (position.byte >= prg::block_bytes) throw InvalidArgument("position: the byte must be below 16");
    if (out.empty()) return;
    const std::uint64_t last = (position.byte + (out.size() - 1)) / prg::block_bytes;
    if (last > std::numeric_limits<std::uint64_t>::max() - position.block) {
        throw InvalidArgument("offset: the keystream would pass block 2**64");
    }
    const prg::Backend& backend = prg::current();
    SecretBuffer<std::uint8_t> schedule(backend.schedule_bytes);
    SecretBuffer<std::uint8_t> pad(prg::block_bytes);
    backend.expand_key(seed.data(), schedule.data());

    std::uint64_t block = position.block;
    if (position.byte != 0) {
        backend.keystream(schedule.data(), position.stream, block++, pad.data(), 1);
        const std::size_t count = std::min(out.size(), prg::block_bytes - position.byte);
        std::memcpy(out.data(), pad.data() + position.byte, count);
        out = out.subspan(count);
    }
    const std::size_t whole = out.size() / prg::block_bytes;
    backend.keystream(schedule.data(), position.stream, block, out.data(), whole);
    if (const std::size_t rest = out.size() % prg::block_bytes; rest != 0) {
        backend.keystream(schedule.data(), position.stream, block + whole, pad.data(), 1);
        std::memcpy(out.data() + whole * prg::block_bytes, pad.data(), rest);
    }
}

}  // namespace sordino
