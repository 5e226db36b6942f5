// SPDX-License-Identifier: Apache-2.0

// A control for constant_time.cpp: it compares a secret and stops at the first difference, as memcmp may.
// memcheck has to reject it.
#include <valgrind/memcheck.h>

#include <array>
#include <cstddef>
#include <cstdint>

int main() {
    std::array<std::uint8_t, 32> secret{};
    VALGRIND_MAKE_MEM_UNDEFINED(secret.data(), secret.size());
    volatile std::size_t equal = 0;
    for (const std::uint8_t byte : secret) {
        if (byte != 0) break;
        equal = equal + 1;
    }
}
