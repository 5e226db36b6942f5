// SPDX-License-Identifier: Apache-2.0

#include <pybind11/pybind11.h>

#include <string>

#include "register.hpp"
#include "sordino/version.hpp"

PYBIND11_MODULE(_core, module) {
    using namespace sordino::bindings;
    pybind11::options options;
    options.disable_function_signatures();  // _core.pyi states them, with the dtypes
    module.doc() = "Kernels of the secure sum. Arrays are never converted or copied; the GIL is released.";
    module.attr("__version__") = std::string(sordino::version_string);
    register_errors(module);
    register_prg(module);
    register_mask(module);
    register_aggregate(module);
    register_merkle(module);
    register_noise(module);
    register_codec(module);
    register_clip(module);
    register_upload(module);
    register_shamir(module);
    register_secret(module);
}
