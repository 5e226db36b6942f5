// Under valgrind: secrets are marked undefined, and memcheck reports each branch and address that depends on
// undefined bytes (the method of Langley's ctgrind). The program checks nothing itself.
#include <valgrind/memcheck.h>

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "sordino/mask.hpp"
#include "sordino/prg.hpp"
#include "sordino/secret.hpp"
#include "sordino/shamir.hpp"

namespace {

std::vector<std::uint8_t> secret_bytes(std::size_t count) {
    std::vector<std::uint8_t> bytes(count, 0x5A);
    VALGRIND_MAKE_MEM_UNDEFINED(bytes.data(), bytes.size());
    return bytes;
}

void use_every_kernel_that_sees_secrets() {
    const std::vector<std::uint8_t> seeds = secret_bytes(96);
    const auto seed = std::span(seeds).first<32>();

    std::vector<std::uint8_t> pad(1'001);
    sordino::keystream(seed, pad, {.stream = 1, .block = 2, .byte = 3});
    std::vector<std::uint32_t> narrow(5'001);
    sordino::add_masks(narrow, seeds, seed, {.stream = 1, .offset = 3});
    std::vector<std::uint64_t> wide(5'001);
    sordino::add_masks(wide, seeds, seed, {.stream = 1, .offset = 3});

    const std::vector<std::uint8_t> secrets = secret_bytes(64 * 32);
    const std::array<std::uint16_t, 4> points{1, 2, 400, 65535};
    std::vector<std::uint8_t> shares(points.size() * secrets.size());
    sordino::shamir_split(secrets, points, 3, seed, shares);
    std::vector<std::uint8_t> rebuilt(secrets.size());
    sordino::shamir_combine(std::span(points).first(3), std::span(shares).first(3 * secrets.size()), rebuilt);

    const sordino::Secret left(seed);
    const sordino::Secret right{std::span(secrets).first<32>()};
    [[maybe_unused]] const volatile bool same = left == right;
}

}  // namespace

int main() {
    for (const auto backend : sordino::backends()) {
        sordino::select_backend(backend);
        use_every_kernel_that_sees_secrets();
    }
}
