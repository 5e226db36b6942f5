// SPDX-License-Identifier: Apache-2.0

// Prints the backend in use, or why there is none.
#include <cstdlib>
#include <iostream>

#include "sordino/error.hpp"
#include "sordino/prg.hpp"

int main() {
    try {
        std::cout << sordino::backend() << '\n';
        return EXIT_SUCCESS;
    } catch (const sordino::InvalidArgument& error) {
        std::cerr << error.what() << '\n';
        return EXIT_FAILURE;
    }
}
