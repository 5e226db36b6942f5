# SPDX-License-Identifier: Apache-2.0

"""Which patients a site holds out: drawn by a public seed, class by class or each alone, or named."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from sordino.models.model import Vector
from sordino.protocol.encoding import digest


def drawn(site: str, strata: Vector, *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """True for the held-out patients, bool of shape (patients,): `fraction` of each stratum, rounded.

    Draws depend on the seed, the site's name and the stratum only, so that a site draws alike wherever it
    runs; at least one patient of every stratum that the site has stays in training.
    """
    held_out = np.zeros(len(strata), dtype=np.bool_)
    mixed = int.from_bytes(sha256(site.encode()).digest()[:8], "big")
    for label in np.unique(strata).astype(int).tolist():
        members = np.flatnonzero(strata == label)
        count = min(round(fraction * len(members)), max(len(members) - 1, 0))
        order = np.random.default_rng([seed, mixed, label]).permutation(members)
        held_out[order[:count]] = True
    return held_out


def drawn_apart(site: str, ids: Sequence[str], *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """True for the held-out patients, bool of shape (patients,): each by chance `fraction`, from its own id.

    Who else is there makes no difference, so a patient more or less moves nobody from one part to the other:
    what a guarantee about one patient needs.
    """

    def chance(one: str) -> float:
        mixed = digest("held out", seed, site, one)
        return int.from_bytes(mixed[:8], "big") / 2.0**64

    return np.array([chance(one) < fraction for one in ids], dtype=np.bool_)


def named(ids: Sequence[str], held_out: Collection[str]) -> NDArray[np.bool_]:
    """True for the patients whose id is in `held_out`, bool of shape (patients,)."""
    chosen = frozenset(held_out)
    return np.array([one in chosen for one in ids], dtype=np.bool_)
