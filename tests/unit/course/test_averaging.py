# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

import sordino
from sordino.aggregation.masked import MaskedAggregator
from sordino.course.averaging import average_arrays
from sordino.errors import InvalidArgument, PolicyError, ValueOutOfRange

WEIGHTS = {"north": 3, "south": 1, "east": 7}


def models(seed: int = 0):
    """Three sites' arrays of every sort, in another order at each."""
    random = np.random.default_rng(seed)
    sites = {}
    for site in WEIGHTS:
        own = {
            "conv": random.normal(size=(3, 2, 2)).astype(np.float32),
            "half": random.normal(size=5).astype(np.float16),
            "double": random.normal(size=(2, 1)) * 1e-5,
            "large": random.normal(size=4) * 1e6,
            "counter": np.array(random.integers(0, 2**40)),
            "bytes": random.integers(0, 256, 3).astype(np.uint8),
            "mask": random.random(6) > 0.4,
            "nothing": np.zeros((0, 3)),
            "scalar": np.float64(random.normal()),
        }
        sites[site] = {name: own[name] for name in random.permutation(list(own)).tolist()}
    return sites


def mean_of(name, sites, weights=WEIGHTS):
    return sum(weights[site] * np.asarray(own[name]).astype(np.float64) for site, own in sites.items()) / sum(
        weights.values()
    )


@pytest.mark.parametrize("aggregator", ["masked", "plain", MaskedAggregator])
def test_mean_keeps_dtype_shape_and_the_first_sites_order(aggregator):
    sites = models()
    means = average_arrays(sites, weights=WEIGHTS, aggregator=aggregator)
    assert list(means) == list(sites["north"])
    for name, mean in means.items():
        assert mean.dtype == np.asarray(sites["north"][name]).dtype
        assert mean.shape == np.asarray(sites["north"][name]).shape
    for name, tolerance in [("double", 2e-16), ("scalar", 1e-11), ("large", 1e-5)]:
        np.testing.assert_allclose(means[name], mean_of(name, sites), rtol=0, atol=tolerance)
    for name, ulp in [("conv", 2.0**-24), ("half", 2.0**-11)]:
        np.testing.assert_allclose(means[name], mean_of(name, sites), rtol=ulp, atol=1e-11)
    np.testing.assert_array_equal(means["bytes"], np.rint(mean_of("bytes", sites)))
    assert int(means["counter"]) == round(
        sum(WEIGHTS[site] * int(own["counter"]) for site, own in sites.items()) / 11
    )
    np.testing.assert_array_equal(means["mask"], mean_of("mask", sites) > 0.5)


def test_order_of_sites_and_names_does_not_matter():
    sites = models()
    back = {site: dict(reversed(list(own.items()))) for site, own in reversed(list(sites.items()))}
    one, other = average_arrays(sites, weights=WEIGHTS), average_arrays(back, weights=WEIGHTS)
    assert set(one) == set(other)
    for name, mean in one.items():
        np.testing.assert_array_equal(mean, other[name])


def test_weights_are_one_unless_they_are_given():
    sites = {site: {"w": np.array([value])} for site, value in [("a", 1.0), ("b", 2.0), ("c", 6.0)]}
    assert average_arrays(sites)["w"].tolist() == [3.0]
    assert average_arrays(sites, weights={"a": 6, "b": 3, "c": 1})["w"].tolist() == [1.8]


def test_equal_arrays_come_back_as_they_were_up_to_the_grid_and_extremes_of_integers_exactly():
    half = np.array([65504.0, -65504.0, 6e-5, 0.0], dtype=np.float16)
    whole = np.array([-128, 127], dtype=np.int8)
    same = average_arrays({key: {"half": half, "whole": whole} for key in "abc"})
    np.testing.assert_allclose(same["half"].astype(float), half.astype(float), atol=2.0**-24)
    np.testing.assert_array_equal(same["whole"], whole)


def test_more_arrays_than_a_question_has_blocks_share_them():
    sites = {site: {f"layer{n}": np.full(2, 1.0 + n) for n in range(300)} for site in "abc"}
    assert average_arrays(sites)["layer299"].tolist() == [300.0, 300.0]


def test_sites_without_arrays_have_means_without_arrays():
    assert average_arrays({"a": {}, "b": {}, "c": {}}) == {}
    assert average_arrays({key: {"x": np.zeros((0, 2))} for key in "abc"})["x"].shape == (0, 2)


def changed(site, **arrays):
    sites = models()
    sites[site] |= arrays
    return sites


def without(site, name):
    sites = models()
    del sites[site][name]
    return sites


@pytest.mark.parametrize(
    ("sites", "what"),
    [
        (changed("south", more=np.zeros(2)), r"'south' has arrays that 'north' has not: \['more'\]"),
        (without("east", "conv"), r"'north' has arrays that 'east' has not: \['conv'\]"),
        (changed("east", conv=np.zeros((3, 2), np.float32)), r"'conv' is float32 \(3, 2\) at site 'east'"),
        (changed("east", conv=np.zeros((3, 2, 2))), r"'conv' is float64 \(3, 2, 2\) at site 'east'"),
        ({key: {"z": np.zeros(2, complex)} for key in "abc"}, "'z' holds no real numbers"),
        ({key: {"z": np.array(["text"])} for key in "abc"}, "'z' holds no real numbers"),
        ({key: {"z": np.zeros(2)} for key in "ab"}, "three sites"),
    ],
)
def test_sites_that_do_not_match_are_refused_by_name(sites, what):
    with pytest.raises(InvalidArgument, match=what):
        average_arrays(sites)


@pytest.mark.parametrize(
    ("arrays", "clip", "what"),
    [
        ({"scalar": np.float64("nan")}, None, "'scalar' of site 'south' holds a value that is not finite"),
        ({"half": np.full(5, -np.inf, np.float16)}, None, "'half' of site 'south'.*not finite"),
        ({"scalar": np.float64(9.0)}, 8.0, "'scalar' of site 'south' holds 9, beyond 8"),
        ({"scalar": np.float64(1e300)}, None, "'scalar' of site 'south' holds 1e.300, beyond"),
        ({"counter": np.array(-(2**63))}, None, "'counter' of site 'south'.*beyond"),
    ],
)
def test_values_that_cannot_be_summed_are_refused_by_name(arrays, clip, what):
    sites = {site: dict.fromkeys(arrays, np.zeros_like(next(iter(arrays.values())))) for site in WEIGHTS}
    sites["south"] = arrays
    with pytest.raises(ValueOutOfRange, match=what):
        average_arrays(sites, clip=clip)


@pytest.mark.parametrize("weight", [0, -1, 1.5, True, "2"])
def test_impossible_weight_is_refused_by_its_site(weight):
    with pytest.raises(InvalidArgument, match="weight of 'south'"):
        average_arrays(models(), weights=WEIGHTS | {"south": weight})


def test_other_impossible_terms_are_refused():
    with pytest.raises(InvalidArgument, match="weights must name"):
        average_arrays(models(), weights={"north": 1})
    with pytest.raises(InvalidArgument, match="clip"):
        average_arrays(models(), clip=float("nan"))
    with pytest.raises(InvalidArgument, match="aggregator"):
        average_arrays(models(), aggregator="open")
    with pytest.raises(PolicyError, match="'(conv|large|counter)'"):
        average_arrays(models(), weights=dict.fromkeys(WEIGHTS, 2**60))


def test_it_is_a_public_name():
    assert sordino.average_arrays is average_arrays
