// SPDX-License-Identifier: Apache-2.0

// A control for constant_time.cpp: it looks a secret up in a table, as S-boxes often are. memcheck has to
// reject it.
#include <valgrind/memcheck.h>

#include <array>
#include <cstdint>

int main() {
    static std::array<volatile std::uint8_t, 256> table{};
    [[maybe_unused]] volatile std::uint8_t kept = 0;  // valgrind drops a load that nobody needs
    std::uint8_t secret = 7;
    VALGRIND_MAKE_MEM_UNDEFINED(&secret, sizeof secret);
    kept = table[secret];
}
