// SPDX-License-Identifier: Apache-2.0

// Encoding a tile at a time: what codec.cpp, upload.cpp and clip.cpp have in common.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>

#include "codec/backend.hpp"
#include "prg/backend.hpp"
#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "sordino/secret.hpp"

namespace sordino {

// As many values are encoded at once as their rounding's keystream leaves room for in the first-level cache.
inline constexpr std::size_t values_per_step = 1024;

// The keystream words that decide the roundings, from any one on.
class RoundingWords {
public:
    static constexpr std::size_t room = values_per_step + 2;  // words

    RoundingWords(const prg::Backend& backend, Seed seed, std::uint64_t stream)
        : backend_(backend), schedule_(backend.schedule_bytes), stream_(stream) {
        backend.expand_key(seed.data(), schedule_.data());
    }

    // Returns where the words [first, first + count) are in `buffer`, which has `room`; count <=
    // values_per_step.
    const std::uint64_t* read(std::uint64_t first, std::size_t count, std::uint64_t* buffer,
                              std::uint64_t streams_on = 0) const noexcept {
        const std::size_t skip = first % 2;  // two to a block
        backend_.keystream(schedule_.data(), stream_ + streams_on, first / 2,
                           reinterpret_cast<std::uint8_t*>(buffer), (skip + count + 1) / 2);
        return buffer + skip;
    }

private:
    const prg::Backend& backend_;
    SecretBuffer<std::uint8_t> schedule_;
    std::uint64_t stream_;
};

// A thread's working memory, on its stack; wiped, since it holds values of patients.
template <typename Lane, std::size_t count>
struct Scratch {
    alignas(64) Lane lanes[count];
    alignas(64) std::uint64_t words[RoundingWords::room];

    Scratch() noexcept {}  // NOLINT: not zeroed, it is written before it is read
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;
    ~Scratch() { wipe(this, sizeof *this); }
};

void check_positive(const char* name, double value);

// Throws unless clip, scale and l2_bound are positive and finite, 1 <= bits <= 64, and every integer,
// whatever the values, is below 2^(bits-1) in magnitude: refusing by that does not depend on data.
void check_format(const FixedPoint& format, std::uint64_t count, unsigned bits);

// Throws ValueOutOfRange, naming the element by its index and `first`, for a value that the format refuses.
template <typename Real>
void check_values(const codec::Backend& backend, std::span<const Real> values, const FixedPoint& format,
                  std::size_t threads, std::uint64_t first = 0);

// How to encode a vector of that norm; none is needed without an l2_bound.
codec::Encoding encoding_of(const FixedPoint& format, std::optional<double> norm);

// Both, for values that are all at hand: they are read once.
template <typename Real>
codec::Encoding plan_encoding(const codec::Backend& backend, std::span<const Real> values,
                              const FixedPoint& format, std::size_t threads);

// The blocks of l2_norm().
inline constexpr std::size_t square_block = 4096;

// `sum` and the sums of squares of the blocks, in their order.
template <typename Real>
double add_squares(const codec::Backend& backend, std::span<const Real> values, std::size_t threads,
                   double sum);

// The largest magnitude, NaN or infinite if a value is, and the same sum of the values times 2^-exponent.
template <typename Real>
double largest_magnitude(std::span<const Real> values, double largest);
template <typename Real>
double add_scaled_squares(std::span<const Real> values, int exponent, double sum);

// The norm of values that `over` gives in chunks of whole blocks, in order; NaN if one is not finite.
// over(work) calls work(values, first index) for each; `squares` is add_squares. Extreme values, whose
// squares would leave the range of doubles, cost two more readings.
template <typename Real, typename Over, typename Squares>
double norm_over(const Over& over, const Squares& squares) {
    double sum = 0;
    over([&](std::span<const Real> values, std::uint64_t) { sum = squares(values, sum); });
    if (sum > 0x1p-900 && std::isfinite(sum)) return std::sqrt(sum);
    double largest = 0;
    over([&](std::span<const Real> values, std::uint64_t) { largest = largest_magnitude(values, largest); });
    if (!std::isfinite(largest)) return std::numeric_limits<double>::quiet_NaN();
    if (largest == 0) return 0;
    const int exponent = std::ilogb(largest);
    sum = 0;
    over([&](std::span<const Real> values, std::uint64_t) {
        sum = add_scaled_squares(values, exponent, sum);
    });
    return std::scalbn(std::sqrt(sum), exponent);
}

template <typename Real, typename Lane>
class TileEncoder {
public:
    TileEncoder(const codec::Backend& backend, const codec::Encoding& encoding,
                const std::optional<StochasticRounding>& rounding)
        : encoders_(backend.encoders<Real, Lane>()), encoding_(encoding) {
        if (rounding) words_.emplace(prg::current(), rounding->seed, rounding->stream);
        if (rounding) offset_ = rounding->offset;
    }

    // `first` is the index of the first value in the whole vector.
    void operator()(std::span<const Real> values, std::uint64_t first, Lane* lanes,
                    std::uint64_t* words) const noexcept {
        if (encoding_.weight == 0) {
            std::fill_n(lanes, values.size(), Lane{0});
        } else if (!words_) {
            encoders_.nearest(values.data(), lanes, values.size(), encoding_);
        } else {
            for (std::size_t i = 0; i < values.size(); i += values_per_step) {
                const std::size_t count = std::min(values_per_step, values.size() - i);
                const std::uint64_t* random = words_->read(offset_ + first + i, count, words);
                encoders_.stochastic(values.data() + i, random, lanes + i, count, encoding_);
            }
        }
    }

private:
    const codec::Encoders<Real, Lane>& encoders_;
    codec::Encoding encoding_;
    std::optional<RoundingWords> words_;
    std::uint64_t offset_ = 0;
};

}  // namespace sordino
