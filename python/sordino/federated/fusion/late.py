# SPDX-License-Identifier: Apache-2.0

"""Late fusion: a model of each modality, and one that combines their scores.

A modality's model is trained over the sites that have it, on the patients who have any value of it. What
combines the models is learnt from patients whom they were not trained on, or it would trust most the one that
knows its patients by heart (stacking; Wolpert 1992). So every model is trained `folds` times more, each time
without another part of every site's patients, whose scores are then its own. All these models are trained
side by side in the same sums: more folds cost lanes, not rounds.

Scores are log odds. One that a patient lacks is put at the mean of those that are there, and so adds nothing:
an indicator of what is lacking would mostly tell the sites apart. The weights of the scores are not below
zero (Breiman 1996, "Stacked regressions"): a model that does not help is left out, not turned round.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import numpy as np
from msgspec.structs import replace as replaced
from numpy.typing import NDArray

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.course.resolution import fraction_bits
from sordino.course.stage import Halting, Stage
from sordino.errors import InvalidArgument
from sordino.federated.fusion.missing import filled
from sordino.federated.site import Site
from sordino.federated.wrapped import Wrapped
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix, Vector
from sordino.protocol.policy import EVERYONE, Block, Question
from sordino.statistics.scaling import standardised

BASES = "bases/"
"""What the names of the modalities' own vectors in a state begin with."""

_PREPARES = ("mean", "scale", "fill")


@dataclass(frozen=True)
class Part:
    """One modality: its lane group, the places of its features among all, and its model."""

    name: str
    group: str
    places: tuple[int, ...]
    model: Logistic


@dataclass(frozen=True)
class Late:
    """The settings of a late fusion.

    parts     the modalities, every feature in one of them
    folds     parts of the patients, each scored by models that the others trained
    rounds    of training what combines the scores
    l2        its penalty
    seed      of the folds
    """

    parts: tuple[Part, ...]
    folds: int = 5
    rounds: int = 40
    l2: float = 0.01
    seed: int = 0

    @property
    def combiner(self) -> Combiner:
        """The model of the scores."""
        return Combiner(len(self.parts), self.l2)

    def folds_of(self, name: str, part: Part, features: Matrix, target: Vector) -> NDArray[np.intp]:
        """The fold of each patient of a site for one modality, shape (patients,), by the seed.

        Those who have it are dealt out evenly, class by class: so with at least `folds` of them there is one
        in each fold.
        """
        mixed = int.from_bytes(sha256(name.encode()).digest()[:8], "big")
        random = np.random.default_rng([self.seed, mixed])
        shuffled, first = random.permutation(len(target)), random.integers(self.folds)
        order = shuffled[np.lexsort((target[shuffled], ~has_any(part, features)[shuffled]))]
        folds = np.empty(len(target), dtype=np.intp)
        # Were the first fold the same at all sites, it would have the positives of all that have few.
        folds[order] = (first + np.arange(len(target))) % self.folds
        return folds

    def rows(
        self, name: str, features: Matrix, target: Vector
    ) -> Iterator[tuple[Part, int, NDArray[np.bool_]]]:
        """Every model, by modality and the fold that it does without, and whom of a site it is trained on.

        The last of a modality, with the number `folds`, does without nobody.
        """
        for part in self.parts:
            there, folds = has_any(part, features), self.folds_of(name, part, features, target)
            for without in range(self.folds + 1):
                yield part, without, there & (folds != without)

    def scores(self, features: Matrix, bases: Arrays, trained: tuple[str, Vector] | None = None) -> Matrix:
        """The log odds by each modality, shape (patients, modalities), NaN where a patient lacks it.

        trained   for rows that were trained on, by models that have not seen them: the site and the target
        """
        ready = standardised(filled(features, bases), bases)
        scores = np.full((len(features), len(self.parts)), np.nan)
        for column, part in enumerate(self.parts):
            there = has_any(part, features)
            which = np.full(len(features), self.folds)
            if trained is not None:
                which = self.folds_of(trained[0], part, features, trained[1])
            for fold in np.unique(which).tolist():
                own = there & (which == fold)
                parameters = bases[f"{part.name}/{fold}/parameters"]
                scores[own, column] = part.model.decision(parameters, ready[own][:, part.places])
        return scores

    def fit(self, features: Matrix, target: Vector, scaler: Arrays) -> Arrays:
        """The same from rows in one place, every model at its optimum, by folds of their own."""
        ready, bases = standardised(filled(features, scaler), scaler), dict(scaler)
        for part, without, own in self.rows("pooled", features, target):
            fitted = part.model.fit(ready[own][:, part.places], target[own])
            bases[f"{part.name}/{without}/parameters"] = fitted
        scores = self.scores(features, bases, ("pooled", target))
        mean, scale = np.nanmean(scores, axis=0), np.nanstd(scores, axis=0)
        known = {"mean": mean, "fill": mean, "scale": np.where(scale > 0.0, scale, 1.0)}
        optimum = self.combiner.fit(standardised(filled(scores, known), known), target)
        return {**{BASES + name: vector for name, vector in bases.items()}, **known, "parameters": optimum}


def has_any(part: Part, features: Matrix) -> NDArray[np.bool_]:
    """Which patients have any value of a modality, shape (patients,)."""
    there: NDArray[np.bool_] = np.any(~np.isnan(features[:, part.places]), axis=1)
    return there


def bases_of(state: Arrays) -> Arrays:
    """The modalities' own vectors, by their names among themselves."""
    return {name.removeprefix(BASES): vector for name, vector in state.items() if name.startswith(BASES)}


@dataclass(frozen=True)
class Combiner(Logistic):
    """A logistic model whose coefficients are not below zero."""

    def proximal(self, parameters: Vector, rates: Vector) -> Vector:
        """As ever, and a coefficient below zero is put at zero."""
        moved = super().proximal(parameters, rates)
        return np.append(np.maximum(moved[:-1], 0.0), moved[-1])

    def fit(self, features: Matrix, target: Vector) -> Vector:
        """The optimum over all these rows (L-BFGS-B)."""
        from scipy.optimize import minimize

        found: Vector = minimize(
            self.objective,
            self.initial(),
            args=(features, target),
            jac=self.gradient,
            method="L-BFGS-B",
            bounds=[(0.0, None)] * self.columns + [(None, None)],
            options={"gtol": 1e-9, "ftol": 0.0},
        ).x
        return found


@dataclass(frozen=True)
class Below(Wrapped):
    """A stage whose vectors in the state are the modalities' own."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The inner one's."""
        return tuple(BASES + name for name in self.inner.reads)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's."""
        return self.inner.contribute(site, bases_of(known))

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """The inner one's."""
        found = self.inner.advance(bases_of(state), total)
        return {**state, **{BASES + name: vector for name, vector in found.items()}}

    def give_up(self, state: Arrays) -> Arrays:
        """The inner one's."""
        found = super().give_up(bases_of(state))
        return {**state, **{BASES + name: vector for name, vector in found.items()}}


@dataclass(frozen=True)
class SideBySide:
    """One stage for each model of a late fusion, all asked in one sum.

    A site's answer for a model is weighed by the part of its patients that the model is trained on, and those
    parts are summed too, in the modality's own lanes: so the mean of a model is over its own patients.

    inners   the stage of each part; of all of them the kind is one
    """

    late: Late
    inners: tuple[Stage[Site], ...]
    sites: int
    max_patients: int

    @property
    def kind(self) -> str:
        """Of the inner ones."""
        return self.inners[0].kind

    @property
    def reads(self) -> tuple[str, ...]:
        """What prepares the features, and for each model what its stage reads."""
        return (
            *_PREPARES,
            *(
                f"{part.name}/{fold}/{name}"
                for part, inner in zip(self.late.parts, self.inners, strict=True)
                for fold in range(self.late.folds + 1)
                for name in inner.reads
                if name not in _PREPARES
            ),
        )

    def question(self) -> Question:
        """For each modality the inner blocks, as often as it has models, and the parts of patients."""
        blocks, models = [], self.late.folds + 1
        bits = fraction_bits("a part", clip=1.0, sites=self.sites, max_weight=self.max_patients, wanted=30)
        for part, inner in zip(self.late.parts, self.inners, strict=True):
            blocks.append(Block(f"part.{part.name}", models, 1.0, bits, part.group))
            blocks += [
                replaced(
                    block,
                    name=f"{block.name}.{part.name}",
                    length=models * block.length,
                    group=part.group,
                )
                for block in inner.question().blocks
            ]
        return Question(kind=self.kind, blocks=tuple(blocks), max_weight=self.max_patients)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner answers for the modalities that the site has.

        Raises `InvalidArgument` where a fold has no patient of a modality: what all patients add less what
        they add without that fold would then be over fewer sites than the modality has.
        """
        ready = standardised(filled(site.features, known), known)
        own = {EVERYONE, *site.modalities}
        stages = dict(zip(self.late.parts, self.inners, strict=True))
        values: dict[str, list[NDArray[np.floating[Any]]]] = {}
        for part, fold, rows in self.late.rows(site.name, site.features, site.target):
            if part.group not in own:
                continue
            if has_any(part, site.features).sum() < self.late.folds:
                raise InvalidArgument(
                    f"site {site.name!r} has fewer than {self.late.folds} training patients with "
                    f"{part.name!r}: late fusion needs one in each fold; take fewer folds, or leave the "
                    "modality out there"
                )
            trained = replace(
                site,
                features=ready[rows][:, part.places],
                target=site.target[rows],
                columns=tuple(site.columns[place] for place in part.places),
            )
            given = stages[part].contribute(trained, _own(known, part, fold))
            share = float(rows.mean())
            for name, vector in {"part": np.ones(1), **given.values}.items():
                values.setdefault(f"{name}.{part.name}", []).append(share * vector)
        groups = {part.group for part in self.late.parts if part.group in own}
        return Contribution(
            {name: np.concatenate(vectors) for name, vectors in values.items()},
            weight=dict.fromkeys(sorted(groups), len(site.target)),
        )

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """The inner one's for each model, over the patients that it is trained on."""
        state = dict(state)
        for part, inner in zip(self.late.parts, self.inners, strict=True):
            names = [block.name for block in inner.question().blocks]
            for fold, patients in enumerate(total.sums[f"part.{part.name}"].tolist()):
                sums = {
                    name: total.sums[f"{name}.{part.name}"].reshape(self.late.folds + 1, -1)[fold]
                    for name in names
                }
                alone = replace(total, sums=sums, weights={EVERYONE: patients})
                found = inner.advance(_own(state, part, fold), alone)
                state |= {f"{part.name}/{fold}/{name}": vector for name, vector in found.items()}
        return state

    def give_up(self, state: Arrays) -> Arrays:
        """Every model as it was at its best."""
        state = dict(state)
        for part, inner in zip(self.late.parts, self.inners, strict=True):
            if isinstance(inner, Halting):
                for fold in range(self.late.folds + 1):
                    found = inner.give_up(_own(state, part, fold))
                    state |= {f"{part.name}/{fold}/{name}": vector for name, vector in found.items()}
        return state


def _own(known: Arrays, part: Part, fold: int) -> Arrays:
    """One model's vectors."""
    start = f"{part.name}/{fold}/"
    return {name.removeprefix(start): vector for name, vector in known.items() if name.startswith(start)}


@dataclass(frozen=True)
class OnScores(Wrapped):
    """A stage to whose sites the modalities' scores are the features."""

    late: Late

    @property
    def kind(self) -> str:
        """Another than the inner one's, which the modalities' models may ask too."""
        return f"scores_{self.inner.kind}"

    @property
    def reads(self) -> tuple[str, ...]:
        """The inner one's, and all models."""
        models = (
            f"{part.name}/{fold}/parameters"
            for part in self.late.parts
            for fold in range(self.late.folds + 1)
        )
        return (*self.inner.reads, *(BASES + name for name in (*_PREPARES, *models)))

    def question(self) -> Question:
        """The inner one's."""
        return replaced(self.inner.question(), kind=self.kind)

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The inner one's: training rows are scored by models that have not seen them."""
        bases, test = bases_of(known), site.test_features
        scored = replace(
            site,
            features=self.late.scores(site.features, bases, (site.name, site.target)),
            test_features=None if test is None else self.late.scores(test, bases),
            columns=tuple(part.name for part in self.late.parts),
            validation_features=None,
            validation_target=None,
        )
        return self.inner.contribute(scored, known)
