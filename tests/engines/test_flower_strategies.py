# SPDX-License-Identifier: Apache-2.0

"""Only what works on a mean alone is taken, and whoever is refused is told why."""

from __future__ import annotations

import pytest

pytest.importorskip("flwr", reason="Flower is not installed here; `make engines` runs these tests with it")

from flower_hospitals import model_arrays, study_policy
from flwr.app import Array, ArrayRecord, MetricRecord
from flwr.serverapp import strategy as flower

from sordino.adapters.flower import SecureStrategy, plan_question
from sordino.adapters.flower.means import check_mean
from sordino.errors import InvalidArgument, PolicyError
from sordino.protocol.keys import Identity, Roster
from sordino.protocol.policy import plan_policy

ROSTER = Roster({f"s{k}": Identity.generate(f"s{k}").public_key for k in range(6)})


class OwnConfiguration(flower.FedAdam):
    def configure_train(self, *args):
        return super().configure_train(*args)


class OwnAggregation(flower.FedAvg):
    def aggregate_train(self, server_round, replies):
        return super().aggregate_train(server_round, list(replies)[:3])


class OwnStrategy(flower.Strategy):
    configure_train = configure_evaluate = aggregate_train = aggregate_evaluate = summary = None


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (flower.FedMedian(), "a median needs the values of every site"),
        (flower.FedTrimmedAvg(), "a trimmed mean needs the values of every site"),
        (flower.Krum(), "compares the updates of single sites"),
        (flower.MultiKrum(), "compares the updates of single sites"),
        (flower.Bulyan(), "compares the updates of single sites"),
        (flower.QFedAvg(client_learning_rate=0.1), "hang on the loss of every site"),
        (flower.FedXgbBagging(), "trees are put together"),
        (flower.FedXgbCyclic(), "one site after another"),
        (
            flower.DifferentialPrivacyServerSideFixedClipping(flower.FedAvg(), 1.0, 1.0, 3),
            "clips updates of single sites",
        ),
        (OwnAggregation(), "OwnAggregation has an aggregate_train of its own"),
        (OwnStrategy(), "not known to be a mean"),
        (
            flower.FedAvg(train_metrics_aggr_fn=lambda records, key: MetricRecord()),
            "train_metrics_aggr_fn of FedAvg must be Flower's own",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, flower.Strategy) else "",
)
def test_what_is_no_mean_is_refused_with_the_reason(strategy, reason):
    with pytest.raises(InvalidArgument, match=reason):
        SecureStrategy(strategy, study_policy(), ROSTER)


@pytest.mark.parametrize("kind", ["FedAvg", "FedAvgM", "FedProx", "FedAdam", "FedYogi", "FedAdagrad"])
def test_means_are_taken(kind):
    check_mean(flower.FedProx(proximal_mu=1.0) if kind == "FedProx" else getattr(flower, kind)())


def test_a_subclass_that_aggregates_as_before_is_taken():
    check_mean(OwnConfiguration())


def test_every_strategy_that_flower_ships_is_judged():
    from sordino.adapters.flower.means import _MEANS, _OTHERS

    shipped = {getattr(flower, name) for name in flower.__all__} - {flower.Strategy, flower.Result}
    assert shipped == {*_MEANS, *_OTHERS}


def test_a_question_must_be_named_like_a_type_of_message():
    plan = [plan_question("fit", ArrayRecord(model_arrays()), sites=6, max_weight=10)]
    policy = plan_policy(study="s", sites=6, plan=plan, across_rounds="accept")
    with pytest.raises(PolicyError, match=r"not \['fit'\]"):
        SecureStrategy(flower.FedAvg(), policy, ROSTER)


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        (
            {"weights": (3, 3), "bias": (2,)},
            r"has 8 lanes, \['bias', 'weights'\] have 11 values",
        ),
        ({"weights": (3, 2), "bias": (2,), "more": (1,)}, "have 9 values"),
    ],
)
def test_a_model_that_does_not_fit_the_policy_is_named_before_anything_is_asked(shapes, reason):
    import numpy as np

    arrays = ArrayRecord({name: Array(np.zeros(shape, np.float32)) for name, shape in shapes.items()})
    with pytest.raises(InvalidArgument, match=reason):
        SecureStrategy(flower.FedAvg(), study_policy(), ROSTER).start(None, arrays)
