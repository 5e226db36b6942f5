# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hospitals import hospitals, masked, plain
from sordino.course.arrays import pack_arrays, unpack_arrays
from sordino.course.follow import DIVERGED, STOPPED, Halted, Summed, follow
from sordino.errors import InvalidArgument
from sordino.federated.early_stopping import EarlyStopping
from sordino.federated.training import Training

TRAINING = Training(
    columns=12,
    sites=4,
    max_patients=64,
    l2=0.0,
    rounds=60,
    learning_rate=0.5,
    standardise=False,
    bins=10,
    wanted_bits=40,
    stopping=EarlyStopping(every=3, patience=2),
)
"""Twelve features of a hundred patients and no penalty: it overfits."""


def sites():
    return {
        name: replace(
            site,
            features=site.features[10:],
            target=site.target[10:],
            validation_features=site.features[:10],
            validation_target=site.target[:10],
        )
        for name, site in hospitals(columns=12, held_out=8).items()
    }


def run(training, rows, sums=plain, **options):
    events = []
    with sums(training) as aggregator:
        state = follow(
            training.turns(),
            aggregator,
            rows,
            options.pop("state", training.initial()),
            notify=events.append,
            **options,
        )
    return state, events


def validated(state, rows):
    """The mean loss of all validation patients in one place."""
    return TRAINING.model.loss(
        state["parameters"],
        np.concatenate([site.validation_features for site in rows.values()]),
        np.concatenate([site.validation_target for site in rows.values()]),
    )


@pytest.mark.parametrize("sums", [plain, masked])
def test_training_stops_after_patience_and_keeps_the_best_model(sums):
    rows = sites()
    state, events = run(TRAINING, rows, sums)
    losses = state["validation_losses"]
    assert losses.argmin() == len(losses) - 3  # two sums without a better one
    assert 3 * len(losses) == state[STOPPED][0] < 60
    assert DIVERGED not in state
    assert validated(state, rows) == pytest.approx(losses.min(), abs=1e-8)
    kinds = [event.turn.stage.kind for event in events]
    assert kinds == (["fedavg"] * 3 + ["validation"]) * len(losses) + ["evaluation"]


def test_losses_are_those_of_all_validation_patients_in_one_place():
    rows = sites()
    state, events = run(TRAINING, rows)
    models = [event.state for event in events if event.turn.stage.kind == "fedavg"][2::3]
    expected = [validated(model, rows) for model in models]
    np.testing.assert_allclose(state["validation_losses"], expected, atol=1e-8)


def test_training_that_never_stops_ends_with_the_best_model_too():
    rows, patient = sites(), replace(TRAINING, rounds=20, stopping=EarlyStopping(every=8, patience=9))
    state, events = run(patient, rows)
    assert STOPPED not in state
    checks = [event for event in events if event.turn.stage.kind == "validation"]
    assert [event.turn.number for event in checks] == [1, 2, 3]  # after rounds 8, 16 and 20
    assert validated(state, rows) == pytest.approx(state["validation_losses"].min(), abs=1e-8)


def test_stopped_training_resumes_from_anywhere_to_the_same_end():
    rows = sites()
    whole, events = run(TRAINING, rows)
    for event in [event for event in events if isinstance(event, Summed)][::4]:
        kept = unpack_arrays(pack_arrays(event.state))
        rest, _ = run(TRAINING, rows, state=kept, position=event.position + 1)
        np.testing.assert_array_equal(rest["parameters"], whole["parameters"])
        np.testing.assert_array_equal(rest["positives"], whole["positives"])


def test_diverging_training_keeps_the_validated_model_and_is_evaluated():
    patient = EarlyStopping(every=1, patience=50)
    rows, wild = sites(), replace(TRAINING, l2=0.55, learning_rate=4.0, momentum=0.0, stopping=patient)
    state, events = run(wild, rows, masked)
    (halted,) = [event for event in events if isinstance(event, Halted)]
    assert "lower learning_rate" in halted.reason
    assert DIVERGED in state
    assert validated(state, rows) == pytest.approx(state["validation_losses"].min(), abs=1e-6)
    assert events[-1].turn.stage.kind == "evaluation"
    rest, more = run(wild, rows, state=halted.state, position=halted.position + 1)
    assert [event.turn.stage.kind for event in more] == ["evaluation"]
    np.testing.assert_array_equal(rest["parameters"], state["parameters"])


def test_no_validation_patients_anywhere_is_an_error_and_at_one_site_is_none():
    rows = sites()
    rows["west"] = replace(rows["west"], validation_features=None, validation_target=None)
    run(replace(TRAINING, rounds=3), rows)
    with pytest.raises(InvalidArgument, match="no site keeps any out"):
        run(TRAINING, hospitals(columns=12))


@pytest.mark.parametrize("wrong", [{"every": 0}, {"patience": 0}])
def test_stopping_out_of_range_is_refused(wrong):
    with pytest.raises(InvalidArgument):
        EarlyStopping(**wrong)
