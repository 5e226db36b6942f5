#include "sordino/prg.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

#include "prg/backend.hpp"
#include "sordino/error.hpp"
#include "sordino/secret.hpp"

namespace sordino {

void keystream(Seed seed, std::span<std::uint8_t> out, std::uint64_t stream, std::uint64_t offset) {
    if (out.size() > std::numeric_limits<std::uint64_t>::max() - offset) {
        throw InvalidArgument("offset: the keystream would pass byte 2**64");
    }
    const prg::Backend& backend = prg::current();
    SecretBuffer<std::uint8_t> schedule(backend.schedule_bytes);
    backend.expand_key(seed.data(), schedule.data());

    std::uint64_t block = offset / prg::block_bytes;
    if (const std::size_t skip = offset % prg::block_bytes; skip != 0 && !out.empty()) {
        SecretBuffer<std::uint8_t> pad(prg::block_bytes);
        backend.keystream(schedule.data(), stream, block++, pad.data(), 1);
        const std::size_t count = std::min(out.size(), prg::block_bytes - skip);
        std::memcpy(out.data(), pad.data() + skip, count);
        out = out.subspan(count);
    }
    const std::size_t whole = out.size() / prg::block_bytes;
    backend.keystream(schedule.data(), stream, block, out.data(), whole);
    if (const std::size_t rest = out.size() % prg::block_bytes; rest != 0) {
        SecretBuffer<std::uint8_t> pad(prg::block_bytes);
        backend.keystream(schedule.data(), stream, block + whole, pad.data(), 1);
        std::memcpy(out.data() + whole * prg::block_bytes, pad.data(), rest);
    }
}

}  // namespace sordino
