// SPDX-License-Identifier: Apache-2.0

#include "sordino/upload.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "codec/backend.hpp"
#include "encoder.hpp"
#include "packed_tile.hpp"
#include "sordino/codec.hpp"
#include "sordino/error.hpp"
#include "tile_masks.hpp"
#include "tiles.hpp"

namespace sordino {
namespace {

// Values a call of a source: enough for threads to be worth their start, little beside the vector.
constexpr std::size_t chunk_values = std::size_t{1} << 20;

template <typename Real, typename Lane>
class Pipeline {
public:
    Pipeline(const codec::Backend& backend, const codec::Encoding& encoding, const Upload& upload,
             const TileMasks<Lane>* masks, std::size_t threads)
        : backend_(backend),
          encode_tile_(backend, encoding, upload.format.rounding),
          masks_(masks),
          offset_(upload.offset),
          bits_(upload.bits),
          threads_(threads) {}

    // `first` is the index of the first value within the source; it and all but the last chunk's size are
    // multiples of a tile.
    void run(std::span<const Real> values, std::uint64_t first, std::uint8_t* out) const noexcept {
        constexpr std::size_t tile = lanes_per_tile<Lane>;
        for_each_part(values.size(), tile, threads_, [&](std::uint64_t begin, std::uint64_t count) noexcept {
            Scratch<Lane, tile> scratch;
            for (std::uint64_t i = begin; i < begin + count; i += tile) {
                const std::span<Lane> lanes(scratch.lanes, std::min<std::uint64_t>(tile, begin + count - i));
                encode_tile_(values.subspan(i, lanes.size()), first + i, lanes.data(), scratch.words);
                if (masks_ != nullptr) masks_->apply(lanes, offset_ + first + i);
                pack_tile(backend_, std::span<const Lane>(lanes), out + i / 8 * bits_, bits_);
            }
        });
    }

private:
    const codec::Backend& backend_;
    TileEncoder<Real, Lane> encode_tile_;
    const TileMasks<Lane>* masks_;
    std::uint64_t offset_;
    unsigned bits_;
    std::size_t threads_;
};

template <typename Real>
void encode_pack_any(std::span<const Real> values, std::span<std::uint8_t> out, const FixedPoint& format,
                     unsigned bits, std::optional<std::size_t> threads) {
    check_format(format, values.size(), bits);
    const std::size_t workers = thread_count(threads);
    if (out.size() != packed_size(values.size(), bits)) {
        throw InvalidArgument("out: must have packed_size(values, bits) bytes");
    }
    const codec::Backend& backend = codec::current();
    const codec::Encoding encoding = plan_encoding(backend, values, format, workers);
    const Upload upload{.format = format, .bits = bits};
    if (bits <= 32) {
        Pipeline<Real, std::uint32_t>(backend, encoding, upload, nullptr, workers).run(values, 0, out.data());
    } else {
        Pipeline<Real, std::uint64_t>(backend, encoding, upload, nullptr, workers).run(values, 0, out.data());
    }
}

template <typename Real, typename Lane>
void run(Source<Real>& source, Sink& sink, const Upload& upload) {
    const std::uint64_t size = source.size();
    check_format(upload.format, size, upload.bits);
    const std::size_t threads = thread_count(upload.threads);
    if (size > std::numeric_limits<std::uint64_t>::max() - upload.offset) {
        throw InvalidArgument("offset: the lanes would pass index 2**64");
    }
    const std::size_t bytes = packed_size(size, upload.bits);
    if (sink.size() && *sink.size() != bytes) {
        throw InvalidArgument("sink: must have " + std::to_string(bytes) + " bytes, not " +
                              std::to_string(*sink.size()));
    }
    const bool repeats = source.repeats();
    if (!repeats && sink.size()) {
        throw InvalidArgument("source: must be readable twice where the sink is memory");
    }
    if (!repeats && upload.format.l2_bound) {
        throw InvalidArgument("source: must be readable twice with an l2_bound");
    }
    const codec::Backend& backend = codec::current();
    const TileMasks<Lane> masks(upload.add, upload.subtract, upload.stream);
    const bool masked = !upload.add.empty() || !upload.subtract.empty();

    const auto over_chunks = [&](const auto& work) {
        for (std::uint64_t first = 0; first < size;) {
            const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(chunk_values, size - first));
            work(source.read(first, count), first);
            first += count;
        }
    };
    const auto check = [&](std::span<const Real> values, std::uint64_t first) {
        check_values(backend, values, upload.format, threads, first);
    };
    std::optional<double> norm;
    if (upload.format.l2_bound) {
        norm = norm_over<Real>(over_chunks, [&](std::span<const Real> values, double sum) {
            return add_squares(backend, values, threads, sum);
        });
        if (std::isnan(*norm)) over_chunks(check);
    } else if (repeats) {
        over_chunks(check);
    }
    const Pipeline<Real, Lane> pipeline(masked ? codec::beside_masks() : backend,
                                        encoding_of(upload.format, norm), upload, masked ? &masks : nullptr,
                                        threads);
    over_chunks([&](std::span<const Real> values, std::uint64_t first) {
        if (!repeats) check(values, first);
        const std::span<std::uint8_t> out = sink.room(packed_size(values.size(), upload.bits));
        pipeline.run(values, first, out.data());
        sink.put();
    });
}

template <typename Real>
void run_any(Source<Real>& source, Sink& sink, const Upload& upload) {
    upload.bits <= 32 ? run<Real, std::uint32_t>(source, sink, upload)
                      : run<Real, std::uint64_t>(source, sink, upload);
}

}  // namespace

void encode_pack(std::span<const float> values, std::span<std::uint8_t> out, const FixedPoint& format,
                 unsigned bits, std::optional<std::size_t> threads) {
    encode_pack_any(values, out, format, bits, threads);
}

void encode_pack(std::span<const double> values, std::span<std::uint8_t> out, const FixedPoint& format,
                 unsigned bits, std::optional<std::size_t> threads) {
    encode_pack_any(values, out, format, bits, threads);
}

void write_upload(Source<float>& source, Sink& sink, const Upload& upload) {
    run_any(source, sink, upload);
}

void write_upload(Source<double>& source, Sink& sink, const Upload& upload) {
    run_any(source, sink, upload);
}

}  // namespace sordino
