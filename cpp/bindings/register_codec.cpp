// SPDX-License-Identifier: Apache-2.0

#include <limits>
#include <optional>

#include "arguments.hpp"
#include "format.hpp"
#include "register.hpp"
#include "sordino/codec.hpp"

namespace sordino::bindings {
namespace {

void encode_lanes(py::object values_object, py::object lanes_object, py::object clip, py::object scale,
                  py::object weight, bool saturate, py::object l2_bound, py::object rounding_seed,
                  py::object stream, py::object offset, py::object threads) {
    const Reals values = reals(values_object, "values");
    const Lanes target = lanes(lanes_object, "lanes", Access::write);
    const Format format(clip, scale, weight, saturate, l2_bound, rounding_seed, stream, offset);
    const std::optional<std::size_t> wanted = thread_number(threads);
    std::visit(
        [&](auto source, auto sink) {
            require_disjoint(source, sink, "values");
            format.require_disjoint_from(sink);
            const py::gil_scoped_release released;
            encode(source, sink, format.get(), wanted);
        },
        values, target);
}

void encode_packed(py::object values_object, py::object out_object, py::object bits, py::object clip,
                   py::object scale, py::object weight, bool saturate, py::object l2_bound,
                   py::object rounding_seed, py::object stream, py::object offset, py::object threads) {
    const Reals values = reals(values_object, "values");
    const Bytes out(out_object, "out", Access::write);
    const unsigned bit_number = bit_count(bits, "bits");
    const Format format(clip, scale, weight, saturate, l2_bound, rounding_seed, stream, offset);
    const std::optional<std::size_t> wanted = thread_number(threads);
    std::visit(
        [&](auto source) {
            require_disjoint(source, out.writable(), "values");
            format.require_disjoint_from(out.writable());
            const py::gil_scoped_release released;
            encode_pack(source, out.writable(), format.get(), bit_number, wanted);
        },
        values);
}

double norm(py::object values_object, py::object threads) {
    const Reals values = reals(values_object, "values");
    const std::optional<std::size_t> wanted = thread_number(threads);
    return std::visit(
        [&](auto source) {
            const py::gil_scoped_release released;
            return l2_norm(source, wanted);
        },
        values);
}

py::array decode_lanes(py::object lanes_object, py::object bits, py::object scale) {
    const Lanes source = lanes(lanes_object, "lanes", Access::read);
    const unsigned bit_number = bit_count(bits, "bits");
    const double factor = real(scale, "scale");
    return std::visit(
        [&](auto span) -> py::array {
            py::array_t<double> out(static_cast<py::ssize_t>(span.size()));
            const std::span<double> sink(out.mutable_data(), span.size());
            const py::gil_scoped_release released;
            decode(span, sink, bit_number, factor);
            return out;
        },
        source);
}

py::array signed_lanes(py::object lanes_object, py::object bits) {
    const Lanes source = lanes(lanes_object, "lanes", Access::read);
    const unsigned bit_number = bit_count(bits, "bits");
    return std::visit(
        [&](auto span) -> py::array {
            py::array_t<std::int64_t> out(static_cast<py::ssize_t>(span.size()));
            const std::span<std::int64_t> sink(out.mutable_data(), span.size());
            const py::gil_scoped_release released;
            signed_integers(span, sink, bit_number);
            return out;
        },
        source);
}

std::size_t packed_bytes(py::object lanes_object, py::object bits) {
    return packed_size(unsigned_integer(lanes_object, "lanes"), bit_count(bits, "bits"));
}

py::bytes pack_lanes(py::object lanes_object, py::object bits) {
    const Lanes source = lanes(lanes_object, "lanes", Access::read);
    const unsigned bit_number = bit_count(bits, "bits");
    return std::visit(
        [&](auto span) {
            const std::size_t size = packed_size(span.size(), bit_number);
            // Written in place: payloads are large, and py::bytes from a pointer would copy.
            auto out = py::reinterpret_steal<py::bytes>(
                PyBytes_FromStringAndSize(nullptr, static_cast<py::ssize_t>(size)));
            if (!out) throw py::error_already_set();
            const std::span<std::uint8_t> sink(reinterpret_cast<std::uint8_t*>(PyBytes_AS_STRING(out.ptr())),
                                               size);
            const py::gil_scoped_release released;
            pack(span, sink, bit_number);
            return out;
        },
        source);
}

template <bool subtract>
void unpack_lanes(py::object data_object, py::object lanes_object, py::object bits) {
    const Bytes data(data_object, "data");
    const Lanes target = lanes(lanes_object, "lanes", Access::write);
    const unsigned bit_number = bit_count(bits, "bits");
    std::visit(
        [&](auto span) {
            require_disjoint(data.span(), span, "data");
            const py::gil_scoped_release released;
            subtract ? unpack_subtract(data.span(), span, bit_number)
                     : unpack_add(data.span(), span, bit_number);
        },
        target);
}

}  // namespace

void register_codec(py::module_& module) {
    module.def("encode", &encode_lanes, py::arg("values"), py::arg("lanes"), py::kw_only(), py::arg("clip"),
               py::arg("scale"), py::arg("weight"), py::arg("saturate"), py::arg("l2_bound") = py::none(),
               py::arg("rounding_seed") = py::none(), py::arg("stream") = 0, py::arg("offset") = 0,
               py::arg("threads") = py::none(), "Clip, scale, round and weight values into lanes.");
    module.def("encode_pack", &encode_packed, py::arg("values"), py::arg("out"), py::kw_only(),
               py::arg("bits"), py::arg("clip"), py::arg("scale"), py::arg("weight"), py::arg("saturate"),
               py::arg("l2_bound") = py::none(), py::arg("rounding_seed") = py::none(), py::arg("stream") = 0,
               py::arg("offset") = 0, py::arg("threads") = py::none(),
               "Encode values and pack the lanes, in one pass over the cache.");
    module.def("l2_norm", &norm, py::arg("values"), py::kw_only(), py::arg("threads") = py::none(),
               "The L2 norm, the same double on every machine.");
    module.def("decode", &decode_lanes, py::arg("lanes"), py::kw_only(), py::arg("bits"), py::arg("scale"),
               "Sign-extend the low bits of each lane and divide by the scale.");
    module.def("signed", &signed_lanes, py::arg("lanes"), py::kw_only(), py::arg("bits"),
               "Sign-extend the low bits of each lane.");
    module.def("packed_size", &packed_bytes, py::arg("lanes"), py::arg("bits"), "Bytes that pack() gives.");
    module.def("pack", &pack_lanes, py::arg("lanes"), py::kw_only(), py::arg("bits"),
               "The low bits of each lane as one little-endian bit string.");
    module.def("unpack_add", &unpack_lanes<false>, py::arg("data"), py::arg("lanes"), py::kw_only(),
               py::arg("bits"), "Add packed lanes, in place.");
    module.def("unpack_subtract", &unpack_lanes<true>, py::arg("data"), py::arg("lanes"), py::kw_only(),
               py::arg("bits"), "Subtract packed lanes, in place.");
}

}  // namespace sordino::bindings
