// SPDX-License-Identifier: Apache-2.0

#include "sordino/merkle.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <system_error>
#include <thread>
#include <vector>

#include "sha256/opening.hpp"
#include "sordino/error.hpp"
#include "sordino/mask.hpp"
#include "sordino/secret.hpp"

namespace sordino {
namespace {

using hash::Opening;

constexpr std::size_t piece_head = 9;  // tag and length
constexpr std::size_t digest_piece = piece_head + digest_bytes;
static_assert(2 * digest_piece <= hash::max_ending);
constexpr std::size_t worth_a_thread = 1000;  // leaves that take longer than starting a thread

void put_head(char tag, std::size_t length, std::uint8_t* out) noexcept {
    *out = static_cast<std::uint8_t>(tag);
    hash::put_big_endian(length, out + 1, piece_head - 1);
}

// The pieces that end the message of a leaf.
class LeafEnding {
public:
    LeafEnding(std::uint64_t index, const std::uint8_t* share) noexcept {
        const auto width = static_cast<std::size_t>(std::bit_width(index) + 7) / 8;
        put_head('I', width, bytes_.data());
        hash::put_big_endian(index, bytes_.data() + piece_head, width);
        put_head('B', merkle_share_bytes, bytes_.data() + piece_head + width);
        size_ = 2 * piece_head + width + merkle_share_bytes;
        std::copy_n(share, merkle_share_bytes, bytes_.data() + size_ - merkle_share_bytes);
    }
    LeafEnding(const LeafEnding&) = delete;
    LeafEnding& operator=(const LeafEnding&) = delete;
    ~LeafEnding() { wipe(bytes_.data(), bytes_.size()); }

    [[nodiscard]] std::span<const std::uint8_t> span() const noexcept { return {bytes_.data(), size_}; }

private:
    std::array<std::uint8_t, 2 * piece_head + 8 + merkle_share_bytes> bytes_{};
    std::size_t size_ = 0;
};

// The pieces that end the message of a node.
std::array<std::uint8_t, 2 * digest_piece> node_ending(const std::uint8_t* left,
                                                       const std::uint8_t* right) noexcept {
    std::array<std::uint8_t, 2 * digest_piece> bytes;
    put_head('B', digest_bytes, bytes.data());
    std::copy_n(left, digest_bytes, bytes.data() + piece_head);
    put_head('B', digest_bytes, bytes.data() + digest_piece);
    std::copy_n(right, digest_bytes, bytes.data() + digest_piece + piece_head);
    return bytes;
}

class Hasher {
public:
    Hasher(const hash::Backend& backend, const MerkleForm& form)
        : node_(backend, form.node), root_(backend, form.root) {
        if (form.padding.size() != digest_bytes) throw InvalidArgument("padding: must have 32 bytes");
        std::ranges::copy(form.padding, padding_.begin());
    }

    // The digests of the leaves of one holder, one after the other.
    static void leaves(const Opening& opening, std::span<const std::uint8_t> shares, std::uint8_t* digests) {
        std::array<hash::LastBlocks, 2> blocks{};
        const std::size_t count = shares.size() / merkle_share_bytes;
        std::size_t index = 0;
        for (; index + 1 < count; index += 2) {
            const std::uint8_t* share = shares.data() + index * merkle_share_bytes;
            const LeafEnding one(index, share);
            const LeafEnding other(index + 1, share + merkle_share_bytes);
            opening.finish_two(one.span(), other.span(), blocks, digests + index * digest_bytes);
        }
        if (index < count) {
            const LeafEnding last(index, shares.data() + index * merkle_share_bytes);
            opening.finish(last.span(), blocks[0], digests + index * digest_bytes);
        }
        wipe(&blocks, sizeof blocks);
    }

    // From the `count` nodes of a level to those of the next, which may take their place.
    void ascend(const std::uint8_t* level, std::size_t count, const Digest& padding,
                std::uint8_t* next) const {
        std::array<hash::LastBlocks, 2> blocks{};
        const auto ending = [&](std::size_t parent) {
            const std::uint8_t* left = level + 2 * parent * digest_bytes;
            return node_ending(left, 2 * parent + 1 < count ? left + digest_bytes : padding.data());
        };
        const std::size_t parents = (count + 1) / 2;
        std::size_t parent = 0;
        for (; parent + 1 < parents; parent += 2) {
            node_.finish_two(ending(parent), ending(parent + 1), blocks, next + parent * digest_bytes);
        }
        if (parent < parents) node_.finish(ending(parent), blocks[0], next + parent * digest_bytes);
    }

    // The node over a subtree of padding, one level up.
    [[nodiscard]] Digest over(const Digest& padding) const { return node(padding.data(), padding.data()); }

    [[nodiscard]] Digest node(const std::uint8_t* left, const std::uint8_t* right) const {
        hash::LastBlocks blocks{};
        Digest digest;
        node_.finish(node_ending(left, right), blocks, digest.data());
        return digest;
    }

    void root(const std::uint8_t* top, std::uint8_t* digest) const {
        hash::LastBlocks blocks{};
        std::array<std::uint8_t, digest_piece> ending;
        put_head('B', digest_bytes, ending.data());
        std::copy_n(top, digest_bytes, ending.data() + piece_head);
        root_.finish(ending, blocks, digest);
    }

    [[nodiscard]] const Digest& padding() const noexcept { return padding_; }

private:
    Opening node_;
    Opening root_;
    Digest padding_{};
};

std::size_t count_of(std::span<const std::uint8_t> shares) {
    if (shares.empty() || shares.size() % merkle_share_bytes != 0) {
        throw InvalidArgument("shares: there must be at least one, of 32 bytes each");
    }
    return shares.size() / merkle_share_bytes;
}

}  // namespace

std::size_t merkle_depth(std::size_t leaves) noexcept {
    return leaves == 0 ? 0 : static_cast<std::size_t>(std::bit_width(leaves - 1));
}

void merkle_roots(std::span<const std::uint8_t> shares,
                  std::span<const std::span<const std::uint8_t>> openings, const MerkleForm& form,
                  std::span<std::uint8_t> roots, std::optional<std::size_t> threads) {
    const std::size_t wanted = threads ? *threads : default_threads();
    if (wanted == 0) throw InvalidArgument("threads: must be at least 1");
    const hash::Backend& backend = hash::current();
    const Hasher hasher(backend, form);
    const std::size_t holders = openings.size();
    if (roots.size() != holders * digest_bytes)
        throw InvalidArgument("roots: must have a digest for each row");
    if (holders == 0) return;
    const std::size_t leaves = count_of(shares) / holders;
    if (leaves == 0 || shares.size() != holders * leaves * merkle_share_bytes) {
        throw InvalidArgument("shares: each row must have as many, at least one");
    }
    const std::size_t depth = merkle_depth(leaves);
    std::vector<Digest> paddings = {hasher.padding()};
    while (paddings.size() < depth) paddings.push_back(hasher.over(paddings.back()));

    const std::size_t workers =
        std::clamp<std::size_t>(holders * leaves / worth_a_thread, 1, std::min(wanted, holders));
    const std::size_t part = (holders - 1) / workers + 1;  // rows a worker
    std::vector<std::uint8_t> nodes(workers * leaves * digest_bytes);
    const auto plant = [&](std::size_t worker) noexcept {
        std::uint8_t* level = nodes.data() + worker * leaves * digest_bytes;
        for (std::size_t row = worker * part; row < std::min(holders, (worker + 1) * part); ++row) {
            const std::size_t row_bytes = leaves * merkle_share_bytes;
            Hasher::leaves(Opening(backend, openings[row]), shares.subspan(row * row_bytes, row_bytes),
                           level);
            std::size_t count = leaves;
            for (std::size_t height = 0; height < depth; ++height, count = (count + 1) / 2) {
                hasher.ascend(level, count, paddings[height], level);
            }
            hasher.root(level, roots.data() + row * digest_bytes);
        }
    };
    std::vector<std::jthread> others;
    others.reserve(workers);
    for (std::size_t worker = 1; worker < workers; ++worker) {
        try {
            others.emplace_back(plant, worker);
        } catch (const std::system_error&) {
            plant(worker);  // the system gives no more threads
        }
    }
    plant(0);
}

void merkle_paths(std::span<const std::uint8_t> shares, std::span<const std::uint8_t> opening,
                  const MerkleForm& form, std::span<const std::uint64_t> wanted, std::span<std::uint8_t> root,
                  std::span<std::uint8_t> paths) {
    const hash::Backend& backend = hash::current();
    const Hasher hasher(backend, form);
    const std::size_t leaves = count_of(shares);
    const std::size_t depth = merkle_depth(leaves);
    if (root.size() != digest_bytes) throw InvalidArgument("root: must have 32 bytes");
    if (paths.size() != wanted.size() * depth * digest_bytes) {
        throw InvalidArgument("paths: must have room for each wanted path");
    }
    for (const std::uint64_t index : wanted) {
        if (index >= leaves) throw InvalidArgument("wanted: an index is beyond the last share");
    }
    std::vector<std::uint8_t> level(leaves * digest_bytes);
    Hasher::leaves(Opening(backend, opening), shares, level.data());
    Digest padding = hasher.padding();
    std::size_t count = leaves;
    for (std::size_t height = 0; height < depth; ++height, count = (count + 1) / 2) {
        for (std::size_t k = 0; k < wanted.size(); ++k) {
            const std::uint64_t sibling = (wanted[k] >> height) ^ 1;
            std::copy_n(sibling < count ? level.data() + sibling * digest_bytes : padding.data(),
                        digest_bytes, paths.data() + (k * depth + height) * digest_bytes);
        }
        hasher.ascend(level.data(), count, padding, level.data());
        padding = hasher.over(padding);
    }
    hasher.root(level.data(), root.data());
}

void merkle_climb(std::span<const std::uint8_t> shares, std::span<const std::uint8_t> opening,
                  const MerkleForm& form, std::span<const std::uint64_t> indices,
                  std::span<const std::uint8_t> paths, std::size_t depth, std::span<std::uint8_t> roots) {
    const hash::Backend& backend = hash::current();
    const Hasher hasher(backend, form);
    const Opening start(backend, opening);
    if (shares.size() != indices.size() * merkle_share_bytes) {
        throw InvalidArgument("shares: must be as many as the indices, of 32 bytes each");
    }
    if (paths.size() != indices.size() * depth * digest_bytes) {
        throw InvalidArgument("paths: must have `depth` digests for each index");
    }
    if (roots.size() != indices.size() * digest_bytes) {
        throw InvalidArgument("roots: must have a digest for each index");
    }
    hash::LastBlocks blocks{};
    for (std::size_t k = 0; k < indices.size(); ++k) {
        const LeafEnding ending(indices[k], shares.data() + k * merkle_share_bytes);
        Digest at;
        start.finish(ending.span(), blocks, at.data());
        for (std::size_t height = 0; height < depth; ++height) {
            const std::uint8_t* sibling = paths.data() + (k * depth + height) * digest_bytes;
            const bool right = height < 64 && ((indices[k] >> height) & 1) != 0;
            at = right ? hasher.node(sibling, at.data()) : hasher.node(at.data(), sibling);
        }
        hasher.root(at.data(), roots.data() + k * digest_bytes);
    }
    wipe(&blocks, sizeof blocks);
}

}  // namespace sordino
