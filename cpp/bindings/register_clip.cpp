// SPDX-License-Identifier: Apache-2.0

#include <optional>
#include <string>
#include <variant>

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/clip.hpp"
#include "sordino/error.hpp"

namespace sordino::bindings {
namespace {

SquaredNorm squared_norm(py::handle object, const char* name) {
    const py::object value = integer(object, name);
    const unsigned long long low = PyLong_AsUnsignedLongLongMask(value.ptr());
    const unsigned long long high = PyLong_AsUnsignedLongLong((value >> py::int_(64)).ptr());
    if (PyErr_Occurred() != nullptr) {
        PyErr_Clear();
        throw InvalidArgument(std::string(name) + ": must be between 0 and 2**128 - 1");
    }
    return (SquaredNorm{high} << 64) | low;
}

RowCounts accumulate(py::object rows_object, py::object lanes_object, py::object bound, py::object scale,
                     py::object limit, py::object rounding_seed, py::object stream, py::object offset,
                     py::object threads) {
    const Rows matrix = rows(rows_object, "rows");
    const Lanes target = lanes(lanes_object, "lanes", Access::write);
    RowClip clip{
        .bound = real(bound, "bound"), .scale = real(scale, "scale"), .limit = squared_norm(limit, "limit")};
    const std::uint64_t stream_id = unsigned_integer(stream, "stream");
    const std::uint64_t first = unsigned_integer(offset, "offset");
    std::optional<Bytes> seed_view;
    if (!rounding_seed.is_none()) {
        seed_view.emplace(rounding_seed, "rounding_seed");
        clip.rounding = StochasticRounding{seed(*seed_view, "rounding_seed"), stream_id, first};
    }
    const std::optional<std::size_t> wanted = thread_number(threads);
    return std::visit(
        [&](auto source, auto sink) {
            if (matrix.columns != sink.size()) throw InvalidArgument("rows: must be as long as the lanes");
            require_disjoint(source, sink, "rows");
            if (clip.rounding) require_disjoint(clip.rounding->seed, sink, "rounding_seed");
            const py::gil_scoped_release released;
            return clip_accumulate(source, sink, clip, wanted);
        },
        matrix.values, target);
}

}  // namespace

void register_clip(py::module_& module) {
    py::class_<RowCounts>(module, "RowCounts")
        .def_readonly("clipped", &RowCounts::clipped)
        .def_readonly("left_out", &RowCounts::left_out)
        .def_readonly("truncated", &RowCounts::truncated);
    module.def("clip_accumulate", &accumulate, py::arg("rows"), py::arg("lanes"), py::kw_only(),
               py::arg("bound"), py::arg("scale"), py::arg("limit"), py::arg("rounding_seed") = py::none(),
               py::arg("stream") = 0, py::arg("offset") = 0, py::arg("threads") = py::none(),
               "Clip each row to an L2 norm, round it, and add its integers to the lanes.");
}

}  // namespace sordino::bindings
