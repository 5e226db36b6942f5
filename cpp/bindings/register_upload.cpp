// SPDX-License-Identifier: Apache-2.0

#include "sordino/upload.hpp"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <variant>

#include "arguments.hpp"
#include "format.hpp"
#include "register.hpp"
#include "sordino/error.hpp"
#include "streams.hpp"

namespace sordino::bindings {
namespace {

using AnySource = std::variant<std::unique_ptr<Source<float>>, std::unique_ptr<Source<double>>>;

// A file that says that it cannot, or that holds text, is refused before anything moves.
void require_binary(const py::object& file, const char* name, const char* able) {
    if (py::isinstance(file, py::module_::import("io").attr("TextIOBase"))) {
        throw InvalidArgument(std::string(name) + ": must be a binary file");
    }
    if (py::hasattr(file, able) && !file.attr(able)().cast<bool>()) {
        throw InvalidArgument(std::string(name) + ": must be " + able);
    }
}

AnySource open_source(const py::object& object, const py::object& count, const py::object& dtype) {
    if (py::isinstance<py::array>(object)) {
        if (!count.is_none()) throw InvalidArgument("count: an array has its own");
        if (!dtype.is_none()) throw InvalidArgument("dtype: an array has its own");
        const bool shared = is_shared_mapping(object);
        return std::visit(
            [&]<typename Real>(std::span<const Real> values) -> AnySource {
                return std::make_unique<ArraySource<Real>>(values, shared);
            },
            reals(object, "source"));
    }
    if (!py::hasattr(object, "readinto")) {
        throw InvalidArgument("source: must be a NumPy array or a binary file with readinto()");
    }
    require_binary(object, "source", "readable");
    const std::uint64_t values = unsigned_integer(count, "count");
    const std::optional<py::dtype> kind = [&]() -> std::optional<py::dtype> {
        try {
            return py::dtype::from_args(dtype);
        } catch (py::error_already_set&) {
            return std::nullopt;
        }
    }();
    if (!dtype.is_none() && kind) {
        if (kind->is(py::dtype::of<float>())) return std::make_unique<FileSource<float>>(object, values);
        if (kind->is(py::dtype::of<double>())) return std::make_unique<FileSource<double>>(object, values);
    }
    throw InvalidArgument("dtype: must be float32 or float64, of this machine's byte order");
}

// A mapping says its file's name, an open file its number; os.stat takes either.
py::object file_of(const py::object& end) {
    if (py::hasattr(end, "fileno")) return end.attr("fileno")();
    const py::object mapping = mapping_of(end);
    return mapping.is_none() ? mapping : mapping.attr("filename");
}

bool is_same_file(const py::object& source, const py::object& sink) {
    try {
        const py::object one = file_of(source);
        const py::object other = file_of(sink);
        if (one.is_none() || other.is_none()) return false;
        return py::module_::import("os.path").attr("samefile")(one, other).cast<bool>();
    } catch (py::error_already_set&) {
        return false;  // a file in memory has no number, one that was deleted no name
    }
}

void write(py::object source_object, py::object sink_object, py::object bits, py::object clip,
           py::object scale, py::object weight, bool saturate, py::object add_object,
           py::object subtract_object, py::object mask_stream, py::object mask_offset, py::object l2_bound,
           py::object rounding_seed, py::object stream, py::object offset, py::object count, py::object dtype,
           py::object threads) {
    const AnySource source = open_source(source_object, count, dtype);
    const Format format(clip, scale, weight, saturate, l2_bound, rounding_seed, stream, offset);
    const Bytes add(add_object, "add");
    const Bytes subtract(subtract_object, "subtract");
    const Upload upload{
        .format = format.get(),
        .bits = bit_count(bits, "bits"),
        .add = add.span(),
        .subtract = subtract.span(),
        .stream = unsigned_integer(mask_stream, "mask_stream"),
        .offset = unsigned_integer(mask_offset, "mask_offset"),
        .threads = thread_number(threads),
    };
    if (is_same_file(source_object, sink_object)) {
        throw InvalidArgument("sink: must not be the file of the source");
    }
    std::optional<Bytes> buffer;
    std::unique_ptr<Sink> sink;
    if (PyObject_CheckBuffer(sink_object.ptr()) != 0) {
        buffer.emplace(sink_object, "sink", Access::write);
        if (py::isinstance<py::array>(source_object)) {
            std::visit([&](auto span) { require_disjoint(span, buffer->writable(), "source"); },
                       reals(source_object, "source"));
        }
        require_disjoint(add.span(), buffer->writable(), "add");
        require_disjoint(subtract.span(), buffer->writable(), "subtract");
        format.require_disjoint_from(buffer->writable());
        sink = std::make_unique<ArraySink>(buffer->writable(), is_shared_mapping(sink_object));
    } else if (py::hasattr(sink_object, "write")) {
        require_binary(sink_object, "sink", "writable");
        sink = std::make_unique<CallableSink>(sink_object.attr("write"), true);
    } else if (PyCallable_Check(sink_object.ptr()) != 0) {
        sink = std::make_unique<CallableSink>(sink_object, false);
    } else {
        throw InvalidArgument("sink: must be a writable buffer of bytes, a binary file or a callable");
    }
    std::visit(
        [&](const auto& values) {
            const py::gil_scoped_release released;
            write_upload(*values, *sink, upload);
        },
        source);
}

}  // namespace

void register_upload(py::module_& module) {
    module.def("write_upload", &write, py::arg("source"), py::arg("sink"), py::kw_only(), py::arg("bits"),
               py::arg("clip"), py::arg("scale"), py::arg("weight"), py::arg("saturate"),
               py::arg("add") = py::bytes(), py::arg("subtract") = py::bytes(), py::arg("mask_stream") = 0,
               py::arg("mask_offset") = 0, py::arg("l2_bound") = py::none(),
               py::arg("rounding_seed") = py::none(), py::arg("stream") = 0, py::arg("offset") = 0,
               py::arg("count") = py::none(), py::arg("dtype") = py::none(), py::arg("threads") = py::none(),
               "Encode, mask and pack a vector in chunks.");
}

}  // namespace sordino::bindings
