# SPDX-License-Identifier: Apache-2.0

"""What a site does with the common estimates: the effects of its batches, and its patients without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sordino.course.arrays import Arrays
from sordino.errors import InvalidArgument
from sordino.models.model import Matrix
from sordino.statistics.combat.bayes import BatchEffect, Variant, batch_effect
from sordino.statistics.combat.model import Moments
from sordino.statistics.combat.rows import BatchRows, Layout
from sordino.statistics.combat.stages import centred

Effects: TypeAlias = dict[str, BatchEffect]


@dataclass(frozen=True)
class Adjustment:
    """The common estimates, and how batches are read with them.

    state   as the last sum left it: `centre`, `spread`, `alpha`, `sigma`, `beta`, and the shared batches
    """

    state: Arrays
    layout: Layout
    variant: Variant
    reference: str | None = None

    def shared_effects(self) -> Effects:
        """Of the batches that are summed over sites; anyone may work them out."""
        return {
            label: self._effect(
                label,
                Moments(
                    self.state[f"{group}_rows"],
                    self.state[f"{group}_level"][:, None] * self.state[f"{group}_rows"][:, None],
                    self.state[f"{group}_scatter"][:, None, None],
                ),
                np.zeros((len(self.state["alpha"]), 0)),
            )
            for label in self.layout.shared
            for group in [self.layout.group(label)]
        }

    def own_effects(self, site: BatchRows) -> Effects:
        """Of the batches that one site has for itself, from its own rows; they stay there."""
        covariates, features = centred(site.covariates, site.features, self.state)
        return {
            str(label): self._effect(str(label), Moments.of(covariates[here], features[here]), self._beta)
            for label in np.unique(site.batches)
            if label not in self.layout.shared
            for here in [site.batches == label]
        }

    def adjusted(self, site: BatchRows, effects: Effects) -> Matrix:
        """The site's features without the effects of their batches; a feature with sigma 0 as it was.

        Raises `InvalidArgument` for a batch without an effect: nothing was learnt of it.
        """
        covariates, features = centred(site.covariates, site.features, self.state)
        sigma, spread = self.state["sigma"], self.state["spread"][covariates.shape[1] :]
        result = site.features.copy()
        for label in np.unique(site.batches):
            if label not in effects:
                raise InvalidArgument(
                    f"site {site.name!r}: nothing is known of batch {str(label)!r}, only of "
                    f"{sorted(effects)}; a new scanner needs patients in the fit"
                )
            if label == self.reference:
                continue
            here = site.batches == label
            effect = effects[str(label)]
            expected = self.state["alpha"] + covariates[here] @ self._beta.T
            rest = features[here] - expected
            cleaned = (rest - sigma * effect.gamma) / np.sqrt(effect.delta)
            # What changes is added, so that a feature far from zero keeps its digits.
            result[here] += np.where(sigma > 0.0, (cleaned - rest) * spread, 0.0)
        return result

    @property
    def _beta(self) -> Matrix:
        return self.state["beta"].reshape(len(self.state["alpha"]), -1)

    def _effect(self, label: str, moments: Moments, beta: Matrix) -> BatchEffect:
        sigma = self.state["sigma"]
        if label == self.reference:
            zeros = np.zeros_like(sigma)
            return BatchEffect(moments.rows, zeros, zeros + 1.0, zeros, zeros + 1.0)
        level = moments.level(beta) - self.state["alpha"]
        return batch_effect(moments.rows, level, moments.residual(beta), sigma, self.variant, label)
