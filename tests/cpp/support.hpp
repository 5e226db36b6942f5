// SPDX-License-Identifier: Apache-2.0

// What the tests share: inputs that look random and can be made again, and every backend of this CPU.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sordino/prg.hpp"

namespace sordino::test {

inline constexpr std::uint64_t top = std::numeric_limits<std::uint64_t>::max();

// SplitMix64 [Ste14]: all of its outputs follow from the number that it begins with.
class Sequence {
public:
    explicit Sequence(std::uint64_t state) : state_(state) {}
    std::uint64_t operator()() {
        state_ += 0x9E3779B97F4A7C15;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        return z ^ (z >> 31);
    }

private:
    std::uint64_t state_;
};

template <typename T>
std::vector<T> sample(std::size_t count, std::uint64_t number) {
    Sequence next(number);
    std::vector<T> values(count);
    for (T& value : values) value = static_cast<T>(next());
    return values;
}

inline Seed seed_of(const std::vector<std::uint8_t>& bytes) {
    return std::span(bytes).first<seed_bytes>();
}

// Sets an environment variable, or takes it away, until the end of the scope.
class Environment {
public:
    Environment(const char* name, const char* value) : name_(name) {
        if (const char* old = std::getenv(name)) old_ = old;
        set(value);
    }
    Environment(const Environment&) = delete;
    Environment& operator=(const Environment&) = delete;
    ~Environment() { set(old_ ? old_->c_str() : nullptr); }

private:
    void set(const char* value) {
        if (value == nullptr) {
            unsetenv(name_);
        } else {
            setenv(name_, value, 1);
        }
    }

    const char* name_;
    std::optional<std::string> old_;
};

// A test with the backend of its parameter; INSTANTIATE_FOR_EVERY_BACKEND makes one for each that runs here.
class EveryBackend : public testing::TestWithParam<std::string_view> {
protected:
    void SetUp() override { select_backend(GetParam()); }
    void TearDown() override { select_backend(""); }
};

// NOLINTNEXTLINE(cppcoreguidelines-macro-usage): GoogleTest's own macro has to be spelt in the test's file.
#define INSTANTIATE_FOR_EVERY_BACKEND(suite)                                     \
    INSTANTIATE_TEST_SUITE_P(Cpu, suite, testing::ValuesIn(sordino::backends()), \
                             [](const auto& backend) { return std::string(backend.param); })

// For what depends on the backend beside the PRG: runs the test's body with none named, and with each.
template <typename Body>
void on_every_backend(Body body) {
    std::vector<std::string_view> names = backends();
    names.emplace_back("");
    for (const std::string_view name : names) {
        select_backend(name);
        SCOPED_TRACE(name.empty() ? "the fastest" : name);
        body();
        if (testing::Test::HasFatalFailure()) break;
    }
    select_backend("");
}

// The call throws `Type`, and the message begins with `prefix`: the argument's name and a colon.
template <typename Type, typename Call>
testing::AssertionResult throws(std::string_view prefix, Call call) {
    try {
        call();
    } catch (const Type& error) {
        if (std::string_view(error.what()).starts_with(prefix)) return testing::AssertionSuccess();
        return testing::AssertionFailure() << "the message is: " << error.what();
    } catch (const std::exception& error) {
        return testing::AssertionFailure() << "another type of error: " << error.what();
    }
    return testing::AssertionFailure() << "nothing was thrown";
}

}  // namespace sordino::test
