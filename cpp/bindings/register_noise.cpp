// SPDX-License-Identifier: Apache-2.0

#include <string>
#include <vector>

#include "arguments.hpp"
#include "register.hpp"
#include "sordino/error.hpp"
#include "sordino/noise.hpp"

namespace sordino::bindings {
namespace {

NoiseRange range_of(py::handle offset, py::handle threads) {
    return {.offset = unsigned_integer(offset, "offset"), .threads = thread_number(threads)};
}

std::vector<GaussianNoise> components_of(std::span<const std::uint8_t> seeds, py::handle sigmas) {
    if (seeds.size() % seed_bytes != 0) {
        throw InvalidArgument("seeds: the length must be a multiple of 32 bytes");
    }
    if (PySequence_Check(sigmas.ptr()) == 0) throw InvalidArgument("sigmas: must be a sequence of numbers");
    std::vector<GaussianNoise> components;
    for (const py::handle item : sigmas) {
        const double sigma = real(item, "sigmas");
        if (!(sigma >= least_sigma && sigma <= greatest_sigma)) {
            throw InvalidArgument("sigmas: each must be between 0.5 and 2**40, got " + std::to_string(sigma));
        }
        const std::size_t begin = components.size() * seed_bytes;
        if (begin == seeds.size()) break;
        components.push_back({seeds.subspan(begin).first<seed_bytes>(), sigma});
    }
    if (components.size() != static_cast<std::size_t>(py::len(sigmas)) ||
        components.size() * seed_bytes != seeds.size()) {
        throw InvalidArgument("sigmas: must be as many as there are seeds");
    }
    return components;
}

template <bool subtract>
void change_lanes(py::object lanes_object, py::object seeds_object, py::object sigmas, py::object offset,
                  py::object threads) {
    const Lanes target = lanes(lanes_object, "lanes", Access::write);
    const Bytes seeds(seeds_object, "seeds");
    const std::vector<GaussianNoise> components = components_of(seeds.span(), sigmas);
    const NoiseRange range = range_of(offset, threads);
    std::visit(
        [&](auto span) {
            require_disjoint(seeds.span(), span, "seeds");
            const py::gil_scoped_release released;
            subtract ? subtract_noise(span, components, range) : add_noise(span, components, range);
        },
        target);
}

template <typename Value, typename Draw>
py::array drawn(py::handle count, py::handle seed_object, py::handle offset, py::handle threads,
                const Draw& draw) {
    const std::uint64_t size = unsigned_integer(count, "count");
    if (size > static_cast<std::uint64_t>(PY_SSIZE_T_MAX) / sizeof(Value)) {
        throw InvalidArgument("count: no array is so long");
    }
    const Bytes seed_view(seed_object, "seed");
    const Seed key = seed(seed_view, "seed");
    const NoiseRange range = range_of(offset, threads);
    py::array_t<Value> out(static_cast<py::ssize_t>(size));
    const std::span<Value> sink(out.mutable_data(), size);
    const py::gil_scoped_release released;
    draw(sink, key, range);
    return out;
}

py::array laplace(py::object count, py::object seed_object, py::object numerator, py::object denominator,
                  py::object offset, py::object threads) {
    const Ratio scale{unsigned_integer(numerator, "numerator"), unsigned_integer(denominator, "denominator")};
    return drawn<std::int64_t>(count, seed_object, offset, threads, [scale](auto out, Seed key, auto range) {
        discrete_laplace(out, key, scale, range);
    });
}

py::array exponential(py::object count, py::object seed_object, py::object numerator, py::object denominator,
                      py::object offset, py::object threads) {
    const Ratio x{unsigned_integer(numerator, "numerator"), unsigned_integer(denominator, "denominator")};
    return drawn<std::uint8_t>(count, seed_object, offset, threads,
                               [x](auto out, Seed key, auto range) { bernoulli_exp(out, key, x, range); });
}

py::array poisson(py::object count, py::object seed_object, py::object q_object, py::object offset,
                  py::object threads) {
    const double q = real(q_object, "q");
    return drawn<std::uint8_t>(count, seed_object, offset, threads,
                               [q](auto out, Seed key, auto range) { poisson_sample(out, key, q, range); });
}

}  // namespace

void register_noise(py::module_& module) {
    module.attr("LEAST_SIGMA") = least_sigma;
    module.attr("GREATEST_SIGMA") = greatest_sigma;
    module.attr("NOISE_DISTANCE_LOG2") = noise_distance_log2;
    module.def("add_noise", &change_lanes<false>, py::arg("lanes"), py::arg("seeds"), py::arg("sigmas"),
               py::kw_only(), py::arg("offset") = 0, py::arg("threads") = py::none(),
               "Add samples of discrete Gaussians, in place.");
    module.def("subtract_noise", &change_lanes<true>, py::arg("lanes"), py::arg("seeds"), py::arg("sigmas"),
               py::kw_only(), py::arg("offset") = 0, py::arg("threads") = py::none(),
               "Subtract what add_noise adds, in place.");
    module.def(
        "gaussian_variance", [](py::object sigma) { return gaussian_variance(real(sigma, "sigma")); },
        py::arg("sigma"), "The variance of one sample.");
    module.def("discrete_laplace", &laplace, py::arg("count"), py::arg("seed"), py::kw_only(),
               py::arg("numerator"), py::arg("denominator"), py::arg("offset") = 0,
               py::arg("threads") = py::none(), "Samples of the discrete Laplace law.");
    module.def("bernoulli_exp", &exponential, py::arg("count"), py::arg("seed"), py::kw_only(),
               py::arg("numerator"), py::arg("denominator"), py::arg("offset") = 0,
               py::arg("threads") = py::none(), "1 with probability exp(-x), else 0.");
    module.def("poisson_sample", &poisson, py::arg("count"), py::arg("seed"), py::kw_only(), py::arg("q"),
               py::arg("offset") = 0, py::arg("threads") = py::none(), "1 with probability q, else 0.");
}

}  // namespace sordino::bindings
