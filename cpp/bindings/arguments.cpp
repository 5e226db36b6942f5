// SPDX-License-Identifier: Apache-2.0

#include "arguments.hpp"

#include <functional>
#include <limits>
#include <string>

#include "sordino/error.hpp"

namespace sordino::bindings {
namespace {

[[noreturn]] void refuse(const char* name, const std::string& reason) {
    throw InvalidArgument(std::string(name) + ": " + reason);
}

py::array plain_array(py::handle object, const char* name, Access access, py::ssize_t dimensions = 1) {
    if (!py::isinstance<py::array>(object)) refuse(name, "must be a NumPy array");
    auto array = py::reinterpret_borrow<py::array>(object);
    if (array.ndim() != dimensions) {
        refuse(name, dimensions == 1 ? "must have one dimension" : "must have two dimensions");
    }
    if ((array.flags() & py::array::c_style) == 0) refuse(name, "must be C-contiguous");
    if ((array.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) == 0) refuse(name, "must be aligned");
    if (access == Access::write && !array.writeable()) refuse(name, "must be writable");
    return array;
}

template <typename T>
std::span<T> elements(const py::array& array) {
    // NumPy owns the memory without a type; `plain_array` and the dtype check make this cast true.
    return {static_cast<T*>(const_cast<void*>(array.data())), static_cast<std::size_t>(array.size())};
}

}  // namespace

Bytes::Bytes(py::handle object, const char* name, Access access) {
    const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (access == Access::write ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) {
        PyErr_Clear();
        refuse(name, access == Access::write ? "must be a writable, C-contiguous buffer"
                                             : "must be a C-contiguous buffer of bytes");
    }
    if (view_.itemsize != 1) {
        PyBuffer_Release(&view_);
        refuse(name, "must be a buffer of single bytes");
    }
}

Lanes lanes(py::handle object, const char* name, Access access) {
    const py::array array = plain_array(object, name, access);
    if (py::isinstance<py::array_t<std::uint32_t>>(array)) return elements<std::uint32_t>(array);
    if (py::isinstance<py::array_t<std::uint64_t>>(array)) return elements<std::uint64_t>(array);
    refuse(name, "must have dtype uint32 or uint64");
}

Reals reals(py::handle object, const char* name) {
    const py::array array = plain_array(object, name, Access::read);
    if (py::isinstance<py::array_t<float>>(array)) return elements<const float>(array);
    if (py::isinstance<py::array_t<double>>(array)) return elements<const double>(array);
    refuse(name, "must have dtype float32 or float64");
}

Rows rows(py::handle object, const char* name) {
    const py::array array = plain_array(object, name, Access::read, 2);
    const auto columns = static_cast<std::size_t>(array.shape(1));
    if (py::isinstance<py::array_t<float>>(array)) return {elements<const float>(array), columns};
    if (py::isinstance<py::array_t<double>>(array)) return {elements<const double>(array), columns};
    refuse(name, "must have dtype float32 or float64");
}

Seed seed(const Bytes& bytes, const char* name) {
    if (bytes.span().size() != seed_bytes) {
        refuse(name, "must have 32 bytes, got " + std::to_string(bytes.span().size()));
    }
    return bytes.span().first<seed_bytes>();
}

py::object integer(py::handle object, const char* name) {
    if (PyIndex_Check(object.ptr()) == 0) refuse(name, "must be an integer");
    auto value = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
    if (!value) throw py::error_already_set();
    return value;
}

std::uint64_t unsigned_integer(py::handle object, const char* name) {
    const unsigned long long value = PyLong_AsUnsignedLongLong(integer(object, name).ptr());
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        refuse(name, "must be between 0 and 2**64 - 1");
    }
    return value;
}

Position byte_position(std::uint64_t stream, py::handle offset, const char* name) {
    const py::object bytes = integer(offset, name);
    const unsigned long long block = PyLong_AsUnsignedLongLong((bytes >> py::int_(4)).ptr());
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        refuse(name, "must be between 0 and 2**68 - 1");
    }
    return {.stream = stream, .block = block, .byte = (bytes & py::int_(15)).cast<unsigned>()};
}

unsigned bit_count(py::handle object, const char* name) {
    const std::uint64_t value = unsigned_integer(object, name);
    if (value < 1 || value > 64) refuse(name, "must be between 1 and 64, got " + std::to_string(value));
    return static_cast<unsigned>(value);
}

std::optional<std::size_t> thread_number(py::handle object) {
    if (object.is_none()) return std::nullopt;
    return unsigned_integer(object, "threads");
}

double real(py::handle object, const char* name) {
    const double value = PyFloat_AsDouble(object.ptr());
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        refuse(name, "must be a real number within a double's range");
    }
    return value;
}

void require_disjoint(std::span<const std::byte> source, std::span<const std::byte> sink, const char* name) {
    if (source.empty() || sink.empty()) return;
    const std::less<const std::byte*> before;  // a total order, also between unrelated objects
    const bool apart = !before(source.data(), sink.data() + sink.size()) ||
                       !before(sink.data(), source.data() + source.size());
    if (!apart) refuse(name, "must not share memory with the result");
}

}  // namespace sordino::bindings
