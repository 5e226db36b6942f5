// SPDX-License-Identifier: Apache-2.0

#include "sordino/secret.hpp"

#include <algorithm>
#include <cstring>

namespace sordino {

void wipe(void* data, std::size_t size) noexcept {
    if (size == 0) return;
    std::memset(data, 0, size);
    // The compiler has to assume that this reads the memory, so the store above has to happen.
    __asm__ __volatile__("" : : "r"(data) : "memory");
}

bool equal(std::span<const std::uint8_t> left, std::span<const std::uint8_t> right) noexcept {
    if (left.size() != right.size()) return false;
    std::uint8_t difference = 0;
    for (std::size_t i = 0; i < left.size(); ++i) {
        difference = static_cast<std::uint8_t>(difference | (left[i] ^ right[i]));
        __asm__ __volatile__("" : "+r"(difference));  // no early exit once the difference is known
    }
    return difference == 0;
}

Secret::Secret(std::span<const std::uint8_t, size> bytes) noexcept {
    std::ranges::copy(bytes, bytes_.begin());
}

Secret::Secret(Secret&& other) noexcept : bytes_(other.bytes_) {
    wipe(other.bytes_.data(), size);
}

Secret& Secret::operator=(Secret&& other) noexcept {
    if (this != &other) {
        bytes_ = other.bytes_;
        wipe(other.bytes_.data(), size);
    }
    return *this;
}

Secret::~Secret() {
    wipe(bytes_.data(), size);
}

}  // namespace sordino
