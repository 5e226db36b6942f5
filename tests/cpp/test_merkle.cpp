// SPDX-License-Identifier: Apache-2.0

// Trees over share vectors against hashing node by node, and SHA-256 against the standard's own answers.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "sordino/error.hpp"
#include "sordino/merkle.hpp"
#include "sordino/sha256.hpp"
#include "support.hpp"

namespace sordino::test {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes text(std::string_view characters) {
    return {characters.begin(), characters.end()};
}

Bytes digest(const Bytes& message) {
    const Digest found = sha256(message);
    return {found.begin(), found.end()};
}

void append(Bytes& message, char tag, std::span<const std::uint8_t> data) {
    message.push_back(static_cast<std::uint8_t>(tag));
    for (int shift = 56; shift >= 0; shift -= 8) {
        message.push_back(static_cast<std::uint8_t>(data.size() >> shift));
    }
    message.insert(message.end(), data.begin(), data.end());
}

const Bytes node = text("node");
const Bytes top = text("a root begins so");
const Bytes padding = digest(text("padding"));
const MerkleForm form{.node = node, .root = top, .padding = padding};

Bytes leaf(const Bytes& opening, std::size_t index, std::span<const std::uint8_t> share) {
    Bytes message = opening;
    Bytes number;
    for (; index != 0; index >>= 8) number.insert(number.begin(), static_cast<std::uint8_t>(index));
    append(message, 'I', number);
    append(message, 'B', share);
    return digest(message);
}

Bytes root_of(const Bytes& opening, const Bytes& shares) {
    std::vector<Bytes> level;
    for (std::size_t at = 0; at < shares.size(); at += 32) {
        level.push_back(leaf(opening, at / 32, std::span(shares).subspan(at, 32)));
    }
    while (level.size() < std::size_t{1} << merkle_depth(shares.size() / 32)) level.push_back(padding);
    while (level.size() > 1) {
        std::vector<Bytes> next;
        for (std::size_t i = 0; i < level.size(); i += 2) {
            Bytes message = node;
            append(message, 'B', level[i]);
            append(message, 'B', level[i + 1]);
            next.push_back(digest(message));
        }
        level = next;
    }
    Bytes message = top;
    append(message, 'B', level.front());
    return digest(message);
}

class Merkle : public EveryBackend {};
INSTANTIATE_FOR_EVERY_BACKEND(Merkle);

TEST_P(Merkle, HashesAsTheStandardSays) {  // FIPS 180-2, appendix B
    const Bytes expected = {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0, 0x26,
                            0x93, 0x0c, 0x3e, 0x60, 0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff,
                            0x21, 0x67, 0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1};
    EXPECT_EQ(digest(text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")), expected);
}

TEST_P(Merkle, HashesAsPortableCodeAtEveryLength) {
    const Bytes message = sample<std::uint8_t>(300, 1);
    for (std::size_t length = 0; length <= message.size(); ++length) {
        const Bytes part(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(length));
        select_backend(GetParam());
        const Bytes found = digest(part);
        select_backend("portable");
        EXPECT_EQ(sha256_backend(), "portable");
        EXPECT_EQ(found, digest(part)) << length;
    }
}

TEST_P(Merkle, AgreesWithHashingNodeByNode) {
    for (const std::size_t leaves : {1U, 2U, 3U, 5U, 8U, 31U, 257U}) {
        constexpr std::size_t holders = 5;
        const Bytes shares = sample<std::uint8_t>(holders * leaves * 32, leaves);
        std::vector<Bytes> begins;
        std::vector<std::span<const std::uint8_t>> openings;
        for (std::size_t i = 0; i < holders; ++i) begins.push_back(sample<std::uint8_t>(31 * i, i));
        openings.assign(begins.begin(), begins.end());
        Bytes roots(holders * 32);
        merkle_roots(shares, openings, form, roots, 3);
        for (std::size_t i = 0; i < holders; ++i) {
            const auto row = static_cast<std::ptrdiff_t>(leaves * 32);
            const auto from = shares.begin() + static_cast<std::ptrdiff_t>(i) * row;
            const Bytes own(from, from + row);
            const Bytes root = root_of(begins[i], own);
            EXPECT_TRUE(std::equal(root.begin(), root.end(), &roots[32 * i])) << leaves;

            const std::vector<std::uint64_t> wanted = {leaves - 1, leaves / 2};
            const std::size_t depth = merkle_depth(leaves);
            Bytes again(32);
            Bytes paths(wanted.size() * depth * 32);
            merkle_paths(own, begins[i], form, wanted, again, paths);
            EXPECT_EQ(again, root);
            Bytes chosen;
            for (const std::uint64_t index : wanted) {
                const auto share = own.begin() + static_cast<std::ptrdiff_t>(32 * index);
                chosen.insert(chosen.end(), share, share + 32);
            }
            Bytes climbed(wanted.size() * 32);
            merkle_climb(chosen, begins[i], form, wanted, paths, depth, climbed);
            EXPECT_TRUE(std::equal(root.begin(), root.end(), &climbed[0]));
            EXPECT_TRUE(std::equal(root.begin(), root.end(), &climbed[32]));
        }
    }
}

TEST(MerkleArguments, AreNamed) {
    const Bytes shares(64);
    const std::vector<std::span<const std::uint8_t>> openings(2);
    Bytes roots(64);
    Bytes short_roots(63);
    const MerkleForm short_padding{.node = node, .root = top, .padding = std::span(padding).first(31)};
    EXPECT_TRUE(throws<InvalidArgument>(
        "threads: ", [&] { merkle_roots(shares, openings, form, roots, std::size_t{0}); }));
    EXPECT_TRUE(
        throws<InvalidArgument>("padding: ", [&] { merkle_roots(shares, openings, short_padding, roots); }));
    EXPECT_TRUE(
        throws<InvalidArgument>("roots: ", [&] { merkle_roots(shares, openings, form, short_roots); }));
    EXPECT_TRUE(throws<InvalidArgument>(
        "shares: ", [&] { merkle_roots(std::span(shares).first(32), openings, form, roots); }));
    const std::vector<std::uint64_t> beyond = {2};
    EXPECT_TRUE(throws<InvalidArgument>("wanted: ", [&] {
        merkle_paths(shares, {}, form, beyond, std::span(roots).first(32), std::span(roots).first(32));
    }));
    EXPECT_TRUE(throws<InvalidArgument>(
        "paths: ", [&] { merkle_climb(std::span(shares).first(32), {}, form, beyond, {}, 1, roots); }));
}

}  // namespace
}  // namespace sordino::test
