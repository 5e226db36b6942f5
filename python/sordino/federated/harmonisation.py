# SPDX-License-Identifier: Apache-2.0

"""ComBat before a training: its own sums first, then every sum over rows without their scanners' effects.

The estimates are of training rows alone. What is common to all sites is part of the state, and every later
question carries it. The effects of its own batches a site works out from its own training rows and keeps in a
memory of its own; its held-out rows are adjusted by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays, pack_arrays
from sordino.course.stage import Stage
from sordino.federated.site import Site
from sordino.federated.wrapped import Wrapped
from sordino.protocol.policy import Question
from sordino.statistics.combat.adjustment import Adjustment, Effects
from sordino.statistics.combat.bayes import BatchEffect, Variant
from sordino.statistics.combat.plan import CombatPlan
from sordino.statistics.combat.rows import BatchRows, Layout

_OURS = "combat."
"""Leads the names of ComBat's vectors in the state of a training, which has a `centre` of its own."""


@dataclass(frozen=True)
class Harmonisation:
    """The ComBat of a training without noise.

    plan      its public terms, of which the sums follow; the policy is the training's
    variant   which ComBat
    """

    plan: CombatPlan
    variant: Variant = field(default_factory=Variant)

    def stages(self) -> tuple[Stage[Site], ...]:
        """Its sums, in order."""
        return tuple(CombatStage(stage) for stage in self.plan.stages())

    @property
    def reads(self) -> tuple[str, ...]:
        """The vectors of the state that rows are adjusted by."""
        return tuple(_OURS + name for name in estimates(self.plan.layout))

    def common(self, known: Arrays) -> dict[str, Any]:
        """The common estimates, by the names that `Adjustment` has for them."""
        return {name: known[_OURS + name] for name in estimates(self.plan.layout)}

    def adjusted(self, site: Site, known: Arrays) -> Site:
        """The site with all its rows adjusted by what its training rows say of their batches."""
        effects, adjustment = self.effects(site, known), self._adjustment(known)
        parts = {part: adjustment.adjusted(batch_rows(site, part), effects) for part in site.origins}
        return replace(site, origins={}, **parts)  # type: ignore[arg-type]

    def effects(self, site: Site, known: Arrays) -> Effects:
        """Of each batch that the site declared; of its own ones from its memory, if they are of `known`."""
        common, labels = self.common(known), sorted(self.plan.held[site.name])
        of = np.frombuffer(digest_of(common), np.uint8).astype(np.float64)
        kept = site.effects.load()
        if np.array_equal(kept.get("of", of[:0]), of):
            return {
                label: BatchEffect(*kept[f"effect {place}"].reshape(5, -1))
                for place, label in enumerate(labels)
            }
        adjustment = self._adjustment(known)
        found = {**adjustment.shared_effects(), **adjustment.own_effects(batch_rows(site))}
        found = {label: found[label] for label in labels}
        packed = {
            f"effect {place}": np.concatenate(astuple(effect)) for place, effect in enumerate(found.values())
        }
        site.effects.keep({"of": of, **packed})
        return found

    def _adjustment(self, known: Arrays) -> Adjustment:
        return Adjustment(self.common(known), self.plan.layout, self.variant, self.plan.reference)


def estimates(layout: Layout) -> tuple[str, ...]:
    """The vectors that an `Adjustment` is made of."""
    shared = (
        f"{layout.group(label)}_{part}" for label in layout.shared for part in ("rows", "level", "scatter")
    )
    return ("centre", "spread", "alpha", "sigma", "beta", *shared)


def digest_of(common: Arrays) -> bytes:
    """Tells the common estimates from all others, 32 bytes: a site's effects go with one of them only."""
    return sha256(pack_arrays(common)).digest()


@dataclass(frozen=True)
class CombatStage:
    """One of ComBat's sums among those of a training."""

    inner: Stage[BatchRows]

    @property
    def kind(self) -> str:
        """See `Stage`."""
        return self.inner.kind

    @property
    def reads(self) -> tuple[str, ...]:
        """See `Stage`."""
        return tuple(_OURS + name for name in self.inner.reads)

    def question(self) -> Question:
        """See `Stage`."""
        return self.inner.question()

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """That of the training rows."""
        return self.inner.contribute(batch_rows(site), _ours(known))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """See `Stage`."""
        found = self.inner.advance(_ours(state), total)
        others = {name: vector for name, vector in state.items() if not name.startswith(_OURS)}
        return {**others, **{_OURS + name: vector for name, vector in found.items()}}


@dataclass(frozen=True)
class Harmonised(Wrapped):
    """A stage whose sites adjust their rows before they work on them."""

    harmonisation: Harmonisation

    @property
    def reads(self) -> tuple[str, ...]:
        """The inner one's, and the common estimates."""
        return (*self.inner.reads, *self.harmonisation.reads)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's."""
        return self.inner.contribute(self.harmonisation.adjusted(site, known), known)


def _ours(state: Arrays) -> Mapping[str, Any]:
    return {name.removeprefix(_OURS): one for name, one in state.items() if name.startswith(_OURS)}


def batch_rows(site: Site, part: str = "features") -> BatchRows:
    """A part of a site's rows as ComBat takes them."""
    origin = site.origins[part]
    return BatchRows(site.name, getattr(site, part), origin.covariates, origin.batches, site.columns)
