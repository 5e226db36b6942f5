// SPDX-License-Identifier: Apache-2.0

// Uploads from source to sink against the same steps one after the other, and sources and sinks that refuse.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/upload.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

constexpr std::size_t count = (std::size_t{1} << 20) + 4099;  // two chunks

template <typename Real>
std::vector<Real> ramp() {
    std::vector<Real> values(count);
    for (std::size_t i = 0; i < count; ++i)
        values[i] = static_cast<Real>(static_cast<double>(i % 2003) / 2003);
    return values;
}

// Values that are made where they are asked for, once.
class Spring final : public Source<double> {
public:
    [[nodiscard]] std::uint64_t size() const override { return count; }
    std::span<const double> read(std::uint64_t first, std::size_t wanted) override {
        values_.resize(wanted);
        for (std::size_t i = 0; i < wanted; ++i) values_[i] = static_cast<double>((first + i) % 2003) / 2003;
        return values_;
    }
    [[nodiscard]] bool repeats() const override { return false; }

private:
    std::vector<double> values_;
};

class Growing final : public Sink {
public:
    std::span<std::uint8_t> room(std::size_t bytes) override {
        bytes_.resize(bytes_.size() + bytes);
        return std::span(bytes_).last(bytes);
    }
    void put() override {}
    [[nodiscard]] std::optional<std::uint64_t> size() const override { return std::nullopt; }
    [[nodiscard]] const std::vector<std::uint8_t>& bytes() const { return bytes_; }

private:
    std::vector<std::uint8_t> bytes_;
};

const std::vector<std::uint8_t> seeds(96, 0x5A);

Upload upload_of(unsigned bits) {
    return {.format = {.clip = 1, .scale = 1000, .weight = 2},
            .bits = bits,
            .add = std::span(seeds).first(64),
            .subtract = std::span(seeds).last(32),
            .stream = 3,
            .offset = 7};
}

template <typename Real, typename Lane>
std::vector<std::uint8_t> in_steps(unsigned bits) {
    const Upload upload = upload_of(bits);
    const std::vector<Real> values = ramp<Real>();
    std::vector<Lane> lanes(count);
    encode(std::span<const Real>(values), std::span<Lane>(lanes), upload.format);
    add_masks(std::span<Lane>(lanes), upload.add, upload.subtract, {.stream = 3, .offset = 7});
    std::vector<std::uint8_t> data(packed_size(count, bits));
    pack(std::span<const Lane>(lanes), data, bits);
    return data;
}

TEST(Upload, EqualsTheStepsForMemoryAndForWhatComesOnce) {
    for (const unsigned bits : {20U, 32U, 41U}) {
        const auto expected =
            bits <= 32 ? in_steps<double, std::uint32_t>(bits) : in_steps<double, std::uint64_t>(bits);
        Spring spring;
        Growing growing;
        write_upload(spring, growing, upload_of(bits));
        EXPECT_EQ(growing.bytes(), expected);

        const std::vector<double> values = ramp<double>();
        std::vector<std::uint8_t> data(expected.size());
        MemorySource<double> source{values};
        MemorySink sink{data};
        write_upload(source, sink, upload_of(bits));
        EXPECT_EQ(data, expected);
    }
}

TEST(Upload, LeavesMemoryAsItWasWhereAValueIsRefused) {
    std::vector<float> values = ramp<float>();
    values[count - 1] = std::numeric_limits<float>::quiet_NaN();
    std::vector<std::uint8_t> data(packed_size(count, 20), 0xEE);
    const auto before = data;
    MemorySource<float> source{values};
    MemorySink sink{data};
    EXPECT_THROW(write_upload(source, sink, upload_of(20)), ValueOutOfRange);
    EXPECT_EQ(data, before);
}

TEST(Upload, RefusesASinkOfAnotherSizeAndASourceThatCannotBeCheckedFirst) {
    const std::vector<float> values = ramp<float>();
    std::vector<std::uint8_t> data(packed_size(count, 20) + 1);
    MemorySource<float> source{values};
    MemorySink wrong{data};
    EXPECT_THROW(write_upload(source, wrong, upload_of(20)), InvalidArgument);
    Spring spring;
    MemorySink right{std::span(data).first(data.size() - 1)};
    EXPECT_THROW(write_upload(spring, right, upload_of(20)), InvalidArgument);
    Growing growing;
    Upload bounded = upload_of(20);
    bounded.format.l2_bound = 1.0;
    EXPECT_THROW(write_upload(spring, growing, bounded), InvalidArgument);
    Upload none = upload_of(20);
    none.threads = 0;
    EXPECT_THROW(write_upload(source, growing, none), InvalidArgument);
    EXPECT_TRUE(growing.bytes().empty());
}

}  // namespace
}  // namespace sordino::test
