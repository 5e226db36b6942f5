// SPDX-License-Identifier: Apache-2.0

// Memory that holds secrets: wiped on destruction, never printed, compared in constant time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <ostream>
#include <span>
#include <type_traits>

namespace sordino {

// Zeroes `size` bytes in a way that the optimiser may not drop.
void wipe(void* data, std::size_t size) noexcept;

// Compares in a time that depends on the lengths only.
[[nodiscard]] bool equal(std::span<const std::uint8_t> left, std::span<const std::uint8_t> right) noexcept;

// A 32-byte key, seed or shared secret.
class Secret {
public:
    static constexpr std::size_t size = 32;

    explicit Secret(std::span<const std::uint8_t, size> bytes) noexcept;
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    Secret(Secret&& other) noexcept;
    Secret& operator=(Secret&& other) noexcept;
    ~Secret();

    // The only way to the bytes, named so that a reader sees where they leave.
    [[nodiscard]] std::span<const std::uint8_t, size> reveal() const noexcept { return bytes_; }

    friend bool operator==(const Secret& left, const Secret& right) noexcept {
        return equal(left.bytes_, right.bytes_);
    }
    friend std::ostream& operator<<(std::ostream& out, const Secret&) { return out << "Secret(32 bytes)"; }

private:
    std::array<std::uint8_t, size> bytes_{};
};

// A fixed number of plain values on the heap, aligned to a cache line, zero at first, wiped at the end.
template <typename T>
    requires std::is_trivial_v<T>
class SecretBuffer {
public:
    static constexpr std::align_val_t alignment{64};

    explicit SecretBuffer(std::size_t count)
        : data_(static_cast<T*>(::operator new[](check(count), alignment))), count_(count) {
        std::uninitialized_value_construct_n(data_, count);
    }
    SecretBuffer(const SecretBuffer&) = delete;
    SecretBuffer& operator=(const SecretBuffer&) = delete;
    ~SecretBuffer() {
        wipe(data_, count_ * sizeof(T));
        ::operator delete[](data_, alignment);
    }

    [[nodiscard]] T* data() noexcept { return data_; }
    [[nodiscard]] const T* data() const noexcept { return data_; }
    [[nodiscard]] std::size_t size() const noexcept { return count_; }
    [[nodiscard]] std::span<T> span() noexcept { return {data_, count_}; }
    [[nodiscard]] std::span<const T> span() const noexcept { return {data_, count_}; }

private:
    static std::size_t check(std::size_t count) {
        if (count > static_cast<std::size_t>(-1) / sizeof(T)) throw std::bad_array_new_length();
        return count * sizeof(T);
    }

    T* data_;
    std::size_t count_;
};

}  // namespace sordino
