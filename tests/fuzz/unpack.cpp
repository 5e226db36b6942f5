// SPDX-License-Identifier: Apache-2.0

// Bytes from the other side against a bit-by-bit oracle: what is no packing is refused and changes nothing,
// what is one is added and subtracted exactly, and packs to the same bytes again.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "input.hpp"
#include "slow_bits.hpp"
#include "sordino/codec.hpp"
#include "sordino/error.hpp"

namespace {

using sordino::fuzz::Input;
using sordino::fuzz::require;
using sordino::fuzz::throws;
using Bytes = std::vector<std::uint8_t>;

template <typename Lane>
void unpack(Input& input) {
    constexpr unsigned width = std::numeric_limits<Lane>::digits;
    const unsigned bits = input.take<std::uint8_t>() % (width + 2);
    const std::size_t count = input.upto(input.flag() ? 40 : 2'000);
    const bool fit = input.flag();
    const std::size_t start = input.upto(15);  // where the bytes begin in memory
    std::vector<Lane> before(count);
    for (std::size_t i = 0; i < count; ++i) before[i] = static_cast<Lane>(~i * 0xD1342543DE82EF95);
    Bytes memory(start);
    const Bytes rest = fit ? input.bytes((count * bits + 7) / 8) : input.rest();
    memory.insert(memory.end(), rest.begin(), rest.end());
    memory.shrink_to_fit();  // so that AddressSanitizer sees the first byte after it
    const auto data = std::span<const std::uint8_t>(memory).subspan(start);

    std::vector<Lane> lanes = before;
    const auto add = [&] {
        sordino::unpack_add(data, std::span(lanes), bits);
    };
    const auto subtract = [&] {
        sordino::unpack_subtract(data, std::span(lanes), bits);
    };
    if (bits < 1 || bits > width) {
        require(throws<sordino::InvalidArgument>(add) && throws<sordino::InvalidArgument>(subtract),
                "lanes have 1 bit at least, and not more than they are wide");
        return;
    }
    const auto expected = sordino::test::slow_unpack<Lane>(data, count, bits);
    if (!expected) {
        require(throws<sordino::MalformedMessage>(add) && throws<sordino::MalformedMessage>(subtract),
                "what pack() never writes is refused");
        require(lanes == before, "a refused message changes nothing");
        return;
    }
    add();
    for (std::size_t i = 0; i < count; ++i) {
        require(lanes[i] == static_cast<Lane>(before[i] + (*expected)[i]), "lanes are added");
    }
    subtract();
    require(lanes == before, "lanes are subtracted");
    Bytes again(data.size(), 0xEE);
    sordino::pack(std::span<const Lane>(*expected), again, bits);
    require(std::ranges::equal(again, data), "there is one packing");
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    sordino::fuzz::select_some_backend(input);
    if (input.flag()) {
        unpack<std::uint32_t>(input);
    } else {
        unpack<std::uint64_t>(input);
    }
    return 0;
}
