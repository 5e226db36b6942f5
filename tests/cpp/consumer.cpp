// A program that uses the library as another C++ project would: no Python, public headers only.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <utility>
#include <vector>

#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/prg.hpp"
#include "sordino/secret.hpp"
#include "sordino/shamir.hpp"
#include "sordino/version.hpp"

namespace {

void require(bool holds, const char* what) {
    if (holds) return;
    std::cerr << what << '\n';
    std::exit(1);
}

void secrets_do_not_print_and_move_away() {
    const std::array<std::uint8_t, 32> bytes{1, 2, 3};
    sordino::Secret first(bytes);
    std::ostringstream text;
    text << first;
    require(text.str() == "Secret(32 bytes)", "a secret prints its size only");
    const sordino::Secret same(bytes);
    require(first == same, "equal bytes make equal secrets");
    const sordino::Secret moved(std::move(first));
    require(moved == same, "a move carries the bytes");
    require(first == sordino::Secret(std::array<std::uint8_t, 32>{}), "a move leaves zeros");  // NOLINT
    require(!(first == same), "different bytes make different secrets");
    require(!sordino::equal(std::span(bytes).first(31), bytes), "different lengths are different");
}

void masks_cancel() {
    std::array<std::uint8_t, 64> seeds{};
    for (std::size_t i = 0; i < seeds.size(); ++i) seeds[i] = static_cast<std::uint8_t>(i);
    std::vector<std::uint64_t> lanes(10'000, 5);
    for (const auto backend : sordino::backends()) {
        sordino::select_backend(backend);
        sordino::add_masks(lanes, seeds, {}, {.stream = 7, .offset = 3, .threads = 2});
        require(lanes[9'999] != 5, "a mask covers");
        sordino::add_masks(lanes, {}, seeds, {.stream = 7, .offset = 3});
        require(lanes == std::vector<std::uint64_t>(10'000, 5), "a mask comes off");
    }
    sordino::select_backend("");
}

void shares_rebuild() {
    const std::vector<std::uint8_t> secrets(64, 9);
    const std::array<std::uint16_t, 3> points{1, 500, 65535};
    const std::array<std::uint8_t, 32> seed{42};
    std::vector<std::uint8_t> shares(3 * secrets.size());
    sordino::shamir_split(secrets, points, 2, seed, shares);
    std::vector<std::uint8_t> rebuilt(secrets.size());
    sordino::shamir_combine(std::span(points).first(2), std::span(shares).first(128), rebuilt);
    require(rebuilt == secrets, "two of three shares rebuild");
}

void errors_form_one_tree() {
    std::vector<std::uint32_t> lanes(4);
    try {
        sordino::encode(std::vector<double>(4, 2.0), lanes, {.clip = 1.0, .scale = 1.0, .weight = 1});
        require(false, "a value beyond the clip is refused");
    } catch (const sordino::LocalError& error) {
        require(std::string_view(error.what()) == "values: element 0 is outside the clip",
                "it names the index");
    }
    try {
        sordino::unpack_add({}, lanes, 3);
        require(false, "a short message is refused");
    } catch (const sordino::PeerError&) {
    }
}

}  // namespace

int main() {
    secrets_do_not_print_and_move_away();
    masks_cancel();
    shares_rebuild();
    errors_form_one_tree();
    std::cout << "sordino " << sordino::version_string << '\n';
}
