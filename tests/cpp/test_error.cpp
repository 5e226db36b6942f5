// SPDX-License-Identifier: Apache-2.0

// Two kinds of error: you erred, the peer erred. Each message begins with the argument's name.
#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/version.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

template <typename Derived, typename Base>
constexpr bool is = std::is_convertible_v<Derived*, Base*>;

static_assert(is<Error, std::runtime_error>);
static_assert(is<LocalError, Error> && is<PeerError, Error>);
static_assert(is<InvalidArgument, LocalError> && is<ValueOutOfRange, InvalidArgument>);
static_assert(is<MalformedMessage, PeerError>);
static_assert(!is<LocalError, PeerError> && !is<MalformedMessage, LocalError>);

TEST(Errors, NameTheElementAndNotItsValue) {
    std::vector<std::uint32_t> lanes(4);
    const std::vector<double> values{0.0, 0.0, 123.5, 0.0};
    try {
        encode(std::span(values), std::span(lanes), {.clip = 1.0, .scale = 1.0, .weight = 1});
        FAIL() << "a value beyond the clip was taken";
    } catch (const LocalError& error) {
        EXPECT_EQ(std::string_view(error.what()), "values: element 2 is outside the clip");
    }
}

TEST(Errors, TellThePeersFaultFromOurs) {
    std::vector<std::uint32_t> lanes(4);
    EXPECT_TRUE(throws<PeerError>("data: ", [&] { unpack_add({}, std::span(lanes), 3); }));
    EXPECT_TRUE(throws<LocalError>("bits: ", [&] { unpack_add({}, std::span(lanes), 33); }));
}

TEST(Version, IsOneNumberInTwoForms) {
    const std::string text = std::to_string(SORDINO_VERSION / 10000) + "." +
                             std::to_string(SORDINO_VERSION / 100 % 100) + "." +
                             std::to_string(SORDINO_VERSION % 100);
    EXPECT_EQ(version_string, text);
}

}  // namespace
}  // namespace sordino::test
