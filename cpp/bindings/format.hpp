// SPDX-License-Identifier: Apache-2.0

// The arguments that say how values are encoded.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "arguments.hpp"
#include "sordino/codec.hpp"
#include "sordino/error.hpp"

namespace sordino::bindings {

// A weight outside int64 is a value out of range, as a negative one is; it is not a wrong type.
inline std::int64_t weight_of(py::handle object) {
    const long long value = PyLong_AsLongLong(integer(object, "weight").ptr());
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        throw ValueOutOfRange("weight: must fit a signed 64-bit integer");
    }
    return value;
}

// The arguments that make a FixedPoint, with the seed's buffer, which it borrows.
class Format {
public:
    Format(py::handle clip, py::handle scale, py::handle weight, bool saturate, py::handle l2_bound,
           py::handle rounding_seed, py::handle stream, py::handle offset)
        : format_{.clip = real(clip, "clip"),
                  .scale = real(scale, "scale"),
                  .weight = weight_of(weight),
                  .saturate = saturate} {
        if (!l2_bound.is_none()) format_.l2_bound = real(l2_bound, "l2_bound");
        const std::uint64_t stream_id = unsigned_integer(stream, "stream");
        const std::uint64_t first = unsigned_integer(offset, "offset");
        if (rounding_seed.is_none()) return;
        seed_.emplace(rounding_seed, "rounding_seed");
        format_.rounding = StochasticRounding{seed(*seed_, "rounding_seed"), stream_id, first};
    }

    [[nodiscard]] const FixedPoint& get() const noexcept { return format_; }

    template <typename Sink>
    void require_disjoint_from(std::span<Sink> sink) const {
        if (format_.rounding) require_disjoint(format_.rounding->seed, sink, "rounding_seed");
    }

private:
    FixedPoint format_;
    std::optional<Bytes> seed_;
};

}  // namespace sordino::bindings
