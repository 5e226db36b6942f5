// SPDX-License-Identifier: Apache-2.0

// The version of the library and of the Python package: these two lines are the only place that states it.
#pragma once

#include <string_view>

// major * 10000 + minor * 100 + patch, for the preprocessor.
#define SORDINO_VERSION 100

namespace sordino {

inline constexpr std::string_view version_string = "0.1.0";

}  // namespace sordino
