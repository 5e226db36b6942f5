// SPDX-License-Identifier: Apache-2.0

#include <deque>
#include <optional>
#include <vector>

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/error.hpp"
#include "sordino/merkle.hpp"
#include "sordino/sha256.hpp"

namespace sordino::bindings {
namespace {

py::bytes bytes_of(std::span<const std::uint8_t> data) {
    return {reinterpret_cast<const char*>(data.data()), data.size()};
}

py::list digests_of(std::span<const std::uint8_t> data) {
    py::list found;
    for (std::size_t at = 0; at < data.size(); at += digest_bytes) {
        found.append(bytes_of(data.subspan(at, digest_bytes)));
    }
    return found;
}

std::vector<std::uint64_t> indices_of(py::handle object, const char* name) {
    if (PySequence_Check(object.ptr()) == 0)
        throw InvalidArgument(std::string(name) + ": must be a sequence");
    std::vector<std::uint64_t> indices;
    for (const py::handle item : object) indices.push_back(unsigned_integer(item, name));
    return indices;
}

// The three buffers that every tree of a form is made with.
struct Form {
    Form(py::handle node_object, py::handle root_object, py::handle padding_object)
        : node(node_object, "node"), root(root_object, "root"), padding(padding_object, "padding") {}

    [[nodiscard]] MerkleForm view() const noexcept {
        return {.node = node.span(), .root = root.span(), .padding = padding.span()};
    }

    Bytes node;
    Bytes root;
    Bytes padding;
};

py::bytes digest(py::object message) {
    const Bytes view(message, "message");
    Digest found;
    {
        const py::gil_scoped_release released;
        found = sha256(view.span());
    }
    return bytes_of(found);
}

py::list roots(py::object shares, py::object openings, py::object node, py::object root, py::object padding,
               py::object threads) {
    if (PySequence_Check(openings.ptr()) == 0) throw InvalidArgument("openings: must be a sequence");
    const Bytes view(shares, "shares");
    const Form form(node, root, padding);
    std::deque<Bytes> held;
    std::vector<std::span<const std::uint8_t>> spans;
    for (const py::handle opening : openings) spans.push_back(held.emplace_back(opening, "openings").span());
    std::optional<std::size_t> thread_count;
    if (!threads.is_none()) thread_count = unsigned_integer(threads, "threads");
    std::vector<std::uint8_t> found(spans.size() * digest_bytes);
    {
        const py::gil_scoped_release released;
        merkle_roots(view.span(), spans, form.view(), found, thread_count);
    }
    return digests_of(found);
}

py::tuple paths(py::object shares, py::object opening_object, py::object wanted_object, py::object node,
                py::object root, py::object padding) {
    const Bytes view(shares, "shares");
    const Bytes opening(opening_object, "opening");
    const Form form(node, root, padding);
    const std::vector<std::uint64_t> wanted = indices_of(wanted_object, "wanted");
    const std::size_t path_bytes = merkle_depth(view.span().size() / merkle_share_bytes) * digest_bytes;
    Digest top;
    std::vector<std::uint8_t> found(wanted.size() * path_bytes);
    {
        const py::gil_scoped_release released;
        merkle_paths(view.span(), opening.span(), form.view(), wanted, top, found);
    }
    py::list result;
    for (std::size_t k = 0; k < wanted.size(); ++k) {
        result.append(py::tuple(digests_of(std::span(found).subspan(k * path_bytes, path_bytes))));
    }
    return py::make_tuple(bytes_of(top), result);
}

py::list climb(py::object shares, py::object opening_object, py::object indices_object,
               py::object paths_object, py::object depth, py::object node, py::object root,
               py::object padding) {
    const Bytes view(shares, "shares");
    const Bytes opening(opening_object, "opening");
    const Bytes siblings(paths_object, "paths");
    const Form form(node, root, padding);
    const std::vector<std::uint64_t> indices = indices_of(indices_object, "indices");
    const std::uint64_t height = unsigned_integer(depth, "depth");
    if (height > 64) throw InvalidArgument("depth: must be at most 64");
    std::vector<std::uint8_t> found(indices.size() * digest_bytes);
    {
        const py::gil_scoped_release released;
        merkle_climb(view.span(), opening.span(), form.view(), indices, siblings.span(), height, found);
    }
    return digests_of(found);
}

}  // namespace

void register_merkle(py::module_& module) {
    module.def("sha256", &digest, py::arg("message"), "The SHA-256 digest of a message.");
    module.def(
        "sha256_backend", [] { return std::string(sha256_backend()); }, "The SHA-256 implementation in use.");
    module.def("merkle_roots", &roots, py::arg("shares"), py::arg("openings"), py::kw_only(), py::arg("node"),
               py::arg("root"), py::arg("padding"), py::arg("threads") = py::none(),
               "The Merkle root over each holder's shares.");
    module.def("merkle_paths", &paths, py::arg("shares"), py::arg("opening"), py::arg("wanted"),
               py::kw_only(), py::arg("node"), py::arg("root"), py::arg("padding"),
               "The Merkle root over one holder's shares, and the paths of some.");
    module.def("merkle_climb", &climb, py::arg("shares"), py::arg("opening"), py::arg("indices"),
               py::arg("paths"), py::kw_only(), py::arg("depth"), py::arg("node"), py::arg("root"),
               py::arg("padding"), "The root that each share leads to by its path.");
}

}  // namespace sordino::bindings
