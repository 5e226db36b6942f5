// SPDX-License-Identifier: Apache-2.0

#include "noise/plan.hpp"

#include <algorithm>
#include <bit>
#include <string>

#include "sordino/error.hpp"
#include "sordino/noise.hpp"

namespace sordino::noise {
namespace {

// exp(-rate y^2), y = 0, 1, ...: each from the one before, in two products.
class Bell {
public:
    explicit Bell(const Fixed& rate) : step_(exp_minus(rate)), step_of_step_(step_ * step_) {}

    [[nodiscard]] const Fixed& value() const noexcept { return value_; }
    [[nodiscard]] bool negligible() const noexcept { return value_ < Fixed::scaled(1, 266); }
    void next() noexcept {
        value_ = value_ * step_;        // exp(-rate (y + 1)^2) = exp(-rate y^2) exp(-rate (2 y + 1))
        step_ = step_ * step_of_step_;  // exp(-rate (2 y + 3))
    }

private:
    Fixed value_{1};
    Fixed step_;
    Fixed step_of_step_;
};

// The powers and terms of 2^-x, which no sigma changes.
void fill_exponential(Fast& fast) noexcept {
    const Fixed sixteenth = log_two() / powers;
    Fixed power(1);
    const Fixed root = exp_minus(sixteenth);
    for (std::uint64_t& entry : fast.power) {
        power = power * root;
        entry = power.leading(52);
    }
    Fixed term(1);
    for (std::size_t k = 0; k < terms; ++k) {
        term = term * sixteenth / (k + 1);
        fast.term[k] = term.leading(52);
    }
}

double checked(double sigma) {
    if (sigma >= least_sigma && sigma <= greatest_sigma) return sigma;  // NaN is neither
    throw InvalidArgument("sigma: must be between 0.5 and 2**40, got " + std::to_string(sigma));
}

}  // namespace

Dyadic dyadic(double value) noexcept {
    const auto bits = std::bit_cast<std::uint64_t>(value);
    return {.mantissa = (bits & mask52) | (mask52 + 1), .exponent = static_cast<int>(bits >> 52) - 1075};
}

Fixed gaussian_rate(double sigma, unsigned shift) noexcept {
    const Dyadic parts = dyadic(sigma);
    const int exponent = 2 * (parts.exponent - static_cast<int>(shift)) + 1;
    return Fixed(1) / Fixed::scaled(Wide{parts.mantissa} * parts.mantissa, static_cast<unsigned>(-exponent));
}

Fixed moment(const Fixed& rate, unsigned power) noexcept {
    Fixed sum(power == 0 ? 1 : 0);
    std::uint64_t y = 1;
    Bell bell(rate);
    for (bell.next(); !bell.negligible(); bell.next(), ++y) {
        sum = sum + bell.value() * Fixed(power == 0 ? 2 : 2 * y * y);
    }
    return sum;
}

Plan::Plan(double sigma) : fast{}, rejects(checked(sigma) > greatest_table_sigma) {
    if (rejects) {
        const Dyadic parts = dyadic(sigma);  // 2^k <= sigma < 2^(k + 1), and 4 < sigma 2^-j <= 8
        const int k = parts.exponent + 52;
        fast.shift = static_cast<std::uint64_t>(parts.mantissa == mask52 + 1 ? k - 3 : k - 2);
    }
    rate = gaussian_rate(sigma, static_cast<unsigned>(fast.shift));
    fast.rate = (rate * (Fixed(1) / log_two())).leading(52 + 4);
    fill_exponential(fast);

    // A magnitude of a table is drawn with its sign outside, so all but 0 count twice. Where one rejects,
    // both zeros are proposed and one is refused.
    std::vector<Fixed> sums;
    for (Bell bell(rate); !bell.negligible(); bell.next()) {
        const Fixed& one = bell.value();
        sums.push_back(sums.empty() ? one : sums.back() + (rejects ? one : one + one));
    }
    const Fixed inverse = Fixed(1) / sums.back();
    for (const Fixed& sum : sums) {
        const Fixed c = sum * inverse;
        Boundary boundary{};
        for (std::size_t i = 0; i < boundary.size(); ++i) {
            boundary[i] = c.limb(4 - i) >> 1;
            if (i > 0) boundary[i] |= c.limb(5 - i) << 63;
        }
        boundaries.push_back(boundary);
    }

    constexpr std::uint64_t last = (std::uint64_t{1} << 63) - 1;
    std::ranges::fill(fast.boundary, last);
    std::size_t used = 0;
    while (used < boundaries.size() && boundaries[used][0] < last) {
        fast.boundary[used] = boundaries[used][0];
        ++used;
    }
    fast.columns = used / rows + 1;  // one more boundary than `used`, so that the last is 2^63 - 1
    fast.count = rows * fast.columns;
    for (std::size_t s = 0; s < fast.columns; ++s) {
        for (std::size_t r = 0; r < rows; ++r) fast.column[s][r] = fast.boundary[r * fast.columns + s];
    }
}

}  // namespace sordino::noise
