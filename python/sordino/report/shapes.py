# SPDX-License-Identifier: Apache-2.0

"""What a report needs of the files of a run: what lacks it is of another format, or damaged.

Only what is read is named, and more is allowed, so that files of later versions are read as far as they go.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

Unit: TypeAlias = Literal["patient", "patient-local", "site"]


class Named(Struct):
    """A site of the study."""

    name: str


class Terms(Struct):
    """Of the policy."""

    sites: int
    min_cohort: int
    threshold: int
    colluders: int
    consistency: bool
    max_dropouts: int
    across_rounds: Literal["freeze", "accept", "noise"]
    bits: int
    rounds: int


class Asked(Struct):
    """A question of the plan."""

    kind: str
    lanes: int
    noise: str | None


class DataTable(Struct):
    """Table [data]."""

    target: str
    time: str
    event: str
    classes: tuple[Any, Any]
    missing: str


class Test(Struct):
    """Table [test]."""

    min_subgroup: int
    fraction: float | None = None


class Typed(Struct):
    """Table [model]."""

    type: str


class Trained(Struct):
    """Table [training]."""

    algorithm: str
    rounds: int
    deadline: float | None = None
    sites_fraction: float | None = None
    check_every: int = 1


class Budget(Struct):
    """Table [privacy]."""

    unit: Unit
    epsilon: float
    delta: float


class Study(Struct):
    """study.json."""

    study: str
    sites: list[Named]
    features: list[str]
    data: DataTable
    test: Test | None
    model: Typed
    training: Trained
    terms: Terms
    questions: list[Asked]
    repeats: int
    sums: int
    privacy: Budget | None = None


class OfSite(Struct):
    """How often a site was left out."""

    left_out: int
    part_of_rounds: float


class Correlated(Struct):
    """A test of exclusion."""

    attribute: str
    p_value: float
    needed: float
    correlated: bool


class Sites(Struct):
    """sites.json."""

    study: str
    sites: dict[str, OfSite]
    rounds: int
    exclusion: list[Correlated] = []
    warnings: list[str] = []
    shared_performance: dict[str, list[Tested | None]] = {}


class Tested(Struct):
    """The metrics of one test."""

    patients: float
    auc: float | UnsetType | None = UNSET
    r2: float | UnsetType | None = UNSET
    c_index: float | UnsetType | None = UNSET
    positives: float | None = None
    auc_noise_deviation: float | None = None
    c_index_deviation: float | None = None

    def __post_init__(self) -> None:
        if self.auc is UNSET and self.r2 is UNSET and self.c_index is UNSET:
            raise ValueError("a test without a metric")
        if isinstance(self.auc, float) and self.positives is None:
            raise ValueError("an AUC without the number of positives")


class Subgroup(Struct):
    """The metrics of one cell of patients, or why they are not told."""

    column: str
    cell: str
    withheld: str | UnsetType = UNSET
    patients: float | UnsetType = UNSET
    auc: float | UnsetType | None = UNSET
    positives: float | None = None
    r2: float | UnsetType | None = UNSET
    c_index: float | UnsetType | None = UNSET
    c_index_deviation: float | None = None

    def __post_init__(self) -> None:
        if self.withheld is UNSET and self.patients is UNSET:
            raise ValueError("a subgroup without a number of patients")
        if isinstance(self.auc, float) and self.positives is None:
            raise ValueError("an AUC without the number of positives")


class Band(Struct):
    """Held-out patients of about one predicted probability."""

    from_: float = msgspec.field(name="from")
    to: float
    patients: float
    positives: float
    mean_predicted: float
    noise_deviation: float | None = None


class Curve(Struct):
    """Survival of one group."""

    group: str
    patients: int
    events: int
    times: list[float]
    at_risk: list[float]
    survival: list[float]
    low: list[float]
    high: list[float]

    def __post_init__(self) -> None:
        lengths = {len(one) for one in (self.times, self.at_risk, self.survival, self.low, self.high)}
        if len(lengths) != 1 or not self.times:
            raise ValueError("a curve of unequal lengths")


class Figures(Struct):
    """What is drawn of a test."""

    bands: list[Band] = []
    curves: list[Curve] = []


class Stopped(Struct):
    """Where a training ended before its last round."""

    round: int
    diverged: bool = False


class Repeat(Struct):
    """One split."""

    test: Tested | UnsetType = UNSET
    figures: Figures | UnsetType = UNSET
    subgroups: list[Subgroup] | UnsetType = UNSET
    train_loss_by_round: list[float | None] | UnsetType = UNSET
    validation_loss_by_check: list[float | None] | UnsetType = UNSET
    stopped: Stopped | UnsetType = UNSET


class Mean(Struct):
    """Over splits, with an interval where they are three or more."""

    mean: float | None
    low: float | UnsetType = UNSET
    high: float | UnsetType = UNSET

    def __post_init__(self) -> None:
        if (self.low is UNSET) != (self.high is UNSET):
            raise ValueError("an interval with one end")


class SecureSums(Struct):
    """What secure sums came to."""

    repeats: list[Repeat]
    test_auc: Mean | UnsetType = UNSET
    test_r2: Mean | UnsetType = UNSET
    test_c_index: Mean | UnsetType = UNSET

    def __post_init__(self) -> None:
        if not self.repeats or len({repeat.test is UNSET for repeat in self.repeats}) > 1:
            raise ValueError("a split without its test")


class Compared(Struct):
    """Sums that were also made in the clear."""

    sums: int
    equal_bit_for_bit: int


class Simulation(Struct):
    """What only a simulation knows."""

    compared_with_plain_sums: Compared | UnsetType = UNSET
    test_auc_federated: Mean | UnsetType = UNSET
    test_auc_pooled: Mean | UnsetType = UNSET
    test_r2_federated: Mean | UnsetType = UNSET
    test_r2_pooled: Mean | UnsetType = UNSET
    test_c_index_federated: Mean | UnsetType = UNSET
    test_c_index_pooled: Mean | UnsetType = UNSET

    def __post_init__(self) -> None:
        pairs = (
            (self.test_auc_federated, self.test_auc_pooled),
            (self.test_r2_federated, self.test_r2_pooled),
            (self.test_c_index_federated, self.test_c_index_pooled),
        )
        if any((one is UNSET) != (other is UNSET) for one, other in pairs):
            raise ValueError("a pooled figure without the federated one")


class Spent(Struct):
    """What a private run cost."""

    unit: Unit
    epsilon: float
    delta: float
    epsilon_allowed: float
    noise_multipliers: dict[str, float]
    epsilon_after_sum: list[float]


class Results(Struct):
    """metrics.json."""

    study: str
    secure_sums: SecureSums
    privacy: Spent | None = None
    simulation: Simulation | UnsetType = UNSET


class Own(Struct):
    """A site's own report.json."""

    left_out: int
    own_performance: list[dict[str, float | None] | None]
    seconds: float = 0.0


class Attack(Struct):
    """A row of an audit."""

    attack: str
    target: str
    result: str
    says: str
    figures: dict[str, Any]
    kind: str = ""
    expected: bool | None = None


class Audit(Struct):
    """audit.json."""

    rows: list[Attack]
    missing: list[str] = []


SHAPES: dict[str, type[Struct]] = {
    "study.json": Study,
    "sites.json": Sites,
    "metrics.json": Results,
    "report.json": Own,
    "audit.json": Audit,
}


def misfit(name: str, found: object) -> str | None:
    """Why the content of a file of that name cannot be read by this version; None if it can."""
    shape = SHAPES.get(name)
    if shape is None:
        return None if isinstance(found, dict) else "it holds no object"
    try:
        msgspec.convert(found, shape)
    except msgspec.ValidationError as error:
        return str(error)
    return None
