// SPDX-License-Identifier: Apache-2.0

// Reads the known answers in tests/vectors: as much of JSON as they use.
#pragma once

#include <cctype>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sordino::test {

__extension__ using Natural = unsigned __int128;  // byte offsets reach 2^68

class Value {
public:
    [[nodiscard]] const Value& operator[](std::string_view key) const {
        for (std::size_t i = 0; i < keys_.size(); ++i) {
            if (keys_[i] == key) return items_[i];
        }
        throw std::out_of_range("no member " + std::string(key));
    }
    [[nodiscard]] const std::vector<Value>& items() const { return items_; }
    [[nodiscard]] const std::string& text() const { return text_; }
    [[nodiscard]] double real() const { return std::stod(text_); }
    [[nodiscard]] Natural natural() const {
        Natural number = 0;
        for (const char digit : text_) {
            if (std::isdigit(static_cast<unsigned char>(digit)) == 0) {
                throw std::invalid_argument("not a natural number: " + text_);
            }
            number = number * 10 + static_cast<unsigned>(digit - '0');
        }
        return number;
    }
    template <typename T>
    [[nodiscard]] T as() const {
        return static_cast<T>(natural());
    }
    template <typename T>
    [[nodiscard]] std::vector<T> naturals() const {
        std::vector<T> numbers;
        for (const Value& item : items_) numbers.push_back(item.as<T>());
        return numbers;
    }
    [[nodiscard]] std::vector<std::uint8_t> bytes() const {
        std::vector<std::uint8_t> result;
        for (std::size_t i = 0; i + 1 < text_.size(); i += 2) {
            result.push_back(static_cast<std::uint8_t>(std::stoi(text_.substr(i, 2), nullptr, 16)));
        }
        return result;
    }

private:
    friend class Reader;
    std::string text_;               // of a string, or the digits of a number
    std::vector<std::string> keys_;  // of an object
    std::vector<Value> items_;       // of an array or an object
};

class Reader {
public:
    explicit Reader(std::string text) : text_(std::move(text)) {}

    Value value() {
        Value result;
        const char first = peek();
        if (first == '{' || first == '[') {
            const char close = first == '{' ? '}' : ']';
            ++at_;
            while (peek() != close) {
                if (first == '{') {
                    result.keys_.push_back(string());
                    expect(':');
                }
                result.items_.push_back(value());
                if (peek() != close) expect(',');
            }
            ++at_;
        } else if (first == '"') {
            result.text_ = string();
        } else {
            const std::size_t end = text_.find_first_of(",]} \n", at_);
            result.text_ = text_.substr(at_, end - at_);
            at_ = end;
        }
        return result;
    }

private:
    char peek() {
        at_ = text_.find_first_not_of(" \n", at_);
        if (at_ == std::string::npos) throw std::invalid_argument("the file ends within a value");
        return text_[at_];
    }
    void expect(char wanted) {
        if (peek() != wanted) throw std::invalid_argument(std::string("expected ") + wanted);
        ++at_;
    }
    std::string string() {
        expect('"');
        const std::size_t end = text_.find_first_of("\"\\", at_);
        if (end == std::string::npos || text_[end] == '\\') throw std::invalid_argument("an escape");
        std::string result = text_.substr(at_, end - at_);
        at_ = end + 1;
        return result;
    }

    std::string text_;
    std::size_t at_ = 0;
};

inline Value vectors(const std::string& name) {
    std::ifstream file(std::string(SORDINO_VECTORS) + "/" + name + ".json");
    if (!file) throw std::runtime_error("no vectors " + name);
    return Reader({std::istreambuf_iterator<char>(file), {}}).value();
}

}  // namespace sordino::test
