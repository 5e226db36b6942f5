"""Which patients a site holds out: drawn by a public seed, in each class apart, or named by the study."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from sordino.models.model import Vector


def drawn(site: str, target: Vector, *, fraction: float, seed: int) -> NDArray[np.bool_]:
    """True for the held-out patients, bool of shape (patients,): `fraction` of each class, rounded.

    Draws depend on the seed, the site's name and the class only, so that a site draws alike wherever it
    runs; at least one patient of every class that the site has stays in training.
    """
    held_out = np.zeros(len(target), dtype=np.bool_)
    mixed = int.from_bytes(sha256(site.encode()).digest()[:8], "big")
    for label in (0, 1):
        members = np.flatnonzero(target == label)
        count = min(round(fraction * len(members)), max(len(members) - 1, 0))
        order = np.random.default_rng([seed, mixed, label]).permutation(members)
        held_out[order[:count]] = True
    return held_out


def named(ids: Sequence[str], held_out: Collection[str]) -> NDArray[np.bool_]:
    """True for the patients whose id is in `held_out`, bool of shape (patients,)."""
    chosen = frozenset(held_out)
    return np.array([one in chosen for one in ids], dtype=np.bool_)
