# SPDX-License-Identifier: Apache-2.0

"""Table [privacy]: whom the noise hides, what the whole run may cost, and what goes with it.

docs/study.md says what the keys mean.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from sordino.course.terms import PrivateTerms

if TYPE_CHECKING:
    from sordino.federated.study.file import StudyFile

Rate = Annotated[float, Meta(ge=1e-6, le=1, description="a number from 0.000001 to 1")]
Share = Annotated[float, Meta(gt=0, le=0.45, description="a number above 0, at most 0.45")]
Part = Annotated[float, Meta(gt=0, lt=1, description="a number above 0 and below 1")]


class PrivacyTable(Struct, frozen=True, kw_only=True):
    """Table [privacy]; without it nothing is noised."""

    unit: Annotated[
        Literal["patient", "patient-local", "site"],
        Meta(description='"patient", "patient-local" or "site"'),
    ]
    epsilon: Annotated[float, Meta(ge=1e-3, le=100, description="a number from 0.001 to 100")]
    delta: Annotated[float, Meta(ge=1e-15, le=1e-2, description="a number from 1e-15 to 0.01")]
    clip: Annotated[float, Meta(ge=1e-6, le=1e6, description="a number from 0.000001 to 1,000,000")] = 1.0
    sampling_rate: Rate = 1.0
    target_quantile: Part | None = None
    clip_rate: Annotated[float, Meta(gt=0, le=2, description="a number above 0, at most 2")] = 0.2
    statistics_share: Share = 0.25
    evaluation_share: Share = 0.25
    spare_rounds: Annotated[int, Meta(ge=0, le=100_000, description="a whole number from 0 on")] | None = None
    ranges: Annotated[
        dict[str, tuple[float, float]],
        Meta(description="a table of feature = [low, high]"),
    ] = {}

    def terms(self, rounds: int, columns: tuple[str, ...] | None) -> PrivateTerms:
        """What training needs of it; ranges in the order of `columns`, if those are known."""
        ranges = None
        if self.ranges and columns is not None:
            ranges = tuple(self.ranges[column] for column in columns if column in self.ranges)
        return PrivateTerms(
            unit=self.unit,
            epsilon=self.epsilon,
            delta=self.delta,
            clip=self.clip,
            sampling_rate=self.sampling_rate,
            target_quantile=self.target_quantile,
            clip_rate=self.clip_rate,
            statistics_share=self.statistics_share,
            evaluation_share=self.evaluation_share,
            spare_rounds=rounds // 20 if self.spare_rounds is None else self.spare_rounds,
            ranges=ranges,
        )


def privacy_faults(study: StudyFile) -> list[str]:
    """What does not go together with [privacy], or only with it."""
    table, across = study.privacy, study.policy.across_rounds
    if table is None:
        if across is None:
            return [
                'the key \'policy.across_rounds\' is missing: "freeze" or "accept", unless there is [privacy]'
            ]
        return ["'policy.across_rounds' is 'noise', which needs [privacy]"] if across == "noise" else []
    faults = []
    if not study.model.takes_noise:
        faults.append("[privacy] does not go with this 'model.type': its target is no class")
    if across not in (None, "noise"):
        faults.append(f"'policy.across_rounds' is {across!r}, with [privacy] it is \"noise\" or left out")
    if study.training.batch_size is not None:
        faults.append(
            "'training.batch_size' is a public batch, with [privacy] the batch is secret: "
            "set 'privacy.sampling_rate'"
        )
    if study.training.deadline is not None:
        faults.append(
            "'training.deadline' has a site work before it has paid, which [privacy] does not allow"
        )
    if study.test is not None and study.test.draw == "class":
        faults.append(
            "'test.draw' is 'class', by which one patient moves others between training and test: with "
            '[privacy] it is "patient" or left out'
        )
    faults += [
        f"'sites.share_performance' of {site.name!r} gives out figures without noise, which does not go with "
        "[privacy]"
        for site in study.sites
        if site.share_performance
    ]
    if table.unit == "patient" and study.training.local_steps != 1:
        faults.append(
            f"'training.local_steps' is {study.training.local_steps}, with 'privacy.unit' = \"patient\" each "
            f'step is a secure sum of its own: 1, or the unit "patient-local"'
        )
    if table.unit == "site" and table.sampling_rate != 1.0:
        faults.append(
            f"'privacy.sampling_rate' is {table.sampling_rate:g}, with 'privacy.unit' = \"site\" it must be "
            "1: who takes part is no secret"
        )
    if table.unit == "patient-local" and table.target_quantile is not None:
        faults.append('\'privacy.target_quantile\' goes with the units "patient" and "site" only')
    for name, (low, high) in table.ranges.items():
        if not (isfinite(low) and isfinite(high) and low < high):
            faults.append(
                f"'privacy.ranges.{name}' is [{low}, {high}], allowed is a lower and a higher number"
            )
    if isinstance(study.data.features, list):
        faults += range_faults(table, tuple(study.data.features))
    return faults


def range_faults(table: PrivacyTable, features: tuple[str, ...]) -> list[str]:
    """Ranges are for all features, or for none."""
    if not table.ranges:
        return []
    faults = [
        f"'privacy.ranges' names {name!r}, which is no feature"
        for name in table.ranges
        if name not in features
    ]
    if missing := [name for name in features if name not in table.ranges]:
        faults.append(
            f"'privacy.ranges' lacks {', '.join(repr(name) for name in missing[:5])}"
            + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
            + ": it is for all features or for none"
        )
    return faults


def sample_faults(table: PrivacyTable, patients: int) -> list[str]:
    """Whether there are patients enough for the sampling: a simulation knows, hospitals ask each other."""
    needed = 1.0 / table.sampling_rate
    if table.unit == "site" or patients >= needed:
        return []
    fault = (
        f"'privacy.sampling_rate' is {table.sampling_rate:g}, so that one patient is in a batch it needs "
        f"{needed:,.0f} at least, there are {patients}"
    )
    return [fault]
