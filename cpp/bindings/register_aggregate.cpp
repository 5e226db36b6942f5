// SPDX-License-Identifier: Apache-2.0

#include "sordino/aggregate.hpp"

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/error.hpp"

namespace sordino::bindings {
namespace {

void sum(py::object payloads_object, py::object lanes_object, py::object bits, py::object add_object,
         py::object subtract_object, py::object threads) {
    if (PySequence_Check(payloads_object.ptr()) == 0) {
        throw InvalidArgument("payloads: must be a sequence of buffers");
    }
    std::deque<Bytes> views;  // which neither copy nor move
    std::vector<Payload> payloads;
    for (const py::handle item : payloads_object) {
        const std::string name = "payloads[" + std::to_string(payloads.size()) + "]";
        payloads.push_back(views.emplace_back(item, name.c_str()).span());
    }
    const Lanes target = lanes(lanes_object, "lanes", Access::write);
    const unsigned bit_number = bit_count(bits, "bits");
    const Bytes add(add_object, "add");
    const Bytes subtract(subtract_object, "subtract");
    const std::optional<std::size_t> thread_count = thread_number(threads);
    std::visit(
        [&](auto span) {
            for (const Payload payload : payloads) require_disjoint(payload, span, "payloads");
            require_disjoint(add.span(), span, "add");
            require_disjoint(subtract.span(), span, "subtract");
            const py::gil_scoped_release released;
            sum_uploads(payloads, span, bit_number, add.span(), subtract.span(), thread_count);
        },
        target);
}

}  // namespace

void register_aggregate(py::module_& module) {
    module.def("sum_uploads", &sum, py::arg("payloads"), py::arg("lanes"), py::kw_only(), py::arg("bits"),
               py::arg("add"), py::arg("subtract"), py::arg("threads") = py::none(),
               "Sum packed uploads and take masks off, in one pass.");
}

}  // namespace sordino::bindings
