// SPDX-License-Identifier: Apache-2.0

// A driver for compilers without libFuzzer, with as much of its command line as we use: the inputs in the
// given files and folders, and then, with -runs=N or -max_total_time=SECONDS, inputs by chance that begin
// with -seed=NUMBER. Half of them are an earlier input with a few bytes changed.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

std::uint64_t number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) {
        std::cerr << "not a number: " << text << '\n';
        std::exit(2);
    }
    return value;
}

Bytes read(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) {
        std::cerr << "cannot read " << path << '\n';
        std::exit(2);
    }
    return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main(int count, char** arguments) {
    std::uint64_t runs = 0;
    std::uint64_t seconds = 0;
    std::uint64_t seed = 1;
    std::uint64_t longest = 4096;
    std::vector<Bytes> known;
    for (const std::string_view argument : std::vector<std::string_view>(arguments + 1, arguments + count)) {
        const std::string_view value = argument.substr(argument.find('=') + 1);
        if (argument.starts_with("-runs=")) {
            runs = number(value);
        } else if (argument.starts_with("-max_total_time=")) {
            seconds = number(value);
        } else if (argument.starts_with("-seed=")) {
            seed = number(value);
        } else if (argument.starts_with("-max_len=")) {
            longest = number(value);
        } else if (argument.starts_with("-")) {
            std::cerr << "not known here: " << argument << '\n';
        } else if (std::filesystem::is_directory(argument)) {
            for (const auto& entry : std::filesystem::directory_iterator(argument)) {
                known.push_back(read(entry.path()));
            }
        } else {
            known.push_back(read(argument));
        }
    }
    for (const Bytes& input : known) LLVMFuzzerTestOneInput(input.data(), input.size());

    std::mt19937_64 next(seed);
    std::uint64_t done = 0;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
    for (; done < runs || (seconds > 0 && std::chrono::steady_clock::now() < end); ++done) {
        Bytes input;
        if (!known.empty() && next() % 2 == 0) {
            input = known[next() % known.size()];
            for (std::uint64_t i = 0; i < 1 + next() % 4 && !input.empty(); ++i) {
                input[next() % input.size()] = static_cast<std::uint8_t>(next());
            }
        } else {
            input.resize(next() % (longest + 1));
            std::ranges::generate(input, [&next] { return static_cast<std::uint8_t>(next()); });
        }
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    std::cout << "replayed " << known.size() << " stored inputs and " << done << " by chance\n";
}
