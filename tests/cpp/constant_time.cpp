// SPDX-License-Identifier: Apache-2.0

// Under valgrind: secrets are marked undefined, and memcheck reports each branch and address that depends on
// undefined bytes (the method of Langley's ctgrind). The program checks nothing itself; leaky_branch.cpp and
// leaky_address.cpp show that memcheck would.
//
// Values before encode() are not among these secrets: it refuses NaN and what lies beyond the clip, and says
// where. With data that saturates, only the refusal of NaN and infinity is left.
#include <valgrind/memcheck.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "noise/kernel.hpp"
#include "noise/kernel_scalar.hpp"
#include "noise/plan.hpp"
#include "sordino/aggregate.hpp"
#include "sordino/codec.hpp"
#include "sordino/mask.hpp"
#include "sordino/noise.hpp"
#include "sordino/prg.hpp"
#include "sordino/secret.hpp"
#include "sordino/shamir.hpp"

namespace {

template <typename T = std::uint8_t>
std::vector<T> secret(std::size_t count) {
    std::vector<T> values(count, T{0x5A});
    VALGRIND_MAKE_MEM_UNDEFINED(values.data(), values.size() * sizeof(T));
    return values;
}

void keystreams(sordino::Seed seed) {
    for (const std::size_t count : {1U, 16U, 128U, 1'001U}) {
        std::vector<std::uint8_t> pad(count);
        sordino::keystream(seed, pad, {.stream = 1, .block = 2, .byte = 3});
    }
}

template <typename Lane>
void masks(std::span<const std::uint8_t> seeds) {
    for (const std::size_t count : {1U, 37U, 5'001U}) {
        std::vector<Lane> lanes = secret<Lane>(count);
        sordino::add_masks(std::span(lanes), seeds.first(64), seeds.last(32), {.stream = 1, .offset = 3});
    }
}

template <typename Lane>
void packing(unsigned bits) {
    const std::vector<Lane> lanes = secret<Lane>(1'003);
    std::vector<std::uint8_t> packed(sordino::packed_size(lanes.size(), bits));
    sordino::pack(std::span(lanes), packed, bits);
    std::vector<std::int64_t> integers(lanes.size());
    sordino::signed_integers(std::span(lanes), integers, bits);
    // Spare bits decide whether it is refused: they are public, and zero after pack().
    VALGRIND_MAKE_MEM_DEFINED(&packed.back(), 1);
    std::vector<Lane> sum = secret<Lane>(lanes.size());
    sordino::unpack_add(packed, std::span(sum), bits);
    sordino::unpack_subtract(packed, std::span(sum), bits);
}

// The randomness of stochastic rounding must not show in the time either.
void rounding(sordino::Seed seed) {
    const std::vector<double> values(2'001, 0.3);
    std::vector<std::uint64_t> lanes(values.size());
    sordino::FixedPoint format{.clip = 1.0, .scale = 1000.0, .weight = 3};
    format.rounding = sordino::StochasticRounding{.seed = seed, .stream = 1, .offset = 1};
    sordino::encode(std::span(values), std::span(lanes), format);
}

// The kernels themselves: add_noise() branches on whether a word hits a boundary, once in 2^45 groups, and on
// which candidates are accepted, which docs/math/discrete-gaussian.md, section 6, shows to be harmless.
void noise() {
    namespace inside = sordino::noise;
    const std::vector<std::uint64_t> words = secret<std::uint64_t>(1'024);
    std::vector<std::int64_t> values(words.size());
    for (const double sigma : {0.5, 3.0, 16.0}) {
        const inside::Plan plan(sigma);
        inside::current_kernel().table(&plan.fast, words.data(), values.data(), values.size());
    }
    std::array<std::uint8_t, inside::batch> accepted{};
    for (const double sigma : {17.0, 1e5, 1e12}) {
        const inside::Plan plan(sigma);
        inside::scalar::weigh(&plan.fast, words.data(), values.data(), accepted.data());
    }
}

void sharing(sordino::Seed seed) {
    const std::array<std::uint16_t, 4> points{1, 2, 400, 65535};
    for (const std::size_t count : {1U, 17U, 64U}) {
        const std::vector<std::uint8_t> secrets = secret(count * sordino::shamir_secret_bytes);
        std::vector<std::uint8_t> shares(points.size() * secrets.size());
        sordino::shamir_split(secrets, points, 3, seed, shares);
        std::vector<std::uint8_t> rebuilt(secrets.size());
        sordino::shamir_combine(std::span(points).first(3), std::span(shares).first(3 * secrets.size()),
                                rebuilt);
    }
}

// Who is in a batch is a secret too.
void sampling(sordino::Seed seed) {
    std::vector<std::uint8_t> drawn(1'001);
    sordino::poisson_sample(drawn, seed, 0.013);
    sordino::poisson_sample(drawn, seed, 1.0);
}

template <typename Lane>
void sums(std::span<const std::uint8_t> seeds) {
    const std::vector<std::uint8_t> payload = secret(1'003 * sizeof(Lane));
    const std::array<sordino::Payload, 2> payloads{payload, payload};
    std::vector<Lane> lanes(1'003);
    sordino::sum_uploads(payloads, std::span(lanes), 8 * sizeof(Lane), seeds.first(64), seeds.last(32));
}

void secrets_themselves(sordino::Seed seed) {
    const std::vector<std::uint8_t> other = secret(32);
    sordino::Secret left(seed);
    const sordino::Secret right{std::span(other).first<32>()};
    [[maybe_unused]] const volatile bool same = left == right;
    const sordino::Secret moved(std::move(left));
    for (const std::size_t count : {1U, 7U, 33U, 1'000U}) {
        std::vector<std::uint8_t> bytes = secret(count);
        [[maybe_unused]] const volatile bool equal = sordino::equal(bytes, secret(count));
        sordino::wipe(bytes.data(), bytes.size());
    }
}

}  // namespace

int main() {
    std::vector<std::string_view> backends = sordino::backends();
    backends.emplace_back("");  // none named: then other kernels take the widest registers
    for (const auto backend : backends) {
        sordino::select_backend(backend);
        std::printf("%.*s\n", static_cast<int>(backend.size()), backend.data());
        const std::vector<std::uint8_t> seeds = secret(96);
        const auto seed = std::span(seeds).first<32>();
        keystreams(seed);
        masks<std::uint32_t>(seeds);
        masks<std::uint64_t>(seeds);
        rounding(seed);
        noise();
        sharing(seed);
        sampling(seed);
        sums<std::uint32_t>(seeds);
        sums<std::uint64_t>(seeds);
        for (const unsigned bits : {1U, 13U, 31U, 32U}) packing<std::uint32_t>(bits);
        for (const unsigned bits : {7U, 33U, 63U, 64U}) packing<std::uint64_t>(bits);
    }
    const std::vector<std::uint8_t> seed = secret(32);
    secrets_themselves(std::span(seed).first<32>());
}
