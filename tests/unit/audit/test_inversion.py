# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from sordino.audit.inversion import by_optimisation, compared, distance, first_layer
from sordino.audit.patches import EDGE, lesion_patches
from sordino.audit.targets import MODEL, NOISED, RAW, SUM
from sordino.audit.updates import update_views
from sordino.errors import InvalidArgument
from sordino.models.linear import Linear
from sordino.models.logistic import Logistic
from sordino.models.perceptron import MultiLayerPerceptron


def batches(sites: int, patients: int, columns: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(3)
    return [
        (random.normal(size=(patients, columns)), random.integers(0, 2, patients).astype(float))
        for _ in range(sites)
    ]


def test_one_patient_is_read_off_a_raw_logistic_update_and_not_off_the_sum_or_under_noise() -> None:
    few, model = batches(5, 1, 12), Logistic(12, l2=0.0)
    views = update_views(model, np.random.default_rng(0).normal(scale=0.1, size=13), few)
    error = {
        target: np.abs(first_layer(gradient[:-1, np.newaxis], gradient[-1:]) - few[0][0][0]).max()
        for target, gradient in views.items()
    }
    assert list(error) == [RAW, SUM, NOISED, MODEL]
    assert error[RAW] < 1e-12
    assert error[SUM] > 0.5
    assert error[NOISED] > 0.5
    assert error[MODEL] > 0.5


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_one_patient_is_read_off_the_first_layer_of_a_network(activation: str) -> None:
    few = batches(3, 1, 12)
    model = MultiLayerPerceptron(12, hidden=(8,), activation=activation, l2=0.0)  # type: ignore[arg-type]
    gradient = update_views(model, model.initial(), few)[RAW]
    found = first_layer(gradient[:96].reshape(12, 8), gradient[96:104])
    assert np.abs(found - few[0][0][0]).max() < 1e-12


def test_a_batch_is_rebuilt_from_a_raw_update_and_not_under_noise() -> None:
    few = batches(3, 2, 6)
    model = MultiLayerPerceptron(6, hidden=(16,), activation="tanh", l2=0.0)
    views = update_views(model, model.initial(), few)
    rows, target = few[0]
    found = {
        name: compared(
            rows, by_optimisation(model, model.initial(), views[name], target, starts=2, steps=300)
        )
        for name in (RAW, NOISED)
    }
    assert found[RAW].matched.value == 1.0
    assert found[NOISED].matched.value == 0.0


def test_the_sum_is_the_mean_of_the_sites_gradients() -> None:
    few, model = batches(4, 3, 6), Logistic(6, l2=0.0)
    rows, target = (np.concatenate(part) for part in zip(*few, strict=True))
    views = update_views(model, model.initial(), few)
    assert views[SUM] == pytest.approx(model.gradient(model.initial(), rows, target), abs=1e-8)


def test_the_derivative_of_the_distance_is_that_of_differences() -> None:
    random = np.random.default_rng(1)
    model = MultiLayerPerceptron(4, hidden=(3,), activation="tanh")
    parameters, gradient = random.normal(size=model.size), random.normal(size=model.size)
    rows, target = random.normal(size=(2, 4)), np.array([0.0, 1.0])

    def value(flat: np.ndarray) -> float:
        return distance(model, parameters, gradient, flat.reshape(2, 4), target)[0]

    found = distance(model, parameters, gradient, rows, target)[1]
    assert found.ravel() == pytest.approx(approx_fprime(rows.ravel(), value, 1e-7), abs=1e-4)


def test_the_distance_of_the_true_rows_is_nothing() -> None:
    model = MultiLayerPerceptron(4, hidden=(3,), activation="tanh", l2=0.0)
    rows, target = batches(1, 5, 4)[0]
    gradient = model.gradient(model.initial(), rows, target)
    assert distance(model, model.initial(), gradient, rows, target)[0] < 1e-28


def test_reconstructions_are_assigned_whatever_their_order() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 5))
    found = compared(rows, rows[::-1] + 1e-3)
    assert found.matched.value == 1.0
    assert found.error == pytest.approx(np.full(6, 1e-3))
    assert compared(rows, np.zeros((6, 5))).matched.value == 0.0


def test_a_final_model_over_one_site_still_gives_its_one_patient_away() -> None:
    # All sites hold the same patient: then the sum over them, and the whole way, is that patient's.
    rows, target = batches(1, 1, 12)[0]
    model = Logistic(12, l2=0.0)
    gradient = update_views(model, model.initial(), [(rows, target)] * 3)[MODEL]
    assert np.abs(first_layer(gradient[:-1, np.newaxis], gradient[-1:]) - rows[0]).max() < 1e-5


def test_a_linear_model_of_a_number_gives_its_one_patient_away() -> None:
    few = [(rows, np.array([1.3])) for rows, _ in batches(3, 1, 6)]
    views = update_views(Linear(6, l2=0.0), np.zeros(7), few)
    assert np.abs(first_layer(views[RAW][:-1, np.newaxis], views[RAW][-1:]) - few[0][0][0]).max() < 1e-12


def test_a_reconstruction_is_recognised_among_those_who_were_not_there() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 5))
    near = compared(rows[:4], rows[:4] + 0.2, others=rows[4:])
    assert near.candidates == 40
    assert near.recognised.value == 1.0
    assert near.chance == 0.1
    guessed = compared(rows[:4], rows[4:8], others=rows[4:])
    assert (guessed.matched.value, guessed.recognised.value) == (0.0, 0.0)


def test_guesses_that_say_nothing_are_recognised_no_more_than_by_chance() -> None:
    random = np.random.default_rng(7)
    found = []
    for _ in range(100):
        rows, guess = random.normal(size=(100, 4)), random.normal(size=(25, 4))
        one = compared(rows[:25], guess, others=rows[25:])
        found.append(one.recognised.value)
    assert 1 / 100 < np.mean(found) < one.chance + 0.02  # assignment makes it far more than one in all


def test_what_shows_nothing_or_is_not_written_out_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="every bias is zero"):
        first_layer(np.ones((3, 2)), np.zeros(2))
    model = MultiLayerPerceptron(3, hidden=(3,), activation="relu")
    with pytest.raises(InvalidArgument, match="one hidden layer of tanh"):
        distance(model, model.initial(), model.initial(), np.ones((1, 3)), np.ones(1))
    with pytest.raises(InvalidArgument, match="three sites"):
        update_views(Logistic(2), np.zeros(3), batches(2, 1, 2))


def test_patches_are_grey_values_of_lesions_that_differ() -> None:
    patches = lesion_patches(2)
    assert patches.shape == (2, EDGE * EDGE)
    assert np.abs(patches).max() <= 1.0
    assert compared(patches[:1], patches[1:]).matched.value == 0.0
