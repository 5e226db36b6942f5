// SPDX-License-Identifier: Apache-2.0

// What module.cpp registers, one topic a file.
#pragma once

#include <pybind11/pybind11.h>

namespace sordino::bindings {

void register_errors(pybind11::module_& module);
void register_prg(pybind11::module_& module);
void register_mask(pybind11::module_& module);
void register_aggregate(pybind11::module_& module);
void register_merkle(pybind11::module_& module);
void register_noise(pybind11::module_& module);
void register_codec(pybind11::module_& module);
void register_clip(pybind11::module_& module);
void register_upload(pybind11::module_& module);
void register_shamir(pybind11::module_& module);
void register_secret(pybind11::module_& module);

}  // namespace sordino::bindings
