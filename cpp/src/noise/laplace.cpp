// SPDX-License-Identifier: Apache-2.0

// The discrete Laplace law and Bernoulli(exp(-x)), by [CKS20], Algorithms 1 and 2, in their own symbols.
#include <algorithm>
#include <bit>
#include <string>

#include "prg/backend.hpp"
#include "sordino/error.hpp"
#include "sordino/noise.hpp"
#include "sordino/secret.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

constexpr Ratio one{.numerator = 1, .denominator = 1};
constexpr std::uint64_t greatest_term = std::uint64_t{1} << 32;

// The words of one stream of the PRG, one after another.
class Stream {
public:
    Stream(const prg::Backend& backend, const std::uint8_t* schedule, std::uint64_t number) noexcept
        : backend_(backend), schedule_(schedule), number_(number) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() { wipe(bytes_, sizeof bytes_); }

    std::uint64_t word() noexcept {
        if (used_ == sizeof bytes_) {
            backend_.keystream(schedule_, number_, block_, bytes_, blocks);
            block_ += blocks;
            used_ = 0;
        }
        std::uint64_t value = 0;
        for (unsigned i = 0; i < sizeof value; ++i) value |= std::uint64_t{bytes_[used_ + i]} << (8 * i);
        used_ += sizeof value;
        return value;
    }

    // Uniform below n >= 1: the leading bits of words, until they are.
    std::uint64_t below(std::uint64_t n) noexcept {
        const auto bits = static_cast<unsigned>(std::bit_width(n - 1));
        if (bits == 0) return 0;
        while (true) {
            const std::uint64_t value = word() >> (64 - bits);
            if (value < n) return value;
        }
    }

    bool bernoulli(Ratio p) noexcept { return below(p.denominator) < p.numerator; }

    // Algorithm 1. x <= 1: K counts from 1 while Bernoulli(x / K); x / K as two independent draws.
    bool bernoulli_exp_of_fraction(Ratio x) noexcept {
        std::uint64_t k = 1;
        while (below(k) == 0 && bernoulli(x)) ++k;
        return k % 2 == 1;
    }

    bool bernoulli_exp(Ratio x) noexcept {
        while (x.numerator > x.denominator) {
            if (!bernoulli_exp_of_fraction(one)) return false;
            x.numerator -= x.denominator;
        }
        return bernoulli_exp_of_fraction(x);
    }

    // Algorithm 2 with t / s = scale.
    std::int64_t laplace(Ratio scale) noexcept {
        const std::uint64_t t = scale.numerator;
        const std::uint64_t s = scale.denominator;
        while (true) {
            const std::uint64_t u = below(t);
            if (!bernoulli_exp_of_fraction({.numerator = u, .denominator = t})) continue;
            std::uint64_t v = 0;
            while (bernoulli_exp_of_fraction(one)) ++v;
            const std::uint64_t y = (u + t * v) / s;
            const bool negative = below(2) == 1;
            if (negative && y == 0) continue;
            return static_cast<std::int64_t>(negative ? 0 - y : y);
        }
    }

private:
    static constexpr std::size_t blocks = 8;

    const prg::Backend& backend_;
    const std::uint8_t* schedule_;
    std::uint64_t number_;
    std::uint64_t block_ = 0;
    std::size_t used_ = blocks * prg::block_bytes;
    std::uint8_t bytes_[blocks * prg::block_bytes];
};

void check_term(std::uint64_t term, std::uint64_t least, const char* name) {
    if (term >= least && term <= greatest_term) return;
    throw InvalidArgument(std::string(name) + ": must be between " + std::to_string(least) +
                          " and 2**32, got " + std::to_string(term));
}

template <typename Value, typename Draw>
void run(std::span<Value> out, Seed seed, const NoiseRange& range, const Draw& draw) {
    const prg::Backend& backend = prg::current();
    SecretBuffer<std::uint8_t> schedule(backend.schedule_bytes);
    backend.expand_key(seed.data(), schedule.data());
    for_each_tile(out, range.offset, range.threads, [&](std::span<Value> tile, std::uint64_t position) {
        for (Value& value : tile) {
            Stream stream(backend, schedule.data(), position++);
            value = draw(stream);
        }
    });
}

}  // namespace

void discrete_laplace(std::span<std::int64_t> out, Seed seed, Ratio scale, NoiseRange range) {
    check_term(scale.numerator, 1, "numerator");
    check_term(scale.denominator, 1, "denominator");
    run(out, seed, range, [scale](Stream& stream) { return stream.laplace(scale); });
}

void bernoulli_exp(std::span<std::uint8_t> out, Seed seed, Ratio x, NoiseRange range) {
    check_term(x.numerator, 0, "numerator");
    check_term(x.denominator, 1, "denominator");
    run(out, seed, range,
        [x](Stream& stream) { return static_cast<std::uint8_t>(stream.bernoulli_exp(x) ? 1 : 0); });
}

}  // namespace sordino
