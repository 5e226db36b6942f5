# SPDX-License-Identifier: Apache-2.0

"""The port between a study and what it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias

from sordino.course.arrays import Arrays
from sordino.course.stage import Stage
from sordino.federated.site import Site
from sordino.federated.study.table import Table
from sordino.models.model import Matrix, Model, Vector

if TYPE_CHECKING:
    from sordino.federated.study.file import Data

Metrics: TypeAlias = Mapping[str, Any]
"""Named figures, NaN for one that is not defined."""


class Outcome(Protocol):
    """One kind of target: what stands in its columns, and how a model of it is tested.

    A site's target is float64 with one row a patient, shape (patients,) or (patients, columns).
    """

    @property
    def headline(self) -> str:
        """Name of the one metric, in `tested` and of `score`, that a run is told by."""

    @property
    def title(self) -> str:
        """The headline as it is written for a reader."""

    @property
    def scales(self) -> bool:
        """Whether sites train on a scaled target, of `target_mean` and `target_scale`."""

    def keys(self, data: Data) -> Mapping[str, str]:
        """The keys of [data] that name its columns, and the columns."""

    def faults(self, data: Data) -> list[str]:
        """What is wrong with the keys of [data] for this kind of target."""

    def read(self, data: Data, table: Table, faults: list[str]) -> Vector:
        """The target of every row; cells that are none go to `faults`."""

    def overall_faults(self, data: Data, target: Vector) -> list[str]:
        """What makes all sites' targets together useless."""

    def doubt(self, target: Vector) -> str | None:
        """What is worth a warning about one site's targets, to follow the site's name."""

    def strata(self, target: Vector) -> Vector:
        """A whole number for each patient: the held-out part has as much of each as the rest."""

    def coding(self, data: Data) -> tuple[object, ...]:
        """What every site has to agree on, as `sordino.protocol.encoding` takes it."""

    def seen(self, target: Vector) -> Outcome:
        """Itself, with what the study has the sites announce of all their targets."""

    def initial(self) -> Arrays:
        """What is known of the target before the first sum."""

    def scaling(self, *, sites: int, max_patients: int) -> tuple[Stage[Site], ...]:
        """The secure sums that bring the target to the scale on which the model is trained; none if it is."""

    def trained_on(self, target: Vector, known: Arrays) -> Vector:
        """The target on that scale."""

    def own_scaler(self, target: Vector) -> Arrays:
        """What `scaling` would set, from rows in one place."""

    def evaluation(self, model: Model, *, bins: int, sites: int, max_patients: int) -> Stage[Site]:
        """The secure sum that tests a model on the held-out patients."""

    def tested(self, state: Arrays) -> Metrics:
        """The metrics that the evaluation's sums come to."""

    def figures(self, state: Arrays, *, least: int) -> Metrics:
        """What may be drawn of the same sums, in cells of `least` patients or more; empty for none."""

    def score(self, model: Model, parameters: Vector, features: Matrix, target: Vector) -> float:
        """The headline from rows in one place, which only a simulation has."""


class Unscaled:
    """The part of `Outcome` for targets that are trained on as they stand."""

    scales: ClassVar[bool] = False

    def seen(self, target: Vector) -> Self:
        """Itself."""
        del target
        return self

    def initial(self) -> Arrays:
        """Nothing."""
        return {}

    def scaling(self, *, sites: int, max_patients: int) -> tuple[Stage[Site], ...]:
        """No sums."""
        del sites, max_patients
        return ()

    def trained_on(self, target: Vector, known: Arrays) -> Vector:
        """The target itself."""
        del known
        return target

    def own_scaler(self, target: Vector) -> Arrays:
        """Nothing."""
        del target
        return {}

    def figures(self, state: Arrays, *, least: int) -> Metrics:
        """Nothing."""
        del state, least
        return {}
