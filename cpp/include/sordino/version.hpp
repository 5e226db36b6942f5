// The version of the library and of the Python package: this line is the only place that states it.
#pragma once

#include <string_view>

namespace sordino {

inline constexpr std::string_view version_string = "0.1.0";

}  // namespace sordino
