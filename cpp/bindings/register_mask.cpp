// SPDX-License-Identifier: Apache-2.0

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/mask.hpp"

namespace sordino::bindings {
namespace {

void mask(py::object lanes_object, py::object add_object, py::object subtract_object, py::object stream,
          py::object offset, py::object threads) {
    const Lanes target = lanes(lanes_object, "lanes", Access::write);
    const Bytes add(add_object, "add");
    const Bytes subtract(subtract_object, "subtract");
    const MaskRange range{
        .stream = unsigned_integer(stream, "stream"),
        .offset = unsigned_integer(offset, "offset"),
        .threads = thread_number(threads),
    };
    std::visit(
        [&](auto span) {
            require_disjoint(add.span(), span, "add");
            require_disjoint(subtract.span(), span, "subtract");
            const py::gil_scoped_release released;
            add_masks(span, add.span(), subtract.span(), range);
        },
        target);
}

}  // namespace

void register_mask(py::module_& module) {
    module.def("default_threads", &default_threads, "How many threads a kernel takes that is not told.");
    module.def("add_masks", &mask, py::arg("lanes"), py::arg("add"), py::arg("subtract"), py::kw_only(),
               py::arg("stream") = 0, py::arg("offset") = 0, py::arg("threads") = py::none(),
               "Add and subtract the keystreams of many seeds, in place.");
}

}  // namespace sordino::bindings
