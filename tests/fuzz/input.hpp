// SPDX-License-Identifier: Apache-2.0

// Turns the bytes of a fuzzer into numbers, and a broken promise into a crash that it stops at.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <span>
#include <string_view>
#include <vector>

#include "sordino/prg.hpp"

namespace sordino::fuzz {

// Past the end of the bytes all is zero, so that every input means something.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : bytes_(data, size) {}

    template <typename T>
    T take() {
        T value{};
        const std::size_t count = std::min(sizeof value, bytes_.size());
        std::memcpy(&value, bytes_.data(), count);
        bytes_ = bytes_.subspan(count);
        return value;
    }
    bool flag() { return take<std::uint8_t>() % 2 == 1; }
    // In [0, bound].
    std::size_t upto(std::size_t bound) { return take<std::uint16_t>() % (bound + 1); }
    std::vector<std::uint8_t> bytes(std::size_t count) {
        std::vector<std::uint8_t> result(count);
        std::ranges::copy(bytes_.first(std::min(count, bytes_.size())), result.begin());
        bytes_ = bytes_.subspan(std::min(count, bytes_.size()));
        return result;
    }
    std::vector<std::uint8_t> rest() { return bytes(bytes_.size()); }

private:
    std::span<const std::uint8_t> bytes_;
};

inline void require(bool holds, const char* promise) {
    if (holds) return;
    std::cerr << "broken: " << promise << '\n';
    std::abort();
}

// One of this CPU's, or none by name.
inline void select_some_backend(Input& input) {
    const std::vector<std::string_view> names = backends();
    const std::size_t which = input.take<std::uint8_t>() % (names.size() + 1);
    select_backend(which < names.size() ? names[which] : std::string_view());
}

// Whether the call throws `Type`. Any other exception leaves, and ends the fuzzer.
template <typename Type, typename Call>
bool throws(Call call) {
    try {
        call();
        return false;
    } catch (const Type&) {
        return true;
    }
}

}  // namespace sordino::fuzz
