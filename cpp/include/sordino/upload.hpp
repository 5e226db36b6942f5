// SPDX-License-Identifier: Apache-2.0

// A masked upload from end to end, tile by tile: values are encoded, masked and packed while they are in the
// cache. Only what a source and a sink keep is ever as large as the vector.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "sordino/codec.hpp"
#include "sordino/error.hpp"

namespace sordino {

// Where values come from, in order.
template <typename Real>
class Source {
public:
    virtual ~Source() = default;

    [[nodiscard]] virtual std::uint64_t size() const = 0;
    // The values [first, first + count), valid until the next call.
    virtual std::span<const Real> read(std::uint64_t first, std::size_t count) = 0;
    // Whether it can be read from the beginning a second time.
    [[nodiscard]] virtual bool repeats() const = 0;

protected:
    Source() = default;
    Source(const Source&) = default;
    Source& operator=(const Source&) = default;
};

// Where packed bytes go, in order.
class Sink {
public:
    virtual ~Sink() = default;

    // Room for the next bytes, valid until put(). Throws if there is not so much.
    virtual std::span<std::uint8_t> room(std::size_t bytes) = 0;
    // The room is filled.
    virtual void put() = 0;
    // The bytes that it takes in all, if that is fixed.
    [[nodiscard]] virtual std::optional<std::uint64_t> size() const = 0;

protected:
    Sink() = default;
    Sink(const Sink&) = default;
    Sink& operator=(const Sink&) = default;
};

template <typename Real>
class MemorySource : public Source<Real> {
public:
    explicit MemorySource(std::span<const Real> values) noexcept : values_(values) {}

    [[nodiscard]] std::uint64_t size() const override { return values_.size(); }
    std::span<const Real> read(std::uint64_t first, std::size_t count) override {
        return values_.subspan(first, count);
    }
    [[nodiscard]] bool repeats() const override { return true; }

private:
    std::span<const Real> values_;
};

class MemorySink : public Sink {
public:
    explicit MemorySink(std::span<std::uint8_t> bytes) noexcept : bytes_(bytes) {}

    std::span<std::uint8_t> room(std::size_t bytes) override {
        if (bytes > bytes_.size() - used_) throw InvalidArgument("sink: is too short");
        pending_ = bytes;
        return bytes_.subspan(used_, bytes);
    }
    void put() override { used_ += pending_; }
    [[nodiscard]] std::optional<std::uint64_t> size() const override { return bytes_.size(); }

private:
    std::span<std::uint8_t> bytes_;
    std::size_t used_ = 0;
    std::size_t pending_ = 0;
};

struct Upload {
    FixedPoint format;
    unsigned bits;  // a lane on the wire; lanes are of 32 bits, or of 64 above
    // 32-byte seeds, as add_masks() takes them.
    // NOLINTBEGIN(readability-redundant-member-init): without, designated initialisers warn
    std::span<const std::uint8_t> add = {};
    std::span<const std::uint8_t> subtract = {};
    // NOLINTEND(readability-redundant-member-init)
    std::uint64_t stream = 0;  // of the masks
    std::uint64_t offset = 0;  // index, in lanes, of the first value in the whole vector
    std::optional<std::size_t> threads = std::nullopt;
};

// Writes the payload pack(encode(values) + masks) in order, in chunks of whole bytes; only the last may end
// within one. Memory beyond the source's and the sink's is a few tiles a thread.
//
// Throws as encode_pack() and add_masks() do. Arguments, and the values where the source repeats, are checked
// before the sink is asked for room. A source that does not repeat is checked chunk by chunk as it comes;
// with an l2_bound, or a sink of fixed size, which could be left half-written, it is refused.
void write_upload(Source<float>& source, Sink& sink, const Upload& upload);
void write_upload(Source<double>& source, Sink& sink, const Upload& upload);

}  // namespace sordino
