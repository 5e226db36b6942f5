// SPDX-License-Identifier: Apache-2.0

// Fixed-point lanes and their b-bit form: the stored answers, every width against an oracle bit by bit, and
// what must be refused.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "slow_bits.hpp"
#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"
#include "support.hpp"
#include "vectors.hpp"

namespace sordino::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

template <typename Lane>
class Packing : public testing::Test {};
using Lanes = testing::Types<std::uint32_t, std::uint64_t>;
TYPED_TEST_SUITE(Packing, Lanes);

template <typename Lane>
Bytes packed(const std::vector<Lane>& lanes, unsigned bits) {
    Bytes data(packed_size(lanes.size(), bits), 0xEE);
    pack(std::span(lanes), data, bits);
    return data;
}

std::vector<std::size_t> lengths() {
    std::vector<std::size_t> result{1000, 1023, 1024, 1025, 4099};
    for (std::size_t count = 0; count < 70; ++count) result.push_back(count);
    return result;
}

TYPED_TEST(Packing, AgreesWithBitByBitAtEveryWidth) {
    on_every_backend([] {
        using Lane = TypeParam;
        for (unsigned bits = 1; bits <= std::numeric_limits<Lane>::digits; ++bits) {
            for (const std::size_t count : lengths()) {
                const auto lanes = sample<Lane>(count, bits);
                const Bytes data = packed(lanes, bits);
                ASSERT_EQ(data, slow_pack(lanes, bits)) << count << " lanes of " << bits << " bits";
                const auto expected = slow_unpack<Lane>(data, count, bits);
                ASSERT_TRUE(expected.has_value());
                std::vector<Lane> sum = sample<Lane>(count, bits + 100);
                const std::vector<Lane> before = sum;
                unpack_add(data, std::span(sum), bits);
                for (std::size_t i = 0; i < count; ++i) {
                    ASSERT_EQ(sum[i], static_cast<Lane>(before[i] + (*expected)[i]))
                        << i << " of " << bits << " bits";
                }
                unpack_subtract(data, std::span(sum), bits);
                ASSERT_EQ(sum, before) << count << " lanes of " << bits << " bits";
            }
        }
    });
}

TYPED_TEST(Packing, RefusesEverySpareBitAndWrongLength) {
    on_every_backend([] {
        using Lane = TypeParam;
        for (unsigned bits = 1; bits <= std::numeric_limits<Lane>::digits; ++bits) {
            for (const std::size_t count : {0U, 1U, 3U, 5U, 41U}) {
                const Bytes data = packed(sample<Lane>(count, 1), bits);
                std::vector<Lane> lanes(count, 3);
                const auto refused = [&](const Bytes& wrong) {
                    return throws<MalformedMessage>("data: ",
                                                    [&] { unpack_add(wrong, std::span(lanes), bits); }) &&
                           throws<MalformedMessage>(
                               "data: ", [&] { unpack_subtract(wrong, std::span(lanes), bits); }) &&
                           lanes == std::vector<Lane>(count, 3);
                };
                for (std::size_t spare = count * bits; spare < data.size() * 8; ++spare) {
                    Bytes wrong = data;
                    wrong.at(spare / 8) = static_cast<std::uint8_t>(wrong.at(spare / 8) | 1U << (spare % 8));
                    ASSERT_TRUE(refused(wrong))
                        << spare << " of " << count << " lanes of " << bits << " bits";
                }
                Bytes wrong = data;
                wrong.push_back(0);
                ASSERT_TRUE(refused(wrong)) << count << " lanes of " << bits << " bits";
                if (data.empty()) continue;
                ASSERT_TRUE(refused({data.begin(), data.end() - 1}))
                    << count << " lanes of " << bits << " bits";
            }
        }
    });
}

TYPED_TEST(Packing, RefusesWidthsThatLanesDoNotHave) {
    using Lane = TypeParam;
    std::vector<Lane> lanes(4, 3);
    Bytes data(64);
    for (const unsigned bits : {0U, std::numeric_limits<Lane>::digits + 1U, 200U}) {
        EXPECT_TRUE(
            throws<InvalidArgument>("bits: ", [&] { pack(std::span(std::as_const(lanes)), data, bits); }));
        EXPECT_TRUE(throws<InvalidArgument>("bits: ", [&] { unpack_add(data, std::span(lanes), bits); }));
    }
    EXPECT_TRUE(throws<InvalidArgument>("out: ", [&] { pack(std::span(std::as_const(lanes)), data, 3); }));
    EXPECT_EQ(lanes, std::vector<Lane>(4, 3));
}

TYPED_TEST(Packing, ReadsSignedIntegers) {
    using Lane = TypeParam;
    for (unsigned bits = 1; bits <= std::numeric_limits<Lane>::digits; ++bits) {
        std::vector<Lane> lanes = sample<Lane>(100, bits);
        lanes.push_back(static_cast<Lane>(Lane{1} << (bits - 1)));
        lanes.push_back(static_cast<Lane>(~Lane{0}));
        std::vector<std::int64_t> integers(lanes.size());
        std::vector<double> reals(lanes.size());
        signed_integers(std::span<const Lane>(lanes), integers, bits);
        decode(std::span<const Lane>(lanes), reals, bits, 3.7);
        for (std::size_t i = 0; i < lanes.size(); ++i) {
            ASSERT_EQ(integers[i], slow_signed(lanes[i], bits)) << lanes[i] << " in " << bits << " bits";
            ASSERT_EQ(reals[i], static_cast<double>(integers[i]) / 3.7);
        }
    }
}

TEST(PackedSize, RefusesWhatWrapsAround) {
    EXPECT_EQ(packed_size(3, 13), 5U);
    EXPECT_TRUE(throws<InvalidArgument>("lanes: ", [] { (void)packed_size(top / 8, 64); }));
}

TEST(StoredLanes, ArePackedAsStored) {
    on_every_backend([] {
        const Value stored = vectors("packing");
        ASSERT_FALSE(stored["cases"].items().empty());
        for (const Value& known : stored["cases"].items()) {
            const auto bits = known["bits"].as<unsigned>();
            const Bytes data = known["width"].natural() == 32
                                   ? packed(known["lanes"].naturals<std::uint32_t>(), bits)
                                   : packed(known["lanes"].naturals<std::uint64_t>(), bits);
            EXPECT_EQ(data, known["data"].bytes());
        }
        const Value bad = vectors("packing_bad");
        ASSERT_FALSE(bad["cases"].items().empty());
        for (const Value& known : bad["cases"].items()) {
            std::vector<std::uint32_t> lanes(known["count"].as<std::size_t>());
            EXPECT_TRUE(throws<MalformedMessage>("data: ", [&] {
                unpack_add(known["data"].bytes(), std::span(lanes), known["bits"].as<unsigned>());
            })) << known["reason"].text();
        }
    });
}

TEST(StoredLanes, AreEncodedAsStored) {
    on_every_backend([] {
        const Value stored = vectors("fixed_point");
        ASSERT_FALSE(stored["cases"].items().empty());
        for (const Value& known : stored["cases"].items()) {
            std::vector<double> values;
            for (const Value& value : known["values"].items()) values.push_back(value.real());
            const FixedPoint format{.clip = known["clip"].real(),
                                    .scale = known["scale"].real(),
                                    .weight = known["weight"].as<std::int64_t>()};
            const auto check = [&](auto lane) {
                std::vector<decltype(lane)> lanes(values.size());
                encode(std::span<const double>(values), std::span(lanes), format);
                EXPECT_EQ(lanes, known["lanes"].naturals<decltype(lane)>());
            };
            if (known["width"].natural() == 32) {
                check(std::uint32_t{});
            } else {
                check(std::uint64_t{});
            }
        }
    });
}

template <typename T>
class Encoding : public testing::Test {};
template <typename R, typename L>
struct Types {
    using Real = R;
    using Lane = L;
};
using Pairs = testing::Types<Types<float, std::uint32_t>, Types<float, std::uint64_t>,
                             Types<double, std::uint32_t>, Types<double, std::uint64_t>>;
TYPED_TEST_SUITE(Encoding, Pairs);

template <typename Pair>
std::vector<typename Pair::Lane> encoded(const std::vector<typename Pair::Real>& values,
                                         const FixedPoint& format) {
    std::vector<typename Pair::Lane> lanes(values.size());
    encode(std::span<const typename Pair::Real>(values), std::span(lanes), format);
    return lanes;
}

// Values in [-1, 1], many of them halves of the grid, where ties decide.
template <typename Real>
std::vector<Real> values_on_ties(std::size_t count) {
    Sequence next(count);
    std::vector<Real> values(count);
    for (std::size_t i = 0; i < count; ++i) {
        const auto word = static_cast<std::int64_t>(next() >> 40) - (std::int64_t{1} << 23);
        values[i] = static_cast<Real>(static_cast<double>(i % 3 == 0 ? word / 4096 * 4096 : word) * 0x1p-23);
    }
    return values;
}

TYPED_TEST(Encoding, RoundsToNearestWithTiesToEven) {
    on_every_backend([] {
        using Lane = typename TypeParam::Lane;
        for (const std::size_t count : lengths()) {
            const auto values = values_on_ties<typename TypeParam::Real>(count);
            for (const double scale : {1024.0, 1000.0, 3.7}) {
                const auto lanes = encoded<TypeParam>(values, {.clip = 1.0, .scale = scale, .weight = 300});
                for (std::size_t i = 0; i < count; ++i) {
                    const auto integer =
                        static_cast<std::int64_t>(std::nearbyint(static_cast<double>(values[i]) * scale));
                    ASSERT_EQ(lanes[i], static_cast<Lane>(integer * 300)) << values[i] << " at " << scale;
                }
            }
        }
    });
}

TYPED_TEST(Encoding, RoundsByTheKeystreamWhereAsked) {
    on_every_backend([] {
        using Lane = typename TypeParam::Lane;
        const Bytes seed = sample<std::uint8_t>(32, 1);
        for (const std::size_t count : lengths()) {
            for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, top - 5000}) {
                const auto values = values_on_ties<typename TypeParam::Real>(count);
                FixedPoint format{.clip = 1.0, .scale = 1000.0, .weight = 7};
                format.rounding = StochasticRounding{.seed = seed_of(seed), .stream = 5, .offset = offset};
                const auto lanes = encoded<TypeParam>(values, format);
                std::vector<std::uint64_t> words(count);
                keystream(seed_of(seed), {reinterpret_cast<std::uint8_t*>(words.data()), count * 8},
                          {.stream = 5, .block = offset / 2, .byte = static_cast<unsigned>(offset % 2) * 8});
                for (std::size_t i = 0; i < count; ++i) {
                    const double y = static_cast<double>(values[i]) * 1000.0;
                    const double u = static_cast<double>(words[i] >> 11) * 0x1p-53;
                    const double integer = u < y - std::floor(y) ? std::floor(y) + 1 : std::floor(y);
                    ASSERT_EQ(lanes[i], static_cast<Lane>(static_cast<std::int64_t>(integer) * 7))
                        << values[i] << ", lane " << i << " at " << offset;
                }
            }
        }
    });
}

TYPED_TEST(Encoding, RefusesABadValueWhereverItStands) {
    on_every_backend([] {
        using Real = typename TypeParam::Real;
        using Lane = typename TypeParam::Lane;
        const auto infinity = std::numeric_limits<Real>::infinity();
        for (const std::size_t count : {1U, 7U, 8U, 9U, 33U, 1030U}) {
            for (std::size_t at = 0; at < count; at = at < 40 ? at + 1 : at + 331) {
                for (const Real bad :
                     {std::numeric_limits<Real>::quiet_NaN(), infinity, -infinity, Real(1.5)}) {
                    std::vector<Real> values(count, Real(0.25));
                    values[at] = bad;
                    std::vector<Lane> lanes(count, 9);
                    FixedPoint format{.clip = 1.0, .scale = 8.0, .weight = 1};
                    const std::string fault = "values: element " + std::to_string(at) + " ";
                    const auto attempt = [&] {
                        encode(std::span<const Real>(values), std::span(lanes), format);
                    };
                    ASSERT_TRUE(throws<ValueOutOfRange>(fault, attempt)) << bad;
                    ASSERT_EQ(lanes, std::vector<Lane>(count, 9));
                    format.saturate = true;
                    if (std::isfinite(bad)) {
                        attempt();
                        ASSERT_EQ(lanes[at], 8U);
                    } else {
                        ASSERT_TRUE(throws<ValueOutOfRange>(fault, attempt)) << bad;
                    }
                }
            }
        }
    });
}

TYPED_TEST(Encoding, PacksInOnePassWhatTwoWouldGive) {
    on_every_backend([] {
        using Real = typename TypeParam::Real;
        using Lane = typename TypeParam::Lane;
        const Bytes seed = sample<std::uint8_t>(32, 1);
        for (const std::size_t count : lengths()) {
            const auto values = values_on_ties<Real>(count);
            for (unsigned bits = 13; bits <= std::numeric_limits<Lane>::digits; bits += 3) {
                // Width of the lanes that encode_pack() takes for so many bits.
                if ((bits > 32) != (sizeof(Lane) == 8)) continue;
                FixedPoint format{.clip = 1.0, .scale = 1000.0, .weight = 3};
                if (bits % 2 == 0) {
                    format.rounding = StochasticRounding{.seed = seed_of(seed), .stream = 5, .offset = 1};
                }
                Bytes out(packed_size(count, bits), 0xEE);
                encode_pack(std::span<const Real>(values), out, format, bits, 2);
                ASSERT_EQ(out, slow_pack(encoded<TypeParam>(values, format), bits))
                    << count << " lanes of " << bits << " bits";
            }
        }
    });
}

TYPED_TEST(Encoding, RefusesWhatCannotFitALane) {
    using Real = typename TypeParam::Real;
    using Lane = typename TypeParam::Lane;
    const std::vector<Real> values(3, Real(0.5));
    std::vector<Lane> lanes(3, 9);
    const auto attempt = [&](double clip, double scale, std::int64_t weight) {
        return [&, clip, scale, weight] {
            encode(std::span<const Real>(values), std::span(lanes),
                   {.clip = clip, .scale = scale, .weight = weight});
        };
    };
    const double nan = std::numeric_limits<double>::quiet_NaN();
    const double infinity = std::numeric_limits<double>::infinity();
    constexpr std::int64_t largest = std::numeric_limits<std::make_signed_t<Lane>>::max();
    for (const double wrong : {0.0, -1.0, nan, infinity}) {
        EXPECT_TRUE(throws<InvalidArgument>("clip: ", attempt(wrong, 1, 1))) << wrong;
        EXPECT_TRUE(throws<InvalidArgument>("scale: ", attempt(1, wrong, 1))) << wrong;
    }
    EXPECT_TRUE(throws<ValueOutOfRange>("weight: ", attempt(1, 1, -1)));
    EXPECT_TRUE(throws<ValueOutOfRange>("weight: ", attempt(2, 1, largest)));
    EXPECT_TRUE(throws<ValueOutOfRange>("weight: ", attempt(1, 0x1p63, 1)));
    EXPECT_TRUE(throws<ValueOutOfRange>("weight: ", attempt(1e300, 1e300, 0)));
    EXPECT_EQ(lanes, std::vector<Lane>(3, 9));
    attempt(1, 1, largest)();
    EXPECT_TRUE(throws<InvalidArgument>("lanes: ", [&] {
        encode(std::span<const Real>(values), std::span(lanes).first(2),
               {.clip = 1.0, .scale = 1.0, .weight = 1});
    }));
}

TEST(Rounding, EndsWithTheLastIndex) {
    const Bytes seed(32);
    const std::vector<double> values(3, 0.5);
    std::vector<std::uint32_t> lanes(3, 9);
    FixedPoint format{.clip = 1.0, .scale = 1.0, .weight = 1};
    format.rounding = StochasticRounding{.seed = seed_of(seed), .stream = 0, .offset = top - 2};
    EXPECT_TRUE(
        throws<InvalidArgument>("offset: ", [&] { encode(std::span(values), std::span(lanes), format); }));
    EXPECT_EQ(lanes, std::vector<std::uint32_t>(3, 9));
}

}  // namespace
}  // namespace sordino::test
