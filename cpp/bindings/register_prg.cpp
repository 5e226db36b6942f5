#include <optional>
#include <string>

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/prg.hpp"

namespace sordino::bindings {
namespace {

py::tuple backend_names() {
    py::list names;
    for (const std::string_view name : backends()) names.append(std::string(name));
    return py::tuple(names);
}

void select(const std::optional<std::string>& name) {
    select_backend(name ? *name : std::string());
}

void write_keystream(py::object seed_object, py::object out_object, py::object stream, py::object offset) {
    const Bytes seed_view(seed_object, "seed");
    const Bytes out(out_object, "out", Access::write);
    const Seed key = seed(seed_view, "seed");
    const std::uint64_t stream_id = unsigned_integer(stream, "stream");
    const std::uint64_t first = unsigned_integer(offset, "offset");
    require_disjoint(key, out.writable(), "seed");
    const py::gil_scoped_release released;
    keystream(key, out.writable(), stream_id, first);
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
