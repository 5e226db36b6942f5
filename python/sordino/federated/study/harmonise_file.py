# SPDX-License-Identifier: Apache-2.0

"""What harmonises new patients: common estimates in model.json, and each site's effects in its own file."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta, Struct

from sordino.course.arrays import Arrays
from sordino.errors import ConfigError
from sordino.federated.harmonisation import Harmonisation, digest_of, estimates
from sordino.federated.site import Site
from sordino.federated.study.harmonise_table import SITE, VARIANTS, HarmoniseTable, origins_of
from sordino.federated.study.table import Table
from sordino.models.model import Matrix
from sordino.statistics.combat.adjustment import Adjustment
from sordino.statistics.combat.bayes import BatchEffect
from sordino.statistics.combat.rows import BatchRows, Covariate, Layout

Numbers: TypeAlias = list[float | None]
"""One for each feature, null where there is none."""


class EffectValues(Struct, frozen=True, forbid_unknown_fields=True):
    """A `BatchEffect`."""

    rows: Numbers
    gamma_hat: Numbers
    delta_hat: Numbers
    gamma: Numbers
    delta: Numbers


class SiteEffects(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """effects.json of one site: the effects of its batches, for that site alone.

    of        hash of the common estimates that they go with
    effects   by batch
    """

    format: Literal["sordino-effects"] = "sordino-effects"
    site: str
    of: str
    effects: dict[str, EffectValues]

    @classmethod
    def made(cls, combat: Harmonisation, site: Site, state: Arrays) -> SiteEffects:
        """Those of a site after its sums."""
        found = {
            label: EffectValues(
                *([None if np.isnan(one) else one for one in values.tolist()] for values in astuple(effect))
            )
            for label, effect in combat.effects(site, state).items()
        }
        return cls(site=site.name, of=digest_of(combat.common(state)).hex(), effects=found)


class StoredCovariate(Struct, frozen=True, forbid_unknown_fields=True):
    """A covariate; without levels it is a number."""

    name: str
    levels: list[str] = []


class StoredHarmonisation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The part of model.json that all sites know. `shared` are the batches that were summed over sites."""

    batch: str
    covariates: list[StoredCovariate]
    variant: Annotated[str, Meta(pattern=f"^({'|'.join(VARIANTS)})$")]
    reference: str | None
    shared: list[str]
    estimates: dict[str, list[float]]

    @classmethod
    def made(cls, combat: Harmonisation, table: HarmoniseTable, state: Arrays) -> StoredHarmonisation:
        """Those of a training after its sums."""
        return cls(
            batch=table.batch,
            covariates=[StoredCovariate(one.name, list(one.levels)) for one in combat.plan.covariates],
            variant=table.variant,
            reference=combat.plan.reference,
            shared=list(combat.plan.layout.shared),
            estimates={name: one.tolist() for name, one in combat.common(state).items()},
        )

    def fault(self, features: int) -> str | None:
        """Why its parts do not fit a model of so many features, None if they do."""
        width = sum(len(one.columns) for one in self._coded)
        lengths = dict.fromkeys(estimates(self._layout), features)
        lengths |= {"centre": width + features, "spread": width + features, "beta": width * features}
        found = {name: len(one) for name, one in self.estimates.items()}
        return None if found == lengths else "'harmonisation.estimates' are not those of its features"

    def adjusted(self, table: Table, features: Matrix, names: list[str], site: SiteEffects | None) -> Matrix:
        """The features of new patients without the effects of their batches. Raises `ConfigError`.

        site   what the site of the patients kept; without it only shared batches are known
        """
        if site is None and self.batch == SITE:
            raise ConfigError(
                f"{table.path}: the model adjusts by site: say whose patients these are, --site"
            )
        needed = [*([] if self.batch == SITE else [self.batch]), *(one.name for one in self.covariates)]
        if missing := [name for name in needed if name not in table.header]:
            raise ConfigError(f"{table.path}: no column {missing[0]!r}, which the model harmonises by")
        common: dict[str, Any] = {name: np.array(one) for name, one in self.estimates.items()}
        adjustment = Adjustment(common, self._layout, VARIANTS[self.variant], self.reference)
        effects = adjustment.shared_effects()
        if site is not None:
            own = {label: msgspec.structs.astuple(effect) for label, effect in site.effects.items()}
            wrong = any(len(one) != len(names) for parts in own.values() for one in parts)
            if wrong or site.of != digest_of(common).hex():
                raise ConfigError(f"the effects of site {site.site!r} are of another run than the model")
            effects |= {
                label: BatchEffect(*(np.array(one, dtype=np.float64) for one in parts))
                for label, parts in own.items()
            }
        faults: list[str] = []
        home = "" if site is None else site.site
        origins = origins_of(self.batch, self._coded, home, table, faults)
        if not faults and (unknown := sorted(set(origins.batches.tolist()) - set(effects))):
            faults.append(
                f"{table.path}: nothing is known of batch {unknown[0]!r}, only of {sorted(effects)}: "
                + (
                    "a new one needs patients in a run"
                    if site
                    else "if it is a site's own, say whose, --site"
                )
            )
        if faults:
            raise ConfigError("\n".join(faults))
        rows = BatchRows(home, features, origins.covariates, origins.batches, tuple(names))
        return adjustment.adjusted(rows, effects)

    @property
    def _coded(self) -> tuple[Covariate, ...]:
        return tuple(Covariate(one.name, tuple(one.levels)) for one in self.covariates)

    @property
    def _layout(self) -> Layout:
        return Layout({}, tuple(self.shared), ())


def read_effects(path: Path, site: str) -> SiteEffects:
    """Read a site's effects. Raises `ConfigError` if they are not there, or not those of this site."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=SiteEffects)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not what a site kept of its batches: {error}") from None
    if found.site != site:
        raise ConfigError(f"{path}: is of the site {found.site!r}, not {site!r}")
    return found
