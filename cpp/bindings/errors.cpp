// SPDX-License-Identifier: Apache-2.0

// The one translation from C++ exceptions to the classes of sordino.errors.
#include "sordino/error.hpp"

#include <exception>

#include "register.hpp"

namespace sordino::bindings {
namespace {

namespace py = pybind11;

void raise(const char* name, const std::exception& error) {
    const py::object type = py::module_::import("sordino.errors").attr(name);
    py::set_error(type, error.what());
}

void translate(std::exception_ptr pointer) {
    // Most derived first. What is not ours falls through to pybind11's own translation.
    try {
        if (pointer) std::rethrow_exception(pointer);
    } catch (const ValueOutOfRange& error) {
        raise("ValueOutOfRange", error);
    } catch (const InvalidArgument& error) {
        raise("InvalidArgument", error);
    } catch (const LocalError& error) {
        raise("LocalError", error);
    } catch (const MalformedMessage& error) {
        raise("MalformedMessage", error);
    } catch (const PeerError& error) {
        raise("PeerError", error);
    } catch (const Error& error) {
        raise("SordinoError", error);
    }
}

}  // namespace

void register_errors(py::module_&) {
    py::register_local_exception_translator(translate);
}

}  // namespace sordino::bindings
