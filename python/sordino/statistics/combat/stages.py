# SPDX-License-Identifier: Apache-2.0

"""The sums of ComBat: orders of magnitude, centres, one sum with all the estimates, and perhaps a reference.

Only the third settles what is estimated: units and centres are where numbers are written down, and any near
enough do. So the estimates are those of the rows of that sum's survivors, whoever was lost before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.errors import InvalidArgument, RoundAborted, ValueOutOfRange
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import EVERYONE, Block, Question
from sordino.statistics.combat.model import Moments, coefficients
from sordino.statistics.combat.rows import BatchRows, Layout

_EXPONENT_CLIP = 1100.0
"""Beyond every exponent of a float64."""
_CENTRE_CLIP = 2.0**10
_SUM_CLIP = 2.0**14
_PRODUCT_CLIP = 2.0**18
"""A patient's value, in units of the spread, and its square; batches may be so far apart."""
_WANTED_BITS = 44
LEAST_REFERENCE = 5
"""Patients of a reference batch: what is told of fewer is near to telling of each."""


@dataclass(frozen=True)
class CombatSum:
    """What the sums share.

    covariates   names of the columns of the covariates in the model
    columns      names of the features
    sites, max_patients   bounds on how many sites there are, and patients at one of them
    """

    covariates: tuple[str, ...]
    columns: tuple[str, ...]
    sites: int
    max_patients: int
    layout: Layout
    reference: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Covariates, then features."""
        return (*self.covariates, *self.columns)

    def block(self, name: str, length: int, clip: float, group: str = EVERYONE) -> Block:
        """A block for values of weight 1, as fine as its lanes permit."""
        bits = fraction_bits(
            f"ComBat's {name}", clip=clip, sites=self.sites, max_weight=1, wanted=_WANTED_BITS
        )
        return Block(name, length, clip, bits, group)

    def check(self, site: BatchRows, values: Vector, clip: float, names: tuple[str, ...]) -> None:
        """Raise `ValueOutOfRange`, naming the feature, for what is beyond the clip."""
        if len(wrong := np.flatnonzero(~(np.abs(values) <= clip))):
            raise ValueOutOfRange(
                f"site {site.name!r}, feature {names[wrong[0] % len(names)]!r}: its values here are far "
                "beyond those of most sites; has it another unit?"
            )

    def check_reference(self, rows: Vector) -> None:
        """Raise `ValueOutOfRange` for a reference of too few patients."""
        if len(few := np.flatnonzero(rows < LEAST_REFERENCE)):
            raise ValueOutOfRange(
                f"the reference batch {self.reference!r} has {rows[few[0]]:g} values of the feature "
                f"{self.columns[few[0]]!r}, at least {LEAST_REFERENCE} are needed"
            )


class CombatUnits(CombatSum):
    """First sum: orders of magnitude of each column's size and spread at a site, as whole numbers."""

    kind = "combat_units"
    reads: tuple[str, ...] = ()

    def question(self) -> Question:
        """For size and spread the exponents of two, and whether the site has one."""
        width = len(self.names)
        return Question(
            self.kind,
            tuple(
                Block(f"{what}_{part}", width, clip, 0)
                for what in ("size", "spread")
                for part, clip in (("exponent", _EXPONENT_CLIP), ("present", 1.0))
            ),
        )

    def contribute(self, site: BatchRows, known: Arrays) -> Contribution:  # noqa: ARG002 (nothing is known)
        """Rounded log2 of the mean of |x| and of the standard deviation; absent where they are zero."""
        if len(site.features) > self.max_patients:
            raise ValueOutOfRange(
                f"site {site.name!r} has {len(site.features)} patients, more than max_patients "
                f"{self.max_patients}"
            )
        site.check_features(self.layout)
        values = _values(site)
        varies = np.nanmax(values, axis=0) > np.nanmin(values, axis=0)
        found = {
            "size": np.nanmean(np.abs(values), axis=0),
            "spread": np.where(varies, np.nanstd(values, axis=0), 0.0),
        }
        given: dict[str, Vector] = {}
        for what, value in found.items():
            present = value > 0.0
            given[f"{what}_exponent"] = np.rint(np.log2(value, out=np.zeros_like(value), where=present))
            given[f"{what}_present"] = present.astype(np.float64)
        return Contribution(given)

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `size` and `spread`, powers of two; 1 where every site has zero."""
        units = {}
        for what in ("size", "spread"):
            exponent = total.sums[f"{what}_exponent"] / np.maximum(total.sums[f"{what}_present"], 1.0)
            units[what] = np.exp2(np.clip(np.rint(exponent), -1000, 1000))
        return {**state, **units}


class CombatCentres(CombatSum):
    """Second sum: the mean over the sites of their means, about which numbers are small."""

    kind = "combat_centres"
    reads = ("size",)

    def question(self) -> Question:
        """A lane for each column."""
        return Question(self.kind, (self.block("centre", len(self.names), _CENTRE_CLIP),))

    def contribute(self, site: BatchRows, known: Arrays) -> Contribution:
        """The site's means, in units of their size."""
        centre = np.nanmean(_values(site), axis=0) / known["size"]
        self.check(site, centre, _CENTRE_CLIP, self.names)
        return Contribution({"centre": centre})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `centre`."""
        centre = total.mean("centre") * state["size"]
        return {**{name: one for name, one in state.items() if name != "size"}, "centre": centre}


class CombatMoments(CombatSum):
    """Third sum: everything that is estimated in common, and the batches that sites share.

    The batches that stay at their sites are in it together: counts, sums, and products about the means of
    each of these batches, which their site alone knows. A shared batch has the same lanes in its lane group,
    with products about the common centre, since nobody knows its means yet.
    """

    kind = "combat"
    reads = ("centre", "spread")

    @property
    def _owners(self) -> dict[str, str]:
        """Lane group -> the batch whose lanes they are; "" for those that stay at their sites."""
        shared = {self.layout.group(label): label for label in self.layout.shared}
        return {**({} if self.layout.own is None else {self.layout.own: ""}), **shared}

    def question(self) -> Question:
        """Three blocks for each lane group."""
        features, width, most = len(self.columns), len(self.covariates) + 1, float(self.max_patients)
        return Question(
            self.kind,
            tuple(
                block
                for group in self._owners
                for block in (
                    self.block(f"{group}_rows", features, most, group),
                    self.block(f"{group}_sums", features * width, most * _SUM_CLIP, group),
                    self.block(
                        f"{group}_products", features * width * (width + 1) // 2, most * _PRODUCT_CLIP, group
                    ),
                )
            ),
        )

    def contribute(self, site: BatchRows, known: Arrays) -> Contribution:
        """The site's part of each of its lane groups."""
        covariates, features = centred(site.covariates, site.features, known)
        parts: dict[str, Moments] = {}
        declared = self.layout.held[site.name]
        for label in np.unique(site.batches):
            if label not in declared:
                raise InvalidArgument(f"site {site.name!r} has batch {label!r} and did not declare it")
            here = site.batches == label
            found = Moments.of(covariates[here], features[here])
            if label in self.layout.shared:
                parts[self.layout.group(label)] = Moments(found.rows, found.sums, found.products())
            elif self.layout.own is not None:  # as it is, for a label that the site declared
                parts[self.layout.own] = parts.get(self.layout.own, self._nothing) + found
        lower = np.tril_indices(len(self.covariates) + 1)
        given: dict[str, Vector] = {}
        for group in self._owners:
            if group != EVERYONE and group not in self.layout.groups[site.name]:
                continue
            part = parts.get(group, self._nothing)
            products = part.scatter[:, lower[0], lower[1]].ravel()
            for values, clip in ((part.sums, _SUM_CLIP), (products, _PRODUCT_CLIP)):
                lanes = values.reshape(len(self.columns), -1).T.ravel()
                self.check(site, lanes, self.max_patients * clip, self.columns)
            given |= {f"{group}_rows": part.rows, f"{group}_sums": part.sums.ravel()}
            given[f"{group}_products"] = products
        return Contribution(given)

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `alpha`, `sigma`, `beta`, and each shared batch's rows, level and scatter.

        A feature that does not vary within the batches, up to what the grid tells from zero, has sigma 0.
        """
        found = {label: self._moments(total, group, label) for group, label in self._owners.items()}
        whole = sum(found.values(), start=self._nothing)
        beta = coefficients(whole, self.covariates, self.columns)
        alpha, residual = whole.level(beta), self._distinct(whole.residual(beta))
        rows = np.maximum(whole.rows, 1.0)
        state = {**state, "beta": beta.ravel()}
        for label in self.layout.shared:
            group, one = self.layout.group(label), found[label]
            state[f"{group}_rows"], state[f"{group}_level"] = one.rows, one.level(beta)
            state[f"{group}_scatter"] = self._distinct(one.residual(beta))
            if label == self.reference:
                self.check_reference(one.rows)
                alpha, residual = state[f"{group}_level"], state[f"{group}_scatter"]
                rows = np.maximum(one.rows, 1.0)
        return {**state, "alpha": alpha, "sigma": np.sqrt(residual / rows)}

    def _moments(self, total: Aggregate, group: str, label: str) -> Moments:
        width = len(self.covariates) + 1
        lower = np.tril_indices(width)
        products = np.zeros((len(self.columns), width, width))
        lanes = total.sums[f"{group}_products"].reshape(len(self.columns), -1)
        products[:, lower[0], lower[1]] = products[:, lower[1], lower[0]] = lanes
        rows, sums = total.sums[f"{group}_rows"], total.sums[f"{group}_sums"].reshape(-1, width)
        return Moments.from_products(rows, sums, products) if label else Moments(rows, sums, products)

    def _distinct(self, scatter: Vector) -> Vector:
        """Zero for a sum of squares that rounding alone may have made."""
        block = next(block for block in self.question().blocks if block.name.endswith("_products"))
        return np.where(scatter > 8.0 * self.sites / block.scale, scatter, 0.0)

    @property
    def _nothing(self) -> Moments:
        return Moments.nothing(len(self.columns), len(self.covariates))


class CombatReference(CombatSum):
    """Fourth sum, for a reference batch that one site alone has: that batch's levels and variances.

    They become everybody's alpha and sigma, so they are told by their nature; all other sites' lanes are 0.
    Raises `RoundAborted`, and is asked again, where the reference is not among the survivors.
    """

    kind = "combat_reference"
    reads = ("centre", "spread", "beta")

    def question(self) -> Question:
        """Levels, mean squares, and whether the reference is there."""
        width, most = len(self.columns), float(self.max_patients)
        return Question(
            self.kind,
            (
                self.block("level", width, _SUM_CLIP * most),
                self.block("variance", width, _PRODUCT_CLIP * most),
                Block("present", 1, 1.0, 0),
            ),
        )

    def contribute(self, site: BatchRows, known: Arrays) -> Contribution:
        """The reference's, at the site that has it; zeros elsewhere."""
        level = variance = np.zeros(len(self.columns))
        here = site.batches == self.reference
        if here.any():
            covariates, features = centred(site.covariates[here], site.features[here], known)
            found = Moments.of(covariates, features)
            self.check_reference(found.rows)
            beta = known["beta"].reshape(len(self.columns), -1)
            level, variance = found.level(beta), found.residual(beta) / found.rows
        return Contribution({"level": level, "variance": variance, "present": np.array([float(here.any())])})

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """Sets `alpha` and `sigma` to the reference's."""
        if not total.sums["present"][0]:
            raise RoundAborted(f"the site of the reference batch {self.reference!r} is not in the sum")
        return {**state, "alpha": total.sums["level"], "sigma": np.sqrt(total.sums["variance"])}


def centred(covariates: Matrix, features: Matrix, known: Arrays) -> tuple[Matrix, Matrix]:
    """Covariates and features less the common centre, in units of the common spread."""
    split = covariates.shape[1]
    centre, spread = known["centre"], known["spread"]
    return (covariates - centre[:split]) / spread[:split], (features - centre[split:]) / spread[split:]


def _values(site: BatchRows) -> Matrix:
    return np.column_stack([site.covariates, site.features])
