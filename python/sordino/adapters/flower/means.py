# SPDX-License-Identifier: Apache-2.0

"""Which strategies of Flower work on a mean alone, and why the others cannot."""

from __future__ import annotations

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy.strategy_utils import aggregate_metricrecords

from sordino.errors import InvalidArgument

_MEANS = (
    flower.FedAvg,
    flower.FedAvgM,
    flower.FedProx,
    flower.FedAdagrad,
    flower.FedAdam,
    flower.FedYogi,
)
"""Their `aggregate_train` looks at replies only through the mean that is weighted by "num-examples"."""

_OTHERS = {
    flower.FedMedian: "a median needs the values of every site",
    flower.FedTrimmedAvg: "a trimmed mean needs the values of every site",
    flower.MultiKrum: "Krum compares the updates of single sites",
    flower.Krum: "Krum compares the updates of single sites",
    flower.Bulyan: "Bulyan compares the updates of single sites",
    flower.QFedAvg: "the weights of q-FedAvg hang on the loss of every site",
    flower.FedXgbBagging: "trees are put together, not added up",
    flower.FedXgbCyclic: "one site after another boosts the trees, nothing is added up",
    flower.DifferentialPrivacyServerSideFixedClipping: "it clips updates of single sites at the server",
    flower.DifferentialPrivacyServerSideAdaptiveClipping: "it clips updates of single sites at the server",
    flower.DifferentialPrivacyClientSideFixedClipping: "put the noise into the policy instead",
    flower.DifferentialPrivacyClientSideAdaptiveClipping: "put the noise into the policy instead",
}


def check_mean(strategy: flower.Strategy) -> None:
    """Raise `InvalidArgument`, with the reason, unless what the strategy aggregates is a weighted mean.

    Subclasses may change everything but how replies are aggregated.
    """
    kind = type(strategy)
    for other, reason in _OTHERS.items():
        if isinstance(strategy, other):
            raise InvalidArgument(f"{kind.__name__} is no secure sum: {reason}")
    known = next((mean for mean in _MEANS[::-1] if isinstance(strategy, mean)), None)
    if known is None:
        raise InvalidArgument(f"{kind.__name__} is not known to be a mean: it is none of {_names()}")
    for name in ("aggregate_train", "aggregate_evaluate"):
        if getattr(kind, name) not in {getattr(mean, name) for mean in _MEANS}:
            raise InvalidArgument(
                f"{kind.__name__} has an {name} of its own, which may need the replies of single sites"
            )
    for name in ("train_metrics_aggr_fn", "evaluate_metrics_aggr_fn"):
        if getattr(strategy, name) is not aggregate_metricrecords:
            raise InvalidArgument(
                f"{name} of {kind.__name__} must be Flower's own: metrics come as their mean"
            )


def _names() -> str:
    return ", ".join(mean.__name__ for mean in _MEANS)
