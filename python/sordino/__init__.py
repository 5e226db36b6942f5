# SPDX-License-Identifier: Apache-2.0

"""sordino: sums over hospitals that nobody can open, and federated radiomics on them.

Public names load when they are first used, so that `import sordino` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sordino.adapters.torch import torch_average
    from sordino.aggregation.base import Aggregate, Aggregator, Contribution
    from sordino.aggregation.masked import MaskedAggregator
    from sordino.aggregation.plain import PlainAggregator
    from sordino.audit.report import audit_study
    from sordino.course.averaging import average_arrays
    from sordino.errors import LocalError, PeerError, SordinoError
    from sordino.federated.combat_estimator import FederatedComBat
    from sordino.federated.estimators.cox import FederatedCox
    from sordino.federated.estimators.linear import FederatedLinearRegression
    from sordino.federated.estimators.logistic import FederatedLogisticRegression
    from sordino.federated.estimators.perceptron import FederatedMLPClassifier
    from sordino.federated.standard_scaler import FederatedStandardScaler
    from sordino.federated.study.described import describe_study
    from sordino.federated.study.prepared import prepare
    from sordino.federated.study.run import run_study
    from sordino.protocol.policy import Block, Floor, Policy, Question, plan_policy
    from sordino.report.results import read_results
    from sordino.simulation import SecureSum, default_policy, secure_sum

    __version__: str

_HOMES = {
    "Aggregate": "aggregation.base",
    "Aggregator": "aggregation.base",
    "Block": "protocol.policy",
    "Contribution": "aggregation.base",
    "FederatedComBat": "federated.combat_estimator",
    "FederatedCox": "federated.estimators.cox",
    "FederatedLinearRegression": "federated.estimators.linear",
    "FederatedLogisticRegression": "federated.estimators.logistic",
    "FederatedMLPClassifier": "federated.estimators.perceptron",
    "FederatedStandardScaler": "federated.standard_scaler",
    "Floor": "protocol.policy",
    "LocalError": "errors",
    "MaskedAggregator": "aggregation.masked",
    "PeerError": "errors",
    "PlainAggregator": "aggregation.plain",
    "Policy": "protocol.policy",
    "Question": "protocol.policy",
    "SecureSum": "simulation",
    "SordinoError": "errors",
    "audit_study": "audit.report",
    "average_arrays": "course.averaging",
    "default_policy": "simulation",
    "describe_study": "federated.study.described",
    "plan_policy": "protocol.policy",
    "prepare": "federated.study.prepared",
    "read_results": "report.results",
    "run_study": "federated.study.run",
    "secure_sum": "simulation",
    "torch_average": "adapters.torch",
}

__all__ = [
    "Aggregate",
    "Aggregator",
    "Block",
    "Contribution",
    "FederatedComBat",
    "FederatedCox",
    "FederatedLinearRegression",
    "FederatedLogisticRegression",
    "FederatedMLPClassifier",
    "FederatedStandardScaler",
    "Floor",
    "LocalError",
    "MaskedAggregator",
    "PeerError",
    "PlainAggregator",
    "Policy",
    "Question",
    "SecureSum",
    "SordinoError",
    "audit_study",
    "average_arrays",
    "default_policy",
    "describe_study",
    "plan_policy",
    "prepare",
    "read_results",
    "run_study",
    "secure_sum",
    "torch_average",
]

if not TYPE_CHECKING:  # else every misspelt name would have a type

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from importlib.metadata import version

            return version("sordino")
        if name not in _HOMES:
            raise AttributeError(f"module 'sordino' has no attribute {name!r}")
        return getattr(import_module(f"sordino.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
