// SPDX-License-Identifier: Apache-2.0

#include <vector>

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/error.hpp"
#include "sordino/shamir.hpp"

namespace sordino::bindings {
namespace {

std::vector<std::uint16_t> points_of(py::handle object) {
    if (PySequence_Check(object.ptr()) == 0) throw InvalidArgument("points: must be a sequence of integers");
    std::vector<std::uint16_t> points;
    for (const py::handle item : object) {
        const std::uint64_t point = unsigned_integer(item, "points");
        if (point < 1 || point > 0xFFFF) throw InvalidArgument("points: each must be between 1 and 65535");
        points.push_back(static_cast<std::uint16_t>(point));
    }
    return points;
}

py::array_t<std::uint8_t> split(py::object secrets_object, py::object points_object, py::object threshold,
                                py::object seed_object) {
    const Bytes secrets(secrets_object, "secrets");
    const Bytes seed_view(seed_object, "seed");
    const Seed key = seed(seed_view, "seed");
    const std::vector<std::uint16_t> points = points_of(points_object);
    const std::uint64_t needed = unsigned_integer(threshold, "threshold");
    if (secrets.span().size() % shamir_secret_bytes != 0) {
        throw InvalidArgument("secrets: the length must be a multiple of 32 bytes");
    }
    const std::size_t count = secrets.span().size() / shamir_secret_bytes;
    py::array_t<std::uint8_t> shares({points.size(), count, shamir_secret_bytes});
    const std::span<std::uint8_t> sink(shares.mutable_data(), static_cast<std::size_t>(shares.size()));
    const py::gil_scoped_release released;
    shamir_split(secrets.span(), points, needed, key, sink);
    return shares;
}

py::bytearray combine(py::object points_object, py::object shares_object) {
    const std::vector<std::uint16_t> points = points_of(points_object);
    if (!py::isinstance<py::array_t<std::uint8_t>>(shares_object)) {
        throw InvalidArgument("shares: must be a NumPy array of dtype uint8");
    }
    const auto shares = py::reinterpret_borrow<py::array>(shares_object);
    if (shares.ndim() != 3 || shares.shape(2) != static_cast<py::ssize_t>(shamir_secret_bytes)) {
        throw InvalidArgument("shares: must have the shape (points, secrets, 32)");
    }
    if (shares.shape(0) != static_cast<py::ssize_t>(points.size())) {
        throw InvalidArgument("shares: must have one row for each point");
    }
    const Bytes view(shares_object, "shares");
    auto secrets = py::reinterpret_steal<py::bytearray>(
        PyByteArray_FromStringAndSize(nullptr, shares.shape(1) * shares.shape(2)));
    if (!secrets) throw py::error_already_set();
    const std::span<std::uint8_t> sink(reinterpret_cast<std::uint8_t*>(PyByteArray_AS_STRING(secrets.ptr())),
                                       static_cast<std::size_t>(PyByteArray_GET_SIZE(secrets.ptr())));
    const py::gil_scoped_release released;
    shamir_combine(points, view.span(), sink);
    return secrets;
}

}  // namespace

void register_shamir(py::module_& module) {
    module.def("shamir_split", &split, py::arg("secrets"), py::arg("points"), py::kw_only(),
               py::arg("threshold"), py::arg("seed"), "Share 32-byte secrets over GF(2^16).");
    module.def("shamir_combine", &combine, py::arg("points"), py::arg("shares"),
               "Rebuild the secrets from shares at distinct points.");
}

}  // namespace sordino::bindings
