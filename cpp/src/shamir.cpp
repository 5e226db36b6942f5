#include "sordino/shamir.hpp"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "sordino/error.hpp"
#include "sordino/secret.hpp"

namespace sordino {
namespace {

using Element = std::uint16_t;

constexpr unsigned field_bits = 16;
constexpr Element reduction = 0x100B;  // x^16 = x^12 + x^3 + x + 1

// x times each element: shift, and a mask in the place of a branch.
constexpr Element times_x(Element a) {
    return static_cast<Element>((a << 1) ^ (-(a >> 15) & reduction));
}

// For public elements only: it branches on b.
constexpr Element multiply_public(Element a, Element b) {
    Element product = 0;
    for (; b != 0; b = static_cast<Element>(b >> 1), a = times_x(a)) {
        if ((b & 1) != 0) product = static_cast<Element>(product ^ a);
    }
    return product;
}

// a^(2^16 - 2).
constexpr Element inverse_public(Element a) {
    Element result = 1;
    for (unsigned i = 1; i < field_bits; ++i) {
        a = multiply_public(a, a);
        result = multiply_public(result, a);
    }
    return result;
}

static_assert(multiply_public(0x8000, 2) == reduction);
static_assert(multiply_public(0xBEEF, inverse_public(0xBEEF)) == 1);

// Limbs that are combined at a time: a run of all rows stays in the cache while outputs are made from it.
constexpr std::size_t run_limbs = 256;

// In the field to add is to xor, so rows are bytes and need no alignment.
void add_row(std::uint8_t* __restrict sum, const std::uint8_t* __restrict row, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) sum[i] = static_cast<std::uint8_t>(sum[i] ^ row[i]);
}

// sum += sum_j weight_j row_j for `count` limbs, by the bits of the public weights from the highest down
// (Horner in x): sixteen multiplications by x in all, however many the rows. Only the weights steer it.
void add_combination(std::span<const Element> weights, const std::uint8_t* rows, std::size_t row_bytes,
                     std::size_t count, Element* sum) {
    for (unsigned bit = field_bits; bit-- > 0;) {
        for (std::size_t i = 0; i < count; ++i) sum[i] = times_x(sum[i]);
        for (std::size_t j = 0; j < weights.size(); ++j) {
            if (((weights[j] >> bit) & 1) == 0) continue;
            add_row(reinterpret_cast<std::uint8_t*>(sum), rows + j * row_bytes, count * sizeof(Element));
        }
    }
}

void check_points(std::span<const std::uint16_t> points) {
    if (points.empty()) throw InvalidArgument("points: at least one is needed");
    std::vector<bool> seen(std::size_t{1} << field_bits);
    for (const std::uint16_t point : points) {
        if (point == 0) throw InvalidArgument("points: zero is the secret's own point");
        if (seen[point]) throw InvalidArgument("points: " + std::to_string(point) + " appears twice");
        seen[point] = true;
    }
}

void check_secrets(std::size_t bytes) {
    if (bytes % shamir_secret_bytes != 0) {
        throw InvalidArgument("secrets: the length must be a multiple of 32 bytes");
    }
}

}  // namespace

void shamir_split(std::span<const std::uint8_t> secrets, std::span<const std::uint16_t> points,
                  std::size_t threshold, Seed seed, std::span<std::uint8_t> shares) {
    check_secrets(secrets.size());
    check_points(points);
    if (threshold < 1 || threshold > points.size()) {
        throw InvalidArgument("threshold: must be between 1 and the number of points");
    }
    const std::size_t row_bytes = secrets.size();
    if (shares.size() != points.size() * row_bytes) {
        throw InvalidArgument("shares: must have the secrets' length for each point");
    }

    // Row j: the coefficients of x^j of all limbs; row 0 is the secrets.
    SecretBuffer<std::uint8_t> rows(threshold * row_bytes);
    std::ranges::copy(secrets, rows.data());
    keystream(seed, rows.span().subspan(row_bytes));

    std::vector<Element> powers(points.size() * threshold);
    for (std::size_t i = 0; i < points.size(); ++i) {
        Element power = 1;
        for (std::size_t j = 0; j < threshold; ++j) {
            powers[i * threshold + j] = power;
            power = multiply_public(power, points[i]);
        }
    }

    Element sum[run_limbs];
    for (std::size_t start = 0; start < row_bytes; start += sizeof sum) {
        const std::size_t bytes = std::min(sizeof sum, row_bytes - start);
        for (std::size_t i = 0; i < points.size(); ++i) {
            std::ranges::fill(sum, Element{0});
            add_combination({powers.data() + i * threshold, threshold}, rows.data() + start, row_bytes,
                            bytes / sizeof(Element), sum);
            std::memcpy(shares.data() + i * row_bytes + start, sum, bytes);
        }
    }
    wipe(sum, sizeof sum);
}

void shamir_combine(std::span<const std::uint16_t> points, std::span<const std::uint8_t> shares,
                    std::span<std::uint8_t> secrets) {
    check_points(points);
    check_secrets(secrets.size());
    const std::size_t row_bytes = secrets.size();
    if (shares.size() != points.size() * row_bytes) {
        throw InvalidArgument("shares: must have the secrets' length for each point");
    }

    // Lagrange at zero: weight_i = prod_{j != i} x_j / (x_j - x_i), where minus is plus.
    std::vector<Element> weights(points.size());
    for (std::size_t i = 0; i < points.size(); ++i) {
        Element above = 1;
        Element below = 1;
        for (std::size_t j = 0; j < points.size(); ++j) {
            if (j == i) continue;
            above = multiply_public(above, points[j]);
            below = multiply_public(below, static_cast<Element>(points[j] ^ points[i]));
        }
        weights[i] = multiply_public(above, inverse_public(below));
    }

    Element sum[run_limbs];
    for (std::size_t start = 0; start < row_bytes; start += sizeof sum) {
        const std::size_t bytes = std::min(sizeof sum, row_bytes - start);
        std::ranges::fill(sum, Element{0});
        add_combination(weights, shares.data() + start, row_bytes, bytes / sizeof(Element), sum);
        std::memcpy(secrets.data() + start, sum, bytes);
    }
    wipe(sum, sizeof sum);
}

}  // namespace sordino
