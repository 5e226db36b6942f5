// SPDX-License-Identifier: Apache-2.0

#include "sordino/clip.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>
#include <string>
#include <type_traits>

#include "codec/backend.hpp"
#include "encoder.hpp"
#include "sordino/error.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

// The exact sum of the squares of integers in two's complement. It cannot pass 2^128: the integers come from
// values clipped to ceil(bound * scale) < 2^63 in norm, and rounding adds at most sqrt(2^32) to that.
template <typename Lane>
SquaredNorm square_sum(const codec::Backend& backend, std::span<const Lane> lanes) noexcept {
    if constexpr (std::is_same_v<Lane, std::uint32_t>) {
        const codec::SquareSum sum = backend.integer_square_sum(lanes.data(), lanes.size());
        return (SquaredNorm{sum.high} << 32) + sum.low;
    } else {
        SquaredNorm sum = 0;
        for (const Lane lane : lanes) {
            const Lane magnitude = lane >> 63 != 0 ? Lane{0} - lane : lane;
            sum += SquaredNorm{magnitude} * magnitude;
        }
        return sum;
    }
}

template <typename Real, typename Lane>
class RowClipper {
public:
    RowClipper(std::span<const Real> rows, std::span<Lane> lanes, const RowClip& clip)
        : backend_(codec::current()), rows_(rows), lanes_(lanes), clip_(clip) {
        if (!clip.rounding) return;
        words_.emplace(prg::current(), clip.rounding->seed, clip.rounding->stream);
        offset_ = clip.rounding->offset;
    }

    // Rows [first, first + count), on one thread.
    void run(std::uint64_t first, std::uint64_t count, RowCounts& counts) noexcept {
        Scratch<Lane, tile> scratch;
        Scratch<Lane, tile> own;  // the thread's sum, where a row is no longer than a tile
        std::fill_n(own.lanes, tile, Lane{0});
        RowCounts mine;
        for (std::uint64_t i = first; i < first + count; ++i) add_row(i, scratch, own.lanes, mine);
        if (lanes_.size() <= tile) add(0, {own.lanes, lanes_.size()});
        const std::scoped_lock lock(locks_[0]);
        counts.clipped += mine.clipped;
        counts.left_out += mine.left_out;
        counts.truncated += mine.truncated;
    }

private:
    static constexpr std::size_t tile = lanes_per_tile<Lane>;
    using Room = Scratch<Lane, tile>;

    // One way to round a row: every tile of it can be made again.
    struct Rounding {
        codec::Encoding encoding;
        unsigned attempt = 0;
        bool truncates = false;
    };

    void add_row(std::uint64_t index, Room& room, Lane* own, RowCounts& counts) noexcept {
        const std::span<const Real> row = rows_.subspan(index * lanes_.size(), lanes_.size());
        const double norm = norm_over<Real>(
            [&](const auto& work) { work(row, 0); },
            [&](std::span<const Real> values, double sum) { return add_squares(backend_, values, sum); });
        if (std::isnan(norm)) {
            ++counts.left_out;
            return;
        }
        if (norm > clip_.bound) ++counts.clipped;
        Rounding rounding{.encoding = {.factor = norm > clip_.bound ? clip_.bound / norm : 1.0,
                                       .clip = clip_.bound,
                                       .scale = clip_.scale,
                                       .weight = 1,
                                       .bounded = true}};
        const unsigned attempts = words_ ? rounding_attempts : 1;  // to nearest there is nothing to repeat
        while (rounding.attempt < attempts && !fits(row, index, rounding, room)) ++rounding.attempt;
        if (rounding.attempt == attempts) {
            // Toward zero no integer is larger than its value, so the integers' norm is below the values',
            // which is bound * scale but for rounding errors. Those are below 2^-31 of it: the norm's sum has
            // at most 2^20 blocks and 2^8 additions in each, and three products follow. So with a factor that
            // is smaller by 2^-30 the squared norm is below (bound * scale)^2 < limit + 1, and as an integer
            // at most the limit. It is checked all the same: a bound among subnormal numbers has larger
            // errors.
            ++counts.truncated;
            rounding.truncates = true;
            rounding.encoding.factor *= 1 - 0x1p-30;
            if (!fits(row, index, rounding, room)) {
                ++counts.left_out;
                return;
            }
        }
        if (row.size() <= tile) {  // still in the room
            for (std::size_t j = 0; j < row.size(); ++j) own[j] += room.lanes[j];
            return;
        }
        for (std::size_t j = 0; j < row.size(); j += tile) {
            add(j, round_tile(row, index, j, rounding, room));
        }
    }

    // The order of l2_norm().
    static double add_squares(const codec::Backend& backend, std::span<const Real> values,
                              double sum) noexcept {
        for (std::size_t i = 0; i < values.size(); i += square_block) {
            sum += backend.readers<Real>().square_sum(values.data() + i,
                                                      std::min(square_block, values.size() - i));
        }
        return sum;
    }

    bool fits(std::span<const Real> row, std::uint64_t index, const Rounding& rounding, Room& room) noexcept {
        SquaredNorm sum = 0;
        for (std::size_t j = 0; j < row.size() && sum <= clip_.limit; j += tile) {
            sum += square_sum<Lane>(backend_, round_tile(row, index, j, rounding, room));
        }
        return sum <= clip_.limit;
    }

    // The integers of the tile that begins at column j.
    std::span<const Lane> round_tile(std::span<const Real> row, std::uint64_t index, std::size_t j,
                                     const Rounding& rounding, Room& room) noexcept {
        const std::span<const Real> values = row.subspan(j, std::min(tile, row.size() - j));
        const auto& encoders = backend_.encoders<Real, Lane>();
        if (rounding.truncates) {
            for (std::size_t i = 0; i < values.size(); ++i) {
                const double value = static_cast<double>(values[i]) * rounding.encoding.factor;
                const double y = std::clamp(value, -clip_.bound, clip_.bound) * clip_.scale;
                room.lanes[i] = static_cast<Lane>(static_cast<std::int64_t>(y));
            }
        } else if (!words_) {
            encoders.nearest(values.data(), room.lanes, values.size(), rounding.encoding);
        } else {
            const std::uint64_t stride = row.size() + row.size() % 2;
            const std::uint64_t start = (offset_ + index) * stride + j;
            for (std::size_t i = 0; i < values.size(); i += values_per_step) {
                const std::size_t count = std::min(values_per_step, values.size() - i);
                const std::uint64_t* random = words_->read(start + i, count, room.words, rounding.attempt);
                encoders.stochastic(values.data() + i, random, room.lanes + i, count, rounding.encoding);
            }
        }
        return {room.lanes, values.size()};
    }

    // Sums commute, so the order in which threads come changes nothing.
    void add(std::size_t j, std::span<const Lane> tile_lanes) noexcept {
        const std::scoped_lock lock(locks_[j / tile % locks_.size()]);
        for (std::size_t i = 0; i < tile_lanes.size(); ++i) lanes_[j + i] += tile_lanes[i];
    }

    const codec::Backend& backend_;
    std::span<const Real> rows_;
    std::span<Lane> lanes_;
    RowClip clip_;
    std::optional<RoundingWords> words_;
    std::uint64_t offset_ = 0;  // of the first row
    std::array<std::mutex, 64> locks_;
};

void check_clip(const RowClip& clip, std::size_t values, std::size_t columns, unsigned bits) {
    check_positive("bound", clip.bound);
    check_positive("scale", clip.scale);
    if (!(std::ceil(clip.bound * clip.scale) < std::ldexp(1.0, static_cast<int>(bits) - 1))) {
        throw ValueOutOfRange("bound: ceil(bound * scale) does not fit a signed lane of " +
                              std::to_string(bits) + " bits");
    }
    if (columns == 0) throw InvalidArgument("lanes: must not be empty");
    if (columns > std::numeric_limits<std::uint32_t>::max()) {
        throw InvalidArgument("lanes: must be fewer than 2**32");
    }
    if (values % columns != 0) throw InvalidArgument("rows: must be as long as the lanes");
    // With some room for the rounding errors of whoever computed the limit; rounding toward zero has more.
    const double square = clip.bound * clip.scale * (clip.bound * clip.scale);
    const auto limit = static_cast<double>(clip.limit);
    const bool holds = limit >= square * (1 - 0x1p-50) || limit + 1 > square;
    if (!holds) {
        throw InvalidArgument("limit: must be at least (bound * scale)**2, rounded down");
    }
    if (!clip.rounding) return;
    constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();
    if (clip.rounding->stream > top - (rounding_attempts - 1)) {
        throw InvalidArgument("stream: the attempts would pass stream 2**64");
    }
    const std::uint64_t rows = values / columns;
    const std::uint64_t stride = columns + columns % 2;
    if (rows > top - clip.rounding->offset || clip.rounding->offset + rows > top / stride) {
        throw InvalidArgument("offset: the rows would pass word 2**64");
    }
}

template <typename Real, typename Lane>
RowCounts run(std::span<const Real> rows, std::span<Lane> lanes, const RowClip& clip,
              std::optional<std::size_t> threads) {
    check_clip(clip, rows.size(), lanes.size(), std::numeric_limits<Lane>::digits);
    const std::size_t workers = thread_count(threads);
    RowClipper<Real, Lane> clipper(rows, lanes, clip);
    RowCounts counts;
    const std::size_t patients = rows.size() / lanes.size();
    // A part a thread, since each costs a sum of its own.
    for_each_part(
        patients, patients / workers + 1, workers,
        [&](std::uint64_t first, std::uint64_t count) noexcept { clipper.run(first, count, counts); });
    return counts;
}

}  // namespace

RowCounts clip_accumulate(std::span<const float> rows, std::span<std::uint32_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads) {
    return run(rows, lanes, clip, threads);
}

RowCounts clip_accumulate(std::span<const float> rows, std::span<std::uint64_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads) {
    return run(rows, lanes, clip, threads);
}

RowCounts clip_accumulate(std::span<const double> rows, std::span<std::uint32_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads) {
    return run(rows, lanes, clip, threads);
}

RowCounts clip_accumulate(std::span<const double> rows, std::span<std::uint64_t> lanes, const RowClip& clip,
                          std::optional<std::size_t> threads) {
    return run(rows, lanes, clip, threads);
}

}  // namespace sordino
