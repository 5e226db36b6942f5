# SPDX-License-Identifier: Apache-2.0

"""PyTorch: the mean of state_dicts over sites by a secure sum. Nothing else of sordino needs PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sordino.course.averaging import average_arrays
from sordino.course.simulated import Summing
from sordino.errors import InvalidArgument


def torch_average(
    state_dicts: Mapping[str, Mapping[str, Any]],
    *,
    weights: Mapping[str, int] | None = None,
    clip: float | None = None,
    aggregator: Summing = "masked",
) -> dict[str, Any]:
    """The weighted mean of the sites' state_dicts, which `load_state_dict` takes.

    state_dicts  site -> what its module's `state_dict()` gives
    The rest is as in `average_arrays`: counters such as num_batches_tracked become the integer nearest to
    their mean, boolean buffers what more than half of the weight has. Floats are summed as float64, bfloat16
    too, and rounded back. Dtypes and shapes stay; devices are those of the first site.

    Raises `InvalidArgument` for entries that are no dense tensors and for sites that do not match, naming
    site and tensor, `ValueOutOfRange` for NaN, infinity and what is beyond the clip, and `ImportError`
    without PyTorch.
    """
    try:
        import torch
    except ImportError:
        raise ImportError("torch_average needs PyTorch: pip install torch") from None
    dtypes: dict[str, Any] = {}
    for site, own in state_dicts.items():
        for name, tensor in own.items():
            if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
                raise InvalidArgument(f"entry {name!r} of site {site!r} is no dense tensor")
            if tensor.dtype != dtypes.setdefault(name, tensor.dtype):
                raise InvalidArgument(
                    f"tensor {name!r} is {tensor.dtype} at site {site!r}, but {dtypes[name]} at another"
                )

    def array(tensor: Any) -> Any:
        there = tensor.detach().cpu()
        return (there.to(torch.float64) if there.is_floating_point() else there).numpy()

    means = average_arrays(
        {site: {name: array(tensor) for name, tensor in own.items()} for site, own in state_dicts.items()},
        weights=weights,
        clip=clip,
        aggregator=aggregator,
    )
    first = next(iter(state_dicts.values()))
    return {
        name: torch.from_numpy(mean).to(dtype=dtypes[name], device=first[name].device)
        for name, mean in means.items()
    }
