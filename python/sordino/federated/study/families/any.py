# SPDX-License-Identifier: Apache-2.0

"""The kinds of model that a study file can name, and that a model.json can hold: each is registered here."""

from __future__ import annotations

from typing import TypeAlias

from sordino.federated.study.families.cox import CoxFamily, CoxFile
from sordino.federated.study.families.late import LateFile
from sordino.federated.study.families.linear import LinearFamily, LinearFile
from sordino.federated.study.families.logistic import LogisticFamily, LogisticFile
from sordino.federated.study.families.perceptron import (
    NumberPerceptronFamily,
    NumberPerceptronFile,
    PerceptronFamily,
    PerceptronFile,
)

ModelTable: TypeAlias = LogisticFamily | LinearFamily | PerceptronFamily | NumberPerceptronFamily | CoxFamily
"""Table [model], by its `type`."""

ModelFile: TypeAlias = LogisticFile | LateFile | LinearFile | PerceptronFile | NumberPerceptronFile | CoxFile
"""model.json, by its `model`."""
