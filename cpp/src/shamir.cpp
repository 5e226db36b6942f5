// SPDX-License-Identifier: Apache-2.0

#include "sordino/shamir.hpp"

#include <algorithm>
#include <bit>
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

constexpr Element times_x(Element a) {
    return static_cast<Element>((a << 1) ^ ((a >> (field_bits - 1)) * reduction));
}

// For public elements only: tables of logarithms are indexed by them.
class PublicField {
public:
    PublicField() {
        Element power = 1;
        for (std::uint32_t i = 0; i < order; ++i) {
            exponent_[i] = power;
            exponent_[i + order] = power;
            logarithm_[power] = static_cast<Element>(i);
            power = times_x(power);  // x generates the whole group
        }
    }

    [[nodiscard]] std::uint32_t logarithm(Element a) const { return logarithm_[a]; }
    [[nodiscard]] Element power(std::uint64_t logarithm) const { return exponent_[logarithm % order]; }
    [[nodiscard]] Element multiply(Element a, Element b) const {
        if (a == 0 || b == 0) return 0;
        return exponent_[logarithm(a) + logarithm(b)];
    }

    static constexpr std::uint32_t order = 0xFFFF;  // of the multiplicative group

private:
    std::vector<Element> exponent_ = std::vector<Element>(std::size_t{2} * order);
    std::vector<Element> logarithm_ = std::vector<Element>(std::size_t{order} + 1);
};

const PublicField& field() {
    static const PublicField tables;
    return tables;
}

// A strip of limbs that stays in eight registers while rows are added to it. In the field to add is to xor,
// so rows are bytes and need no alignment.
struct Strip {
    using Vector [[gnu::vector_size(16)]] = Element;
    static constexpr std::size_t vectors = 8;
    static constexpr std::size_t bytes = vectors * sizeof(Vector);

    Vector part[vectors] = {};

    void times_x() {
        for (Vector& limbs : part) {
            const Vector carry = limbs >> (field_bits - 1);  // 0 or 1
            limbs = (limbs << 1) ^ ((Vector{} - carry) & reduction);
        }
    }
    void add(const std::uint8_t* row) {
        for (std::size_t v = 0; v < vectors; ++v) {
            Vector limbs;
            std::memcpy(&limbs, row + v * sizeof limbs, sizeof limbs);
            part[v] ^= limbs;
        }
    }
};

// Rows that lie side by side, cut into strips; the last strip is filled up with zeros.
class Rows {
public:
    Rows(const std::uint8_t* data, std::size_t count, std::size_t row_bytes)
        : data_(data), count_(count), row_bytes_(row_bytes), padded_(count * Strip::bytes) {}

    [[nodiscard]] std::size_t size() const noexcept { return count_; }

    // Makes row() give the strips that begin at byte `start` of each row.
    void move_to(std::size_t start) {
        start_ = start;
        whole_ = row_bytes_ - start >= Strip::bytes;
        if (whole_) return;
        for (std::size_t j = 0; j < count_; ++j) {
            std::memcpy(padded_.data() + j * Strip::bytes, data_ + j * row_bytes_ + start,
                        row_bytes_ - start);
        }
    }
    [[nodiscard]] const std::uint8_t* row(std::size_t j) const noexcept {
        return whole_ ? data_ + j * row_bytes_ + start_ : padded_.data() + j * Strip::bytes;
    }

private:
    const std::uint8_t* data_;
    std::size_t count_;
    std::size_t row_bytes_;
    std::size_t start_ = 0;
    bool whole_ = true;
    SecretBuffer<std::uint8_t> padded_;
};

// sum_j weight_j row_j, by the bits of the public weights from the highest down (Horner in x): sixteen
// multiplications by x in all, however many the rows. Only the weights steer it.
Strip combination(std::span<const Element> weights, const Rows& rows) {
    Strip sum;
    for (unsigned bit = field_bits; bit-- > 0;) {
        sum.times_x();
        for (std::size_t j = 0; j < weights.size(); ++j) {
            if (((weights[j] >> bit) & 1) != 0) sum.add(rows.row(j));
        }
    }
    return sum;
}

// The sums of all subsets of some rows, in groups of six rows: a combination adds one of them for each group
// and bit, where it would add three rows on average. Pays where many combinations are made of the same rows
// (the method of the four Russians). The subsets are chosen by public weights.
class SubsetSums {
public:
    static constexpr std::size_t group_rows = 6;
    static constexpr std::size_t subsets = std::size_t{1} << group_rows;

    explicit SubsetSums(std::size_t rows)
        : groups_((rows + group_rows - 1) / group_rows), sums_(groups_ * subsets * Strip::bytes) {}

    [[nodiscard]] std::size_t groups() const noexcept { return groups_; }

    void fill(const Rows& rows, std::size_t first) {
        for (std::size_t group = 0; group < groups_; ++group) {
            std::uint8_t* table = sums_.data() + group * subsets * Strip::bytes;
            for (std::size_t subset = 1; subset < subsets; ++subset) {
                const std::size_t row = first + group * group_rows + std::bit_width(subset) - 1;
                Strip sum;
                sum.add(table + (subset & ~std::bit_floor(subset)) * Strip::bytes);
                if (row < rows.size()) sum.add(rows.row(row));
                std::memcpy(table + subset * Strip::bytes, sum.part, Strip::bytes);
            }
        }
    }

    // `chosen` holds for each bit, from the highest down, a subset of each group.
    [[nodiscard]] Strip combination(const std::uint8_t* chosen) const {
        Strip sum;
        for (unsigned bit = 0; bit < field_bits; ++bit) {
            sum.times_x();
            const std::uint8_t* table = sums_.data();
            for (std::size_t group = 0; group < groups_; ++group, table += subsets * Strip::bytes) {
                sum.add(table + *chosen++ * Strip::bytes);
            }
        }
        return sum;
    }

private:
    std::size_t groups_;
    SecretBuffer<std::uint8_t> sums_;
};

// Rows that are summed at a time: their subset sums stay in the second-level cache.
constexpr std::size_t batch_rows = 16 * SubsetSums::group_rows;

// For the points' weights on rows [first, first + batch_rows): the subsets in the order of `combination`.
std::vector<std::uint8_t> choose_subsets(std::span<const Element> powers, std::size_t threshold,
                                         std::size_t first, std::size_t groups) {
    const std::size_t points = powers.size() / threshold;
    std::vector<std::uint8_t> chosen(points * field_bits * groups);
    const std::size_t last = std::min(threshold, first + groups * SubsetSums::group_rows);
    for (std::size_t i = 0; i < points; ++i) {
        std::uint8_t* mine = chosen.data() + i * field_bits * groups;
        for (std::size_t j = first; j < last; ++j) {
            const std::size_t group = (j - first) / SubsetSums::group_rows;
            const std::size_t place = (j - first) % SubsetSums::group_rows;
            const unsigned weight = powers[i * threshold + j];
            for (unsigned bit = 0; bit < field_bits; ++bit) {
                const unsigned has = (weight >> (field_bits - 1 - bit)) & 1;
                mine[bit * groups + group] =
                    static_cast<std::uint8_t>(mine[bit * groups + group] | has << place);
            }
        }
    }
    return chosen;
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
        const std::uint64_t logarithm = field().logarithm(points[i]);
        for (std::size_t j = 0; j < threshold; ++j) powers[i * threshold + j] = field().power(logarithm * j);
    }

    std::ranges::fill(shares, std::uint8_t{0});
    Rows strips(rows.data(), threshold, row_bytes);
    for (std::size_t first = 0; first < threshold; first += batch_rows) {
        SubsetSums sums(std::min(batch_rows, threshold - first));
        const std::vector<std::uint8_t> chosen = choose_subsets(powers, threshold, first, sums.groups());
        for (std::size_t start = 0; start < row_bytes; start += Strip::bytes) {
            strips.move_to(start);
            sums.fill(strips, first);
            const std::size_t bytes = std::min(Strip::bytes, row_bytes - start);
            for (std::size_t i = 0; i < points.size(); ++i) {
                Strip sum = sums.combination(chosen.data() + i * field_bits * sums.groups());
                std::uint8_t* share = shares.data() + i * row_bytes + start;
                std::uint8_t batch[Strip::bytes];
                std::memcpy(batch, sum.part, sizeof batch);
                for (std::size_t byte = 0; byte < bytes; ++byte) {
                    share[byte] = static_cast<std::uint8_t>(share[byte] ^ batch[byte]);
                }
                wipe(batch, sizeof batch);
                wipe(&sum, sizeof sum);
            }
        }
    }
}

void shamir_combine(std::span<const std::uint16_t> points, std::span<const std::uint8_t> shares,
                    std::span<std::uint8_t> secrets) {
    check_points(points);
    check_secrets(secrets.size());
    const std::size_t row_bytes = secrets.size();
    if (shares.size() != points.size() * row_bytes) {
        throw InvalidArgument("shares: must have the secrets' length for each point");
    }

    // Lagrange at zero: weight_i = prod_{j != i} x_j / (x_j - x_i), where minus is plus; by logarithms.
    std::vector<Element> weights(points.size());
    for (std::size_t i = 0; i < points.size(); ++i) {
        std::uint64_t above = 0;
        std::uint64_t below = 0;
        for (std::size_t j = 0; j < points.size(); ++j) {
            if (j == i) continue;
            above += field().logarithm(points[j]);
            below += field().logarithm(static_cast<Element>(points[j] ^ points[i]));
        }
        constexpr std::uint64_t order = PublicField::order;
        weights[i] = field().power(above % order + (order - below % order));
    }

    Rows rows(shares.data(), points.size(), row_bytes);
    for (std::size_t start = 0; start < row_bytes; start += Strip::bytes) {
        rows.move_to(start);
        Strip sum = combination(weights, rows);
        std::memcpy(secrets.data() + start, sum.part, std::min(Strip::bytes, row_bytes - start));
        wipe(&sum, sizeof sum);
    }
}

}  // namespace sordino
