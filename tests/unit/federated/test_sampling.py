# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest

from quadratic import Quadratic, policy_for
from sordino.errors import PolicyError
from sordino.federated.fedavg import FedAvg
from sordino.federated.sampling import ClientSampling

NAMES = [f"site{number}" for number in range(9)]
STAGE = FedAvg(Quadratic(), sites=9, max_patients=4)


def draws(fraction, seed=0, rounds=400):
    sampling = ClientSampling(policy_for([STAGE], NAMES), "fedavg", fraction, seed)
    return [sampling("fedavg", number, NAMES) for number in range(1, rounds + 1)]


def test_every_round_draws_its_own_part_and_every_site_comes_as_often():
    drawn = draws(0.75)
    assert {len(one) for one in drawn} == {7}
    assert len({tuple(one) for one in drawn}) > 20
    often = np.array([sum(name in one for one in drawn) for name in NAMES])
    np.testing.assert_allclose(often / 400, 7 / 9, atol=0.08)
    assert draws(0.75) == drawn != draws(0.75, seed=1)


def test_never_fewer_than_the_smallest_cohort():
    policy = policy_for([STAGE], NAMES)
    assert {len(one) for one in draws(0.01)} == {policy.smallest_cohort}


def test_other_sums_are_asked_of_everybody():
    sampling = ClientSampling(policy_for([STAGE], NAMES), "fedavg", 0.7)
    assert list(sampling("evaluation", 1, NAMES)) == NAMES


def test_freeze_is_refused_with_the_reason():
    frozen = policy_for([STAGE], NAMES, across_rounds="freeze")
    with pytest.raises(PolicyError, match="difference"):
        ClientSampling(frozen, "fedavg", 0.7)
    assert list(ClientSampling(frozen, "fedavg", 1.0)("fedavg", 1, NAMES)) == NAMES


@pytest.mark.parametrize("fraction", [0.0, 1.1, float("nan")])
def test_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(PolicyError):
        ClientSampling(policy_for([STAGE], NAMES), "fedavg", fraction)
