// SPDX-License-Identifier: Apache-2.0

// Sources and sinks that live in Python: mapped files, whose pages are given back, open files, and callables.
// All of them are used without the GIL and take it where they call.
#pragma once

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "arguments.hpp"
#include "sordino/error.hpp"
#include "sordino/secret.hpp"
#include "sordino/upload.hpp"

namespace sordino::bindings {

// The numpy.memmap that an array is a view of, or None.
inline py::object mapping_of(py::handle object) {
    const py::object memmap = py::module_::import("numpy").attr("memmap");
    py::object at = py::reinterpret_borrow<py::object>(object);
    while (!at.is_none() && !py::isinstance(at, memmap)) at = py::getattr(at, "base", py::none());
    return at;
}

// Whether the memory is a shared mapping of a file, so that its pages can be dropped and come back as they
// were. Not so for a private one (mode "c"), whose changes live in memory alone.
inline bool is_shared_mapping(py::handle object) {
    const py::object mapping = mapping_of(object);
    const py::object mode = py::getattr(mapping, "mode", py::none());
    return !mode.is_none() && mode.cast<std::string>() != "c";
}

// Gives the pages of a mapping back to the system behind whoever goes through it.
class Pages {
public:
    Pages(const void* data, bool shared) noexcept
        : data_(reinterpret_cast<std::uintptr_t>(data)), shared_(shared) {}

    // Bytes [0, end) are done with.
    void drop(std::size_t end) noexcept {
#if defined(__unix__) || defined(__APPLE__)
        if (!shared_) return;
        const auto page = static_cast<std::uintptr_t>(sysconf(_SC_PAGESIZE));
        const std::uintptr_t from = (data_ + dropped_) / page * page;
        const std::uintptr_t to = (data_ + end) / page * page;
        // A failure costs memory and nothing else.
        if (to > from) (void)madvise(reinterpret_cast<void*>(from), to - from, MADV_DONTNEED);
#endif
        dropped_ = end;
    }
    void begin_again() noexcept { dropped_ = 0; }

private:
    std::uintptr_t data_;
    std::size_t dropped_ = 0;
    bool shared_;
};

template <typename Real>
class ArraySource final : public Source<Real> {
public:
    ArraySource(std::span<const Real> values, bool shared) noexcept
        : values_(values), pages_(values.data(), shared) {}

    [[nodiscard]] std::uint64_t size() const override { return values_.size(); }
    std::span<const Real> read(std::uint64_t first, std::size_t count) override {
        if (first == 0) {
            pages_.drop(used_);
            pages_.begin_again();
        } else {
            pages_.drop(first * sizeof(Real));
        }
        used_ = (first + count) * sizeof(Real);
        return values_.subspan(first, count);
    }
    [[nodiscard]] bool repeats() const override { return true; }

private:
    std::span<const Real> values_;
    Pages pages_;
    std::size_t used_ = 0;
};

class ArraySink final : public Sink {
public:
    ArraySink(std::span<std::uint8_t> bytes, bool shared) noexcept
        : memory_(bytes), pages_(bytes.data(), shared) {}

    std::span<std::uint8_t> room(std::size_t bytes) override {
        const std::span<std::uint8_t> found = memory_.room(bytes);
        used_ += bytes;
        return found;
    }
    void put() override {
        memory_.put();
        pages_.drop(used_);
    }
    [[nodiscard]] std::optional<std::uint64_t> size() const override { return memory_.size(); }

private:
    MemorySink memory_;
    Pages pages_;
    std::size_t used_ = 0;
};

// A view of memory that Python code cannot keep longer than the call that it is made for.
class View {
public:
    View(void* data, std::size_t size, int access)
        : object_(py::reinterpret_steal<py::object>(
              PyMemoryView_FromMemory(static_cast<char*>(data), static_cast<py::ssize_t>(size), access))) {
        if (!object_) throw py::error_already_set();
    }
    View(const View&) = delete;
    View& operator=(const View&) = delete;
    ~View() {
        try {
            object_.attr("release")();
        } catch (py::error_already_set& error) {
            error.discard_as_unraisable("sordino: a chunk of a stream was kept");
        }
    }
    [[nodiscard]] const py::object& get() const noexcept { return object_; }

private:
    py::object object_;
};

// An open binary file of values, from its present position on.
template <typename Real>
class FileSource final : public Source<Real> {
public:
    FileSource(py::object file, std::uint64_t count) : file_(std::move(file)), count_(count) {
        seeks_ = py::hasattr(file_, "seekable") && file_.attr("seekable")().cast<bool>();
        if (seeks_) start_ = file_.attr("tell")();
    }

    [[nodiscard]] std::uint64_t size() const override { return count_; }
    std::span<const Real> read(std::uint64_t first, std::size_t count) override {
        if (!values_ || values_->size() < count) values_.emplace(count);
        const py::gil_scoped_acquire held;
        if (first != next_) file_.attr("seek")(start_ + py::int_(first * sizeof(Real)));
        const std::size_t bytes = count * sizeof(Real);
        for (std::size_t done = 0; done < bytes;) {
            const View view(reinterpret_cast<std::uint8_t*>(values_->data()) + done, bytes - done,
                            PyBUF_WRITE);
            const py::object got = file_.attr("readinto")(view.get());
            const std::size_t more = got.is_none() ? 0 : got.cast<std::size_t>();
            if (more == 0 || more > bytes - done) {
                throw InvalidArgument("source: ended before " + std::to_string(count_) + " values");
            }
            done += more;
        }
        next_ = first + count;
        return {values_->data(), count};
    }
    [[nodiscard]] bool repeats() const override { return seeks_; }

private:
    py::object file_;
    std::uint64_t count_;
    std::uint64_t next_ = 0;
    bool seeks_ = false;
    py::object start_;
    std::optional<SecretBuffer<Real>> values_;
};

// A callable that takes chunks, or the write() of a file, which may take less than it is given.
class CallableSink final : public Sink {
public:
    CallableSink(py::object write, bool partial) : write_(std::move(write)), partial_(partial) {}

    std::span<std::uint8_t> room(std::size_t bytes) override {
        if (!bytes_ || bytes_->size() < bytes) bytes_.emplace(bytes);
        pending_ = bytes;
        return bytes_->span().first(bytes);
    }
    void put() override {
        const py::gil_scoped_acquire held;
        for (std::size_t done = 0; done < pending_;) {
            const View view(bytes_->data() + done, pending_ - done, PyBUF_READ);
            const py::object taken = write_(view.get());
            if (!partial_) break;
            const std::size_t more = taken.is_none() ? 0 : taken.cast<std::size_t>();
            if (more == 0 || more > pending_ - done) throw InvalidArgument("sink: takes no more bytes");
            done += more;
        }
    }
    [[nodiscard]] std::optional<std::uint64_t> size() const override { return std::nullopt; }

private:
    py::object write_;
    bool partial_;
    std::size_t pending_ = 0;
    std::optional<SecretBuffer<std::uint8_t>> bytes_;
};

}  // namespace sordino::bindings
