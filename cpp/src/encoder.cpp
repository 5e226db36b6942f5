// SPDX-License-Identifier: Apache-2.0

#include "encoder.hpp"

#include <atomic>
#include <vector>

#include "sordino/error.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

template <typename Real>
[[noreturn]] void refuse_first(std::span<const Real> values, double limit, std::uint64_t first) {
    for (std::size_t i = 0; i < values.size(); ++i) {
        const double magnitude = std::fabs(static_cast<double>(values[i]));
        if (magnitude <= limit) continue;
        // The index and not the value: an error message may be logged, a value is a patient's.
        const char* fault = std::isnan(magnitude)       ? " is NaN"
                            : !std::isfinite(magnitude) ? " is infinite"
                                                        : " is outside the clip";
        throw ValueOutOfRange("values: element " + std::to_string(first + i) + fault);
    }
    throw ValueOutOfRange("values: changed while they were read");
}

}  // namespace

void check_positive(const char* name, double value) {
    if (!(value > 0) || !std::isfinite(value)) {
        throw InvalidArgument(std::string(name) + ": must be positive and finite");
    }
}

void check_format(const FixedPoint& format, std::uint64_t count, unsigned bits) {
    if (bits < 1 || bits > 64) {
        throw InvalidArgument("bits: must be between 1 and 64, got " + std::to_string(bits));
    }
    check_positive("clip", format.clip);
    check_positive("scale", format.scale);
    if (format.l2_bound) check_positive("l2_bound", *format.l2_bound);
    if (format.weight < 0) throw ValueOutOfRange("weight: must not be negative");
    const auto largest = static_cast<std::int64_t>((std::uint64_t{1} << (bits - 1)) - 1);
    const double bound = std::ceil(format.clip * format.scale);
    std::int64_t product = 0;
    if (!(bound < 0x1p63) ||
        __builtin_mul_overflow(static_cast<std::int64_t>(bound), format.weight, &product) ||
        product > largest) {
        throw ValueOutOfRange("weight: ceil(clip * scale) * weight does not fit a signed lane of " +
                              std::to_string(bits) + " bits");
    }
    if (format.rounding && count > std::numeric_limits<std::uint64_t>::max() - format.rounding->offset) {
        throw InvalidArgument("offset: the values would pass index 2**64");
    }
}

template <typename Real>
void check_values(const codec::Backend& backend, std::span<const Real> values, const FixedPoint& format,
                  std::size_t threads, std::uint64_t first) {
    const bool any_finite = format.saturate || format.l2_bound;
    const double limit = any_finite ? std::numeric_limits<double>::max() : format.clip;
    std::atomic<bool> good{true};
    const auto within = backend.readers<Real>().within;
    for_each_part(values.size(), square_block, threads,
                  [&](std::uint64_t begin, std::uint64_t count) noexcept {
                      const bool all = within(values.data() + begin, count, limit);
                      if (!all) good.store(false, std::memory_order_relaxed);
                  });
    if (!good) refuse_first(values, limit, first);
}

codec::Encoding encoding_of(const FixedPoint& format, std::optional<double> norm) {
    const bool shrinks = norm && format.l2_bound && *norm > *format.l2_bound;
    return {.factor = shrinks ? *format.l2_bound / *norm : 1.0,
            .clip = format.clip,
            .scale = format.scale,
            .weight = format.weight,
            .bounded = format.saturate || format.l2_bound.has_value()};
}

template <typename Real>
double add_squares(const codec::Backend& backend, std::span<const Real> values, std::size_t threads,
                   double sum) {
    const auto square_sum = backend.readers<Real>().square_sum;
    constexpr std::size_t batch = 1024;  // blocks
    std::vector<double> sums(std::min(values.size() / square_block + 1, batch * threads));
    while (!values.empty()) {
        const std::span<const Real> part = values.first(std::min(values.size(), sums.size() * square_block));
        for_each_part(
            part.size(), square_block, threads, [&](std::uint64_t begin, std::uint64_t count) noexcept {
                for (std::uint64_t i = begin; i < begin + count; i += square_block) {
                    sums[i / square_block] =
                        square_sum(part.data() + i, std::min<std::uint64_t>(square_block, begin + count - i));
                }
            });
        const std::size_t blocks = (part.size() - 1) / square_block + 1;
        for (std::size_t i = 0; i < blocks; ++i) sum += sums[i];
        values = values.subspan(part.size());
    }
    return sum;
}

template <typename Real>
double largest_magnitude(std::span<const Real> values, double largest) {
    for (const Real value : values) {
        const double magnitude = std::fabs(static_cast<double>(value));
        if (magnitude <= largest) continue;
        if (std::isnan(largest)) break;
        largest = magnitude;
    }
    return largest;
}

template <typename Real>
double add_scaled_squares(std::span<const Real> values, int exponent, double sum) {
    double block[square_block];
    for (std::size_t i = 0; i < values.size(); i += square_block) {
        const std::size_t count = std::min(square_block, values.size() - i);
        for (std::size_t j = 0; j < count; ++j) {
            block[j] = std::scalbn(static_cast<double>(values[i + j]), -exponent);
        }
        sum += codec::portable.doubles.square_sum(block, count);
    }
    return sum;
}

namespace {

template <typename Real>
double norm_of(const codec::Backend& backend, std::span<const Real> values, std::size_t threads) {
    const double norm = norm_over<Real>(
        [&](const auto& work) { work(values, 0); },
        [&](std::span<const Real> part, double sum) { return add_squares(backend, part, threads, sum); });
    if (std::isnan(norm)) refuse_first(values, std::numeric_limits<double>::max(), 0);
    return norm;
}

}  // namespace

template <typename Real>
codec::Encoding plan_encoding(const codec::Backend& backend, std::span<const Real> values,
                              const FixedPoint& format, std::size_t threads) {
    if (!format.l2_bound) {
        check_values(backend, values, format, threads);
        return encoding_of(format, std::nullopt);
    }
    return encoding_of(format, norm_of(backend, values, threads));
}

template void check_values(const codec::Backend&, std::span<const float>, const FixedPoint&, std::size_t,
                           std::uint64_t);
template void check_values(const codec::Backend&, std::span<const double>, const FixedPoint&, std::size_t,
                           std::uint64_t);
template double add_squares(const codec::Backend&, std::span<const float>, std::size_t, double);
template double add_squares(const codec::Backend&, std::span<const double>, std::size_t, double);
template double largest_magnitude(std::span<const float>, double);
template double largest_magnitude(std::span<const double>, double);
template double add_scaled_squares(std::span<const float>, int, double);
template double add_scaled_squares(std::span<const double>, int, double);
template codec::Encoding plan_encoding(const codec::Backend&, std::span<const float>, const FixedPoint&,
                                       std::size_t);
template codec::Encoding plan_encoding(const codec::Backend&, std::span<const double>, const FixedPoint&,
                                       std::size_t);

double l2_norm(std::span<const float> values, std::optional<std::size_t> threads) {
    return norm_of(codec::current(), values, thread_count(threads));
}

double l2_norm(std::span<const double> values, std::optional<std::size_t> threads) {
    return norm_of(codec::current(), values, thread_count(threads));
}

}  // namespace sordino
