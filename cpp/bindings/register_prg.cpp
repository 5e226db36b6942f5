// SPDX-License-Identifier: Apache-2.0

#include <string>

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"

namespace sordino::bindings {
namespace {

py::tuple backend_names() {
    py::list names;
    for (const std::string_view name : backends()) names.append(std::string(name));
    return py::tuple(names);
}

void select(py::object name) {
    if (!name.is_none() && !py::isinstance<py::str>(name))
        throw InvalidArgument("name: must be a str or None");
    select_backend(name.is_none() ? std::string() : name.cast<std::string>());
}

void write_keystream(py::object seed_object, py::object out_object, py::object stream, py::object offset) {
    const Bytes seed_view(seed_object, "seed");
    const Bytes out(out_object, "out", Access::write);
    const Seed key = seed(seed_view, "seed");
    const Position position = byte_position(unsigned_integer(stream, "stream"), offset, "offset");
    require_disjoint(key, out.writable(), "seed");
    const py::gil_scoped_release released;
    keystream(key, out.writable(), position);
}

}  // namespace

void register_prg(py::module_& module) {
    module.def("backends", &backend_names, "PRG implementations that this CPU can run, fastest first.");
    module.def("backend", [] { return std::string(backend()); }, "The PRG implementation in use.");
    module.def("select_backend", &select, py::arg("name"),
               "Choose a PRG implementation for tests and measurements; None chooses afresh.");
    module.def("keystream", &write_keystream, py::arg("seed"), py::arg("out"), py::kw_only(),
               py::arg("stream") = 0, py::arg("offset") = 0, "Fill out with AES-256-CTR keystream.");
}

}  // namespace sordino::bindings
