// SPDX-License-Identifier: Apache-2.0

// Rows that are clipped and summed: the exact norm of their integers, whatever the threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sordino/clip.hpp"
#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"

namespace sordino::test {
namespace {

const std::vector<std::uint8_t> seed(32, 0x5A);

template <typename Lane>
class Clipping : public testing::Test {};
using Lanes = testing::Types<std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(Clipping, Lanes);

TYPED_TEST(Clipping, HoldsTheLimitForEveryRowAndSumsTheRows) {
    using Lane = TypeParam;
    constexpr std::size_t rows = 7;
    for (const std::size_t columns :
         {std::size_t{1}, std::size_t{33}, std::size_t{4096}, std::size_t{9001}}) {
        std::vector<float> values(rows * columns);
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i)) * 3;
        values[columns * 3] = std::numeric_limits<float>::infinity();
        const double scale = 100;
        const RowClip clip{.bound = 2,
                           .scale = scale,
                           .limit = static_cast<SquaredNorm>(200 * 200 + columns / 5),
                           .rounding = StochasticRounding{Seed(seed), 1, 11}};
        std::vector<Lane> expected(columns);
        for (std::size_t i = 0; i < rows; ++i) {
            RowClip single = clip;
            single.rounding->offset += i;
            std::vector<Lane> lanes(columns);
            clip_accumulate(std::span<const float>(values).subspan(i * columns, columns), std::span(lanes),
                            single);
            std::vector<std::int64_t> integers(columns);
            signed_integers(std::span<const Lane>(lanes), integers, std::numeric_limits<Lane>::digits);
            SquaredNorm norm = 0;
            for (const std::int64_t x : integers) norm += static_cast<SquaredNorm>(x * x);
            EXPECT_LE(norm, clip.limit) << columns;
            for (std::size_t j = 0; j < columns; ++j) expected[j] += lanes[j];
        }
        for (const std::size_t threads : {1U, 2U, 5U}) {
            std::vector<Lane> lanes(columns);
            const RowCounts counts =
                clip_accumulate(std::span<const float>(values), std::span(lanes), clip, threads);
            EXPECT_EQ(lanes, expected);
            EXPECT_EQ(counts.left_out, 1U);
        }
    }
}

TYPED_TEST(Clipping, RefusesALimitThatNoRoundingCouldHold) {
    const std::vector<double> row{0.6, 0.8};
    std::vector<TypeParam> lanes(2);
    const RowClip clip{.bound = 1, .scale = 10, .limit = 99};
    EXPECT_THROW(clip_accumulate(std::span<const double>(row), std::span(lanes), clip), InvalidArgument);
    EXPECT_EQ(lanes, (std::vector<TypeParam>{0, 0}));
}

}  // namespace
}  // namespace sordino::test
