// SPDX-License-Identifier: Apache-2.0

// Sharing: the stored answers, a field written from its definition, every subset, sizes around a run.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "slow_field.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"
#include "sordino/shamir.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace sordino::test {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Points = std::vector<std::uint16_t>;

Bytes split(const Bytes& secrets, const Points& points, std::size_t threshold, const Bytes& seed) {
    Bytes shares(points.size() * secrets.size());
    shamir_split(secrets, points, threshold, seed_of(seed), shares);
    return shares;
}

Bytes combine(const Points& points, const Bytes& shares) {
    Bytes secrets(shares.size() / points.size());
    shamir_combine(points, shares, secrets);
    return secrets;
}

TEST(Shamir, GivesTheStoredShares) {
    const Value stored = vectors("shamir");
    ASSERT_FALSE(stored["cases"].items().empty());
    for (const Value& known : stored["cases"].items()) {
        const auto points = known["points"].naturals<std::uint16_t>();
        const Bytes secrets = known["secrets"].bytes();
        const Bytes shares =
            split(secrets, points, known["threshold"].as<std::size_t>(), known["seed"].bytes());
        Bytes expected;
        for (const Value& row : known["shares"].items()) {
            const Bytes bytes = row.bytes();
            expected.insert(expected.end(), bytes.begin(), bytes.end());
        }
        EXPECT_EQ(shares, expected);
        EXPECT_EQ(combine(points, shares), secrets);
    }
}

void compare_with_slow_field(const Points& points, std::size_t threshold, std::size_t count) {
    const Bytes seed = sample<std::uint8_t>(32, threshold);
    const Bytes secrets = sample<std::uint8_t>(shamir_secret_bytes * count, count);
    Bytes coefficients((threshold - 1) * secrets.size());
    keystream(seed_of(seed), coefficients);
    const Bytes shares = split(secrets, points, threshold, seed);
    ASSERT_EQ(shares, slow_split(secrets, points, threshold, coefficients))
        << threshold << " of " << points.size() << ", " << count << " secrets";
    ASSERT_EQ(combine(points, shares), slow_combine(points, shares))
        << threshold << " of " << points.size() << ", " << count << " secrets";
    ASSERT_EQ(combine(points, shares), secrets);
}

// Four secrets fill a strip, six rows a group, sixteen groups a batch: sizes on both sides of each.
TEST(Shamir, AgreesWithTheSlowField) {
    const Points few{1, 2, 65535, 32768, 257, 4, 3, 700, 701, 702, 703, 704, 30};
    for (const std::size_t count : {1U, 3U, 4U, 5U, 9U, 33U}) {
        for (std::size_t threshold = 1; threshold <= few.size(); ++threshold) {
            compare_with_slow_field(few, threshold, count);
        }
    }
    Points many(194);
    for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<std::uint16_t>(65535 - 331 * i);
    for (const std::size_t threshold : {95U, 96U, 97U, 193U}) compare_with_slow_field(many, threshold, 1);
}

TEST(Shamir, RebuildsFromEverySubsetThatIsLargeEnough) {
    const Bytes seed = sample<std::uint8_t>(32, 1);
    const Bytes secrets = sample<std::uint8_t>(64, 2);
    const Points points{9, 8, 65535, 1, 400};
    constexpr std::size_t threshold = 3;
    const Bytes shares = split(secrets, points, threshold, seed);
    for (unsigned subset = 1; subset < 32; ++subset) {
        Points some;
        Bytes rows;
        for (std::size_t i = 0; i < points.size(); ++i) {
            if ((subset >> i & 1U) == 0) continue;
            some.push_back(points[i]);
            rows.insert(rows.end(), shares.begin() + static_cast<std::ptrdiff_t>(i * secrets.size()),
                        shares.begin() + static_cast<std::ptrdiff_t>((i + 1) * secrets.size()));
        }
        EXPECT_EQ(combine(some, rows) == secrets, some.size() >= threshold) << subset;
    }
}

TEST(Shamir, CarriesAnErrorOfOneBitIntoTheSecret) {
    const Bytes secrets = sample<std::uint8_t>(32, 2);
    const Points points{9, 8, 7};
    const Bytes shares = split(secrets, points, 2, sample<std::uint8_t>(32, 1));
    for (std::size_t bit = 0; bit < shares.size() * 8; bit += 5) {
        Bytes wrong = shares;
        wrong[bit / 8] = static_cast<std::uint8_t>(wrong[bit / 8] ^ (1U << (bit % 8)));
        EXPECT_NE(combine(points, wrong), secrets) << bit;
        EXPECT_EQ(combine(points, wrong), slow_combine(points, wrong)) << bit;
    }
}

TEST(Shamir, SharesThousandsOfSecretsAmongHundreds) {
    Points points(300);
    for (std::size_t i = 0; i < points.size(); ++i) points[i] = static_cast<std::uint16_t>(65535 - 7 * i);
    const Bytes secrets = sample<std::uint8_t>(std::size_t{32} * 1'000, 3);
    const Bytes shares = split(secrets, points, 20, sample<std::uint8_t>(32, 4));
    const std::size_t rows = 20 * secrets.size();
    EXPECT_EQ(combine({points.end() - 20, points.end()},
                      {shares.end() - static_cast<std::ptrdiff_t>(rows), shares.end()}),
              secrets);
}

TEST(Shamir, SharesNoSecretsAtAll) {
    EXPECT_TRUE(split({}, {1, 2}, 2, Bytes(32)).empty());
}

TEST(ShamirArguments, AreRefusedBeforeAnythingIsWritten) {
    const Bytes seed(32);
    const Bytes secrets(32, 5);
    Bytes out(64, 0xEE);
    const auto attempt = [&](const Bytes& some, const Points& points, std::size_t threshold,
                             std::size_t size) {
        return [&, points, threshold, size] {
            shamir_split(some, points, threshold, seed_of(seed), std::span(out).first(size));
        };
    };
    EXPECT_TRUE(throws<InvalidArgument>("secrets: ", attempt(Bytes(31), {1, 2}, 2, 62)));
    EXPECT_TRUE(throws<InvalidArgument>("points: ", attempt(secrets, {}, 1, 0)));
    EXPECT_TRUE(throws<InvalidArgument>("points: zero", attempt(secrets, {1, 0}, 2, 64)));
    EXPECT_TRUE(throws<InvalidArgument>("points: 7 appears twice", attempt(secrets, {7, 7}, 2, 64)));
    EXPECT_TRUE(throws<InvalidArgument>("threshold: ", attempt(secrets, {1, 2}, 0, 64)));
    EXPECT_TRUE(throws<InvalidArgument>("threshold: ", attempt(secrets, {1, 2}, 3, 64)));
    EXPECT_TRUE(throws<InvalidArgument>("shares: ", attempt(secrets, {1, 2}, 2, 63)));

    const Points twice{4, 4};
    const Points two{4, 5};
    const Bytes shares(64);
    EXPECT_TRUE(throws<InvalidArgument>("points: 4 appears twice",
                                        [&] { shamir_combine(twice, shares, std::span(out).first(32)); }));
    EXPECT_TRUE(throws<InvalidArgument>("shares: ", [&] { shamir_combine(two, shares, out); }));
    EXPECT_TRUE(
        throws<InvalidArgument>("secrets: ", [&] { shamir_combine(two, shares, std::span(out).first(31)); }));
    EXPECT_EQ(out, Bytes(64, 0xEE));
}

}  // namespace
}  // namespace sordino::test
