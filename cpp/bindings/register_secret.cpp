// SPDX-License-Identifier: Apache-2.0

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/error.hpp"
#include "sordino/secret.hpp"

namespace sordino::bindings {
namespace {

// Any element type will do: zero is zero.
void wipe_buffer(py::object buffer) {
    Py_buffer view;
    if (PyObject_GetBuffer(buffer.ptr(), &view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE) != 0) {
        PyErr_Clear();
        throw InvalidArgument("buffer: must be a writable, C-contiguous buffer");
    }
    {
        const py::gil_scoped_release released;
        wipe(view.buf, static_cast<std::size_t>(view.len));
    }
    PyBuffer_Release(&view);
}

}  // namespace

void register_secret(py::module_& module) {
    module.def("wipe", &wipe_buffer, py::arg("buffer"), "Zero a writable buffer.");
}

}  // namespace sordino::bindings
