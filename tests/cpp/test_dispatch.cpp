// SPDX-License-Identifier: Apache-2.0

// The CPU chooses the backend, SORDINO_CPU overrides it: one test a path.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "sordino/error.hpp"
#include "sordino/prg.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

class Override : public testing::TestWithParam<const char*> {
protected:
    void TearDown() override { select_backend(""); }
};

TEST_P(Override, TakesTheNamedBackendOrNamesTheFault) {
    const std::vector<std::string_view> here = backends();
    const std::string before(backend());
    const Environment variable("SORDINO_CPU", GetParam());
    if (std::ranges::find(here, GetParam()) != here.end()) {
        select_backend("");
        EXPECT_EQ(backend(), GetParam());
    } else {
        const std::string fault =
            "SORDINO_CPU: this CPU has no PRG backend '" + std::string(GetParam()) + "'";
        EXPECT_TRUE(throws<InvalidArgument>(fault, [] { select_backend(""); }));
        EXPECT_EQ(backend(), before);
    }
    const Environment none("SORDINO_CPU", nullptr);
    select_backend("");
}

INSTANTIATE_TEST_SUITE_P(Cpu, Override,
                         testing::Values("portable", "aesni", "vaes256", "vaes512", "armv8", "abacus",
                                         "AESNI"),
                         [](const auto& name) { return std::string(name.param); });

TEST(Dispatch, TakesTheFastestUnlessTold) {
    for (const char* value : {static_cast<const char*>(nullptr), ""}) {
        const Environment variable("SORDINO_CPU", value);
        select_backend("");
        EXPECT_EQ(backend(), backends().front());
    }
}

TEST(Dispatch, HasThePortableOneLast) {
    EXPECT_EQ(backends().back(), "portable");
}

TEST(Dispatch, RefusesAnUnknownName) {
    const std::string before(backend());
    EXPECT_TRUE(throws<InvalidArgument>("name: ", [] { select_backend("abacus"); }));
    EXPECT_EQ(backend(), before);
}

}  // namespace
}  // namespace sordino::test
