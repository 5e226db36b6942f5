// Every PRG backend of this CPU against NIST's vector, and against the portable one at every length and
// position around blocks and batches. Prints the backends that it tried; 1 if one is wrong.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sordino/mask.hpp"
#include "sordino/prg.hpp"

namespace {

std::vector<std::uint8_t> bytes(std::string_view hex) {
    std::vector<std::uint8_t> result;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        result.push_back(static_cast<std::uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
    }
    return result;
}

// SP 800-38A, F.5.5: the keystream is the plaintext XOR the ciphertext, and also the "output blocks" listed.
bool agrees_with_nist() {
    const auto key = bytes("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    const auto expected = bytes(
        "0bdf7df1591716335e9a8b15c860c502"
        "5a6e699d536119065433863c8f657b94"
        "1bc12c9c01610d5d0d8bd6a3378eca62"
        "2956e1c8693536b1bee99c73a31576b6");
    std::vector<std::uint8_t> pad(expected.size());
    const sordino::Position position{.stream = 0xf0f1f2f3f4f5f6f7, .block = 0xf8f9fafbfcfdfeff};
    sordino::keystream(sordino::Seed(key), pad, position);
    return pad == expected;
}

template <typename Lane>
std::vector<Lane> masked(std::size_t count, std::uint64_t offset, std::span<const std::uint8_t> add,
                         std::span<const std::uint8_t> subtract) {
    std::vector<Lane> lanes(count);
    for (std::size_t i = 0; i < count; ++i) lanes[i] = static_cast<Lane>(i * 0x9E3779B97F4A7C15U);
    sordino::add_masks(std::span<Lane>(lanes), add, subtract, {.stream = 7, .offset = offset, .threads = 1});
    return lanes;
}

// All that a backend does, in one list of bytes.
std::vector<std::uint8_t> work() {
    std::array<std::uint8_t, 96> seeds{};
    for (std::size_t i = 0; i < seeds.size(); ++i) seeds[i] = static_cast<std::uint8_t>(37 * i + 1);
    const std::span<const std::uint8_t> all(seeds);
    std::vector<std::uint8_t> result;
    const auto keep = [&result](const auto& values) {
        const auto raw = std::as_bytes(std::span(values));
        for (const std::byte one : raw) result.push_back(static_cast<std::uint8_t>(one));
    };
    constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1021}, top - 5000}) {
        for (std::size_t count = 0; count < 300; ++count) {
            keep(masked<std::uint32_t>(count, offset, all.first<64>(), all.last<32>()));
            keep(masked<std::uint64_t>(count, offset, all.first<64>(), all.last<32>()));
        }
        keep(masked<std::uint32_t>(5000, offset, all.first<32>(), all.last<64>()));
        keep(masked<std::uint64_t>(5000, offset, all.first<32>(), all.last<64>()));
    }
    std::vector<std::uint8_t> pad(1000);
    for (unsigned byte = 0; byte < 16; ++byte) {
        sordino::keystream(all.first<32>(), pad,
                           {.stream = 1, .block = (std::uint64_t{1} << 32) - 9, .byte = byte});
        keep(pad);
    }
    return result;
}

}  // namespace

int main() {
    sordino::select_backend("portable");
    const std::vector<std::uint8_t> expected = work();
    int status = 0;
    for (const std::string_view name : sordino::backends()) {
        sordino::select_backend(name);
        const bool right = agrees_with_nist() && work() == expected;
        std::printf("%.*s: %s\n", static_cast<int>(name.size()), name.data(), right ? "ok" : "WRONG");
        if (!right) status = 1;
    }
    return status;
}
