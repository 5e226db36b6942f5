// SPDX-License-Identifier: Apache-2.0

// Sharing against a field written from its definition: shares, secrets from any of them in any order, wrong
// shares, and points that must be refused.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "input.hpp"
#include "slow_field.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"
#include "sordino/shamir.hpp"

namespace {

using sordino::fuzz::Input;
using sordino::fuzz::require;
using sordino::fuzz::throws;
using Bytes = std::vector<std::uint8_t>;
using Points = std::vector<std::uint16_t>;

bool usable(const Points& points) {
    const std::set<std::uint16_t> distinct(points.begin(), points.end());
    return !points.empty() && distinct.size() == points.size() && !distinct.contains(0);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    Input input(data, size);
    const bool many = input.take<std::uint8_t>() == 1;  // more rows than a batch has, seldom since slow
    Points points(many ? 100 : input.upto(14));
    const auto first = input.take<std::uint16_t>();
    for (std::size_t i = 0; i < points.size(); ++i) {
        points[i] = many ? static_cast<std::uint16_t>(first + 7 * i) : input.take<std::uint16_t>();
    }
    const std::size_t threshold = many ? 90 + input.upto(11) : input.upto(15);
    const Bytes seed = input.bytes(sordino::seed_bytes);
    const Bytes secrets = input.bytes(sordino::shamir_secret_bytes * input.upto(many ? 1 : 20));
    Bytes shares(points.size() * secrets.size());
    const auto split = [&] {
        sordino::shamir_split(secrets, points, threshold, sordino::Seed(seed), shares);
    };
    if (!usable(points) || threshold < 1 || threshold > points.size()) {
        require(throws<sordino::InvalidArgument>(split), "bad points and thresholds are refused");
        require(std::ranges::all_of(shares, [](std::uint8_t byte) { return byte == 0; }),
                "and change nothing");
        return 0;
    }
    split();
    Bytes coefficients((threshold - 1) * secrets.size());
    sordino::keystream(sordino::Seed(seed), coefficients);
    require(shares == sordino::test::slow_split(secrets, points, threshold, coefficients),
            "shares are right");

    // Some of the rows, in an order of their own, one of them perhaps wrong.
    Points some;
    Bytes rows;
    for (std::size_t left = points.size(); left > 0; --left) {
        const std::size_t taken = input.upto(left - 1);
        std::swap(points[taken], points[left - 1]);
        for (std::size_t i = 0; i < secrets.size(); ++i) {
            std::swap(shares[taken * secrets.size() + i], shares[(left - 1) * secrets.size() + i]);
        }
        if (!some.empty() && input.take<std::uint8_t>() % 4 == 0) continue;
        const auto row = std::span(shares).subspan((left - 1) * secrets.size(), secrets.size());
        some.push_back(points[left - 1]);
        rows.insert(rows.end(), row.begin(), row.end());
    }
    const std::uint8_t flipped = input.take<std::uint8_t>();
    if (flipped != 0 && !rows.empty()) {
        std::uint8_t& byte = rows[input.upto(rows.size() - 1)];
        byte = static_cast<std::uint8_t>(byte ^ flipped);
    }
    Bytes rebuilt(secrets.size());
    sordino::shamir_combine(some, rows, rebuilt);
    require(rebuilt == sordino::test::slow_combine(some, rows),
            "what is rebuilt is the interpolation at zero");
    if (some.size() >= threshold && !secrets.empty()) {
        require((rebuilt == secrets) == (flipped == 0), "right shares rebuild, a wrong one does not");
    }
    return 0;
}
