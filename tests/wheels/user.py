# SPDX-License-Identifier: Apache-2.0

"""What a user may write, for a type checker that sees the installed wheel: types are known, faults show."""

from __future__ import annotations

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import sordino
from sordino import _core
from sordino.privacy import Accountant, Gaussian
from sordino.protocol.site import Site

outcome = sordino.secure_sum(
    {name: np.ones(3) for name in ("alder", "birch", "cedar")}, lose={"cedar": "upload"}
)
assert_type(outcome.total, NDArray[np.float64])
assert_type(outcome.survivors, tuple[str, ...])
assert_type(Accountant([Gaussian(1.0)]).epsilon(1e-5).epsilon, float)
assert_type(sordino.average_arrays({"alder": {"a": np.ones(2)}}), dict[str, NDArray[Any]])
assert_type(_core.backends(), tuple[str, ...])
assert_type(sordino.FederatedLogisticRegression().predict_proba(np.ones((2, 2))), NDArray[np.float64])


def refused(site: Site) -> None:
    """The checker has to find each of these faults: it complains about a comment that it does not need."""
    sordino.secure_sum(3)  # type: ignore[arg-type]
    sordino.secure_product({})  # type: ignore[attr-defined]
    site.upload("lanes")  # type: ignore[call-arg, arg-type]
    Accountant([Gaussian("1")])  # type: ignore[arg-type]
