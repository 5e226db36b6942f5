// SPDX-License-Identifier: Apache-2.0

// The only place that chooses a backend.
#include <array>
#include <atomic>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "prg/backend.hpp"
#include "prg/cpu_features.hpp"
#include "sordino/error.hpp"
#include "sordino/prg.hpp"

namespace sordino {
namespace {

std::atomic<const prg::Backend*> chosen{nullptr};
std::atomic<bool> automatic{false};

std::vector<const prg::Backend*> runnable() {
    std::vector<const prg::Backend*> found;
#if defined(__x86_64__)
    const prg::CpuFeatures cpu = prg::detect_cpu_features();
    if (cpu.vaes512) found.push_back(&prg::vaes512);
    if (cpu.vaes256) found.push_back(&prg::vaes256);
    if (cpu.aesni) found.push_back(&prg::aesni);
#elif defined(__aarch64__)
    if (prg::detect_cpu_features().armv8) found.push_back(&prg::armv8);
#endif
    found.push_back(&prg::portable);
    return found;
}

const prg::Backend& find(std::string_view name, const char* argument) {
    std::string known;
    for (const prg::Backend* candidate : runnable()) {
        if (candidate->name == name) return *candidate;
        known += known.empty() ? "" : ", ";
        known += candidate->name;
    }
    throw InvalidArgument(std::string(argument) + ": this CPU has no PRG backend '" + std::string(name) +
                          "', it has: " + known);
}

const prg::Backend& choose() {
    const char* wanted = std::getenv("SORDINO_CPU");
    const bool free = wanted == nullptr || *wanted == '\0';
    const prg::Backend& backend = free ? *runnable().front() : find(wanted, "SORDINO_CPU");
    automatic.store(free, std::memory_order_release);
    return backend;
}

}  // namespace

const prg::Backend& prg::current() {
    const Backend* backend = chosen.load(std::memory_order_acquire);
    if (backend == nullptr) {
        // Two threads may both get here; they find the same.
        backend = &choose();
        chosen.store(backend, std::memory_order_release);
    }
    return *backend;
}

bool prg::is_automatic() {
    return automatic.load(std::memory_order_acquire);
}

std::vector<std::string_view> backends() {
    std::vector<std::string_view> names;
    for (const prg::Backend* backend : runnable()) names.emplace_back(backend->name);
    return names;
}

std::string_view backend() {
    return prg::current().name;
}

void select_backend(std::string_view name) {
    const prg::Backend& backend = name.empty() ? choose() : find(name, "name");
    if (!name.empty()) automatic.store(false, std::memory_order_release);
    chosen.store(&backend, std::memory_order_release);
}

}  // namespace sordino
