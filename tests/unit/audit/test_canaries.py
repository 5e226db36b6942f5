# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest

from sordino.audit.canaries import empirical_epsilon, trained_epsilon, without_noise
from sordino.errors import InvalidArgument


@pytest.mark.parametrize("mechanism", ["secure sums", "open sums", "patient-local"])
def test_the_shipped_noise_is_not_refuted(mechanism: str) -> None:
    found = empirical_epsilon(3.0, 1e-6, canaries=5_000, mechanism=mechanism)  # type: ignore[arg-type]
    assert not found.refuted
    assert found.claimed == pytest.approx(3.0, abs=1e-3)
    assert found.least > 0.3  # the attack sees something all the same


def test_noise_that_is_halved_on_purpose_is_refuted_and_whole_noise_is_not() -> None:
    halved, whole = (
        empirical_epsilon(3.0, 1e-6, canaries=200_000, mechanism="open sums", noise=noise)
        for noise in (0.5, 1.0)
    )
    assert halved.claimed == whole.claimed
    assert halved.refuted
    assert not whole.refuted


def test_noise_of_whole_sites_is_not_refuted_and_halved_it_is() -> None:
    whole, halved = (
        empirical_epsilon(3.0, 1e-6, canaries=8_000, mechanism="sites", noise=noise) for noise in (1.0, 0.25)
    )
    assert whole.claimed == pytest.approx(3.0, abs=1e-3)
    assert not whole.refuted
    assert whole.least > 0.3
    assert halved.refuted


def test_a_final_model_is_within_the_epsilon_of_all_its_rounds() -> None:
    found = trained_epsilon(3.0, 1e-6, canaries=4_000, rounds=5)
    assert found.claimed == pytest.approx(3.0, abs=1e-3)
    assert 0.3 < found.least < found.claimed


def test_secret_batches_are_counted_on_and_missed_where_they_are_none() -> None:
    honest, lying = (
        trained_epsilon(3.0, 1e-6, canaries=4_000, rounds=10, sampling_rate=0.1, drawn=drawn)
        for drawn in (None, 1.0)
    )
    assert honest.claimed == lying.claimed
    assert not honest.refuted
    assert lying.refuted


def test_without_noise_all_canaries_are_found() -> None:
    for sites in (1, 10):
        found = without_noise(canaries=2_000, sites=sites)
        assert found.guessed.value == 1.0
        assert found.claimed is None
        assert not found.refuted
        assert found.least == pytest.approx(math.log(1.0 / (0.05 ** (-1 / 1600) - 1.0)), abs=1e-3)


def test_canaries_that_do_not_fit_are_refused() -> None:
    for canaries, lanes in ((1_050, 100), (100, 100), (1_000, 5)):
        for attack in (empirical_epsilon, trained_epsilon):
            with pytest.raises(InvalidArgument, match="canaries do not fit sums"):
                attack(3.0, 1e-6, canaries=canaries, lanes=lanes)
