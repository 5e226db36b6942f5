// SPDX-License-Identifier: Apache-2.0

// From Python objects to spans, strictly: nothing is converted, nothing is copied, every refusal names the
// argument. Results borrow; they hold the object, so they must outlive the kernel and die under the GIL.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "sordino/prg.hpp"

namespace sordino::bindings {

namespace py = pybind11;

enum class Access { read, write };

// A C-contiguous buffer of single bytes: bytes, bytearray, memoryview, a uint8 array.
class Bytes {
public:
    Bytes(py::handle object, const char* name, Access access = Access::read);
    Bytes(const Bytes&) = delete;
    Bytes& operator=(const Bytes&) = delete;
    ~Bytes() { PyBuffer_Release(&view_); }

    [[nodiscard]] std::span<const std::uint8_t> span() const noexcept {
        return {static_cast<const std::uint8_t*>(view_.buf), static_cast<std::size_t>(view_.len)};
    }
    [[nodiscard]] std::span<std::uint8_t> writable() const noexcept {
        return {static_cast<std::uint8_t*>(view_.buf), static_cast<std::size_t>(view_.len)};
    }

private:
    Py_buffer view_{};
};

using Lanes = std::variant<std::span<std::uint32_t>, std::span<std::uint64_t>>;
using Reals = std::variant<std::span<const float>, std::span<const double>>;

// One-dimensional, C-contiguous, aligned arrays of the platform's byte order.
[[nodiscard]] Lanes lanes(py::handle object, const char* name, Access access);
[[nodiscard]] Reals reals(py::handle object, const char* name);

// A matrix, row by row.
struct Rows {
    Reals values;
    std::size_t columns;
};
[[nodiscard]] Rows rows(py::handle object, const char* name);

[[nodiscard]] Seed seed(const Bytes& bytes, const char* name);
[[nodiscard]] py::object integer(py::handle object, const char* name);  // by __index__, so no float
[[nodiscard]] std::uint64_t unsigned_integer(py::handle object, const char* name);
[[nodiscard]] Position byte_position(std::uint64_t stream, py::handle offset, const char* name);
[[nodiscard]] unsigned bit_count(py::handle object, const char* name);
[[nodiscard]] std::optional<std::size_t> thread_number(py::handle object);  // None: the kernel's default

// A float or an int; finite or not is the kernel's to say.
[[nodiscard]] double real(py::handle object, const char* name);

// Refuses memory that a kernel would read and write at once.
void require_disjoint(std::span<const std::byte> source, std::span<const std::byte> sink, const char* name);

template <typename Source, std::size_t length, typename Sink>
void require_disjoint(std::span<Source, length> source, std::span<Sink> sink, const char* name) {
    require_disjoint(std::span<const std::byte>(std::as_bytes(source)), std::as_bytes(sink), name);
}

}  // namespace sordino::bindings
