# SPDX-License-Identifier: Apache-2.0

"""With PyTorch where it is installed; it is no dependency, so elsewhere only its absence is tested."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from sordino.adapters.torch import torch_average
from sordino.errors import InvalidArgument, ValueOutOfRange

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")
def test_without_pytorch_one_line_says_what_to_install():
    with pytest.raises(ImportError, match="pip install torch"):
        torch_average({})


def modules():
    """Three sites' networks with a convolution, a normalisation and its counter, and bfloat16."""
    import torch

    sites = {}
    for number, site in enumerate(("north", "south", "east")):
        torch.manual_seed(number)
        module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
        for _ in range(number + 1):
            module(torch.randn(2, 1, 6, 6))
        module.register_parameter("scale", torch.nn.Parameter(torch.randn(3).to(torch.bfloat16)))
        module.register_buffer("rest", torch.randn(3).to(torch.float16))
        module.register_buffer("kept", torch.tensor([True, number == 0]))
        sites[site] = module
    return sites


@needs_torch
def test_state_dicts_are_averaged_and_load_again():
    import torch

    sites = modules()
    weights = {"north": 1, "south": 2, "east": 5}
    states = {site: module.state_dict() for site, module in sites.items()}
    mean = torch_average(states, weights=weights)
    for name, tensor in states["south"].items():
        assert (mean[name].dtype, mean[name].shape) == (tensor.dtype, tensor.shape)
        assert mean[name].device == tensor.device
        if tensor.is_floating_point():
            wanted = sum(weights[site] * own[name].double() for site, own in states.items())
            precision = torch.finfo(tensor.dtype).eps
            np.testing.assert_allclose(mean[name].double(), wanted / 8, rtol=precision, atol=1e-11)
    assert mean["1.num_batches_tracked"].item() == round((1 * 1 + 2 * 2 + 5 * 3) / 8)
    assert mean["kept"].tolist() == [True, False]
    sites["north"].load_state_dict(mean, strict=True)


@needs_torch
def test_tensors_that_do_not_match_are_refused_by_name():
    import torch

    states = {site: dict(module.state_dict()) for site, module in modules().items()}
    cases = [
        (
            states["south"] | {"scale": torch.zeros(3)},
            InvalidArgument,
            "tensor 'scale'.*float32 at site 'south'",
        ),
        (states["south"] | {"rest": torch.zeros(4).half()}, InvalidArgument, "'rest'.*'south'"),
        (states["south"] | {"rest": [1.0]}, InvalidArgument, "'rest' of site 'south' is no dense tensor"),
        (states["south"] | {"rest": torch.zeros(3).half().to_sparse()}, InvalidArgument, "no dense tensor"),
        (
            states["south"] | {"0.bias": torch.full((4,), torch.nan)},
            ValueOutOfRange,
            "'0.bias' of site 'south'",
        ),
        (states["south"] | {"more": torch.zeros(1)}, InvalidArgument, "more"),
    ]
    for other, error, what in cases:
        with pytest.raises(error, match=what):
            torch_average(states | {"south": other})
