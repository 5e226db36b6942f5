# SPDX-License-Identifier: Apache-2.0

"""All attacks on one study: what was tried, how well it worked, and what the control shows, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from sordino.audit import attributes, masks, membership
from sordino.audit.canaries import check_fit, empirical_epsilon, trained_epsilon, without_noise
from sordino.audit.findings import CONTROL, NULL, Report, Row
from sordino.audit.inversions import inversions
from sordino.audit.one_run import Bound
from sordino.audit.rates import Separation
from sordino.audit.targets import DELTA, EPSILON, MODEL, NOISED, RAW, SUM, Audited
from sordino.errors import InvalidArgument, PolicyError, PrivacyError
from sordino.federated.study.prepared import Prepared
from sordino.models.model import Matrix

CONTROL_EPSILON, CONTROL_DELTA, CONTROL_CANARIES = 3.0, 1e-6, 200_000
"""Of the one-run audit's control: with fewer canaries noise that is halved is not always caught."""

CANARIES, QUICK_CANARIES = 20_000, 2_000

BATCH_CANARIES = 5_000
"""At least, of the control of secret batches: fewer cannot show more than epsilon 3, all guesses right."""

BATCHES = 0.1
"""Chance of a canary to be in a step, where the study's own is 1."""


def audit_study(
    prepared: Prepared,
    *,
    quick: bool = False,
    canaries: int | None = None,
    seed: int = 0,
    tell: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run every attack on the study's own rows, in simulation.

    quick      few shadow models and canaries: some minutes become some seconds, and intervals wide
    canaries   for the one-run epsilon of the study's noise; by default as many as fit the time

    Raises `ConfigError` for a study that cannot be simulated over halves of its patients, `InvalidArgument`
    for canaries that do not fit.
    """
    audited = Audited(prepared)
    report = Report(
        prepared.study.name, prepared.policy.digest.hex(), prepared.cohort.schema.digest.hex(), quick
    )
    number = (QUICK_CANARIES if quick else CANARIES) if canaries is None else canaries
    check_fit(number)
    if audited.lacking:
        report.missing.append(f"no noised target: {audited.lacking}")
    if prepared.study.test is None:
        report.missing.append(
            "the study holds no patients out, so the report says nothing of how useful the model is; the "
            "attacks split patients by themselves"
        )
    for name, part in (
        ("membership inference", _membership),
        ("attribute inference", _attributes),
        ("gradient inversion", inversions),
        ("one-run epsilon", partial(_canaries, number=number)),
        ("mask strength", _masks),
    ):
        tell(name)
        report.rows += part(audited, report, seed)
    for row in report.rows:
        if row.expected is False:
            why = (
                "by chance in one of twenty"
                if row.target == NULL
                else "so that this attack shows nothing here"
            )
            report.missing.append(f"{row.attack}: the {row.target} did not come out as it must, {why}")
    return report


def _membership(audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    shadows = 8 if report.quick else 32
    found = membership.infer(audited.observe, audited.site, shadows=shadows, seed=seed)
    found[CONTROL] = membership.overfitted(seed=seed)
    found[NULL] = membership.unrelated(seed=seed)
    for target, both in found.items():
        for attack, one in (("loss threshold", both.threshold), ("likelihood ratio", both.likelihood)):
            won, coin = one.auc.low > 0.9, 0.5 in one.auc
            expected = {CONTROL: won, NULL: coin}.get(target)
            yield Row(
                "membership",
                f"membership, {attack}",
                target,
                _separated(one),
                _said(one),
                asdict(one),
                expected,
            )
    rates = found[MODEL].threshold
    if lacking := [rate for rate, value in rates.tpr.items() if value is None]:
        report.missing.append(
            f"rates at {' and '.join(f'{float(rate):.1%}' for rate in lacking)} false positives need "
            f"{round(1 / float(lacking[0])):,} scores of patients who were not trained on; here are "
            f"{rates.others:,}"
        )


def _separated(one: Separation) -> str:
    rates = [f"TPR {value} at {float(rate):.1%}" for rate, value in one.tpr.items() if value is not None]
    return f"AUC {one.auc}" + "".join(f"; {rate}" for rate in rates)


def _said(one: Separation) -> str:
    if one.auc.low > 0.9:
        return f"Members were told from others nearly always: AUC {one.auc.value:.2f}."
    if 0.5 in one.auc:
        return "The attack did no better here than tossing a coin, as far as so few patients can show."
    little = "a little " if abs(one.auc.value - 0.5) < 0.05 else ""
    way = "better" if one.auc.value > 0.5 else "worse"
    return f"The attack did {little}{way} than tossing a coin: AUC {one.auc.value:.3f}."


def _attributes(audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    member = membership.halves(np.random.default_rng([seed, 11]), audited.site, 1)[0]
    column, shadows = hardest(audited.features), audited.states(~member, seed + 1)
    for target, state in audited.states(member, seed).items():
        here = member & (audited.site == audited.raw) if target == RAW else member

        def losses(chosen: Any, state: Any, target: str = target) -> Callable[[Matrix], Any]:
            def of(rows: Matrix) -> Any:
                features = audited.features.copy()
                features[chosen] = rows
                return audited.losses(target, state, features)[chosen]

            return of

        try:
            one = attributes.infer_attribute(
                losses(here, state),
                audited.features[here],
                audited.target[here],
                losses(~member, shadows[target]),
                audited.features[~member],
                audited.target[~member],
                column,
            )
        except InvalidArgument as error:
            report.missing.append(f"attribute inference, {target}: {error}")
            continue
        yield attribute_row(target, one, audited.columns[column])
    yield attribute_row(CONTROL, attributes.memorised(seed=seed), "a coin")
    yield attribute_row(NULL, attributes.memorised(seed=seed, seen=False), "a coin")


def hardest(features: Matrix) -> int:
    """The column that hangs least on any one of the others: the one that is worth attacking."""
    varied = np.flatnonzero(np.ptp(features, axis=0))
    if len(varied) < 2:
        return int(varied.sum())  # the one that there is, else a constant, which the attack refuses
    related = np.abs(np.corrcoef(features[:, varied].T))
    np.fill_diagonal(related, 0.0)
    return int(varied[np.argmin(related.max(axis=0))])


def attribute_row(target: str, one: attributes.Filled, name: str) -> Row:
    """The line about attribute `name` at a target."""
    gained = one.gained
    told = "The model gave nothing away beyond what imputation without it finds."
    if gained.low > 0.0:
        told = f"With the model {gained.value:.1%} more were guessed right than by imputation without it."
    elif gained.high < 0.0:
        told = f"The model misled the attacker: {-gained.value:.1%} fewer were guessed right."
    result = f"{one.imputed.value:.1%} imputed, {one.attacked.value:.1%} with the model, gained {gained}"
    expected = {CONTROL: gained.low > 0.0, NULL: 0.0 in gained}.get(target)
    return Row("attribute", f"attribute inference, {name}", target, result, told, asdict(one), expected)


def _canaries(audited: Audited, report: Report, seed: int, *, number: int) -> Iterator[Row]:
    terms = audited.study.privacy.terms if audited.study.privacy is not None else None
    epsilon, delta = (terms.epsilon, terms.delta) if terms is not None else (EPSILON, DELTA)
    rate = BATCHES if terms is None or terms.sampling_rate == 1.0 else terms.sampling_rate
    few: dict[str, Any] = {"canaries": number, "seed": seed}
    batches: dict[str, Any] = {"sampling_rate": rate, "rounds": 20, **few}
    caught: dict[str, Any] = {**batches, "canaries": max(number, BATCH_CANARIES)}
    control: dict[str, Any] = {
        "canaries": CONTROL_CANARIES,
        "mechanism": "open sums",
        "seed": seed,
    }
    tried: tuple[tuple[str, str, str, Callable[[], Bound]], ...] = (
        ("no noise", RAW, "", partial(without_noise, sites=1, **few)),
        ("no noise", SUM, "", partial(without_noise, **few)),
        ("patients", NOISED, "", partial(empirical_epsilon, epsilon, delta, **few)),
        (
            "a site's own noise",
            RAW,
            "",
            partial(empirical_epsilon, epsilon, delta, mechanism="patient-local", **few),
        ),
        (
            "whole sites",
            NOISED,
            "",
            partial(empirical_epsilon, epsilon, delta, mechanism="sites", **few),
        ),
        ("patients", MODEL, "", partial(trained_epsilon, epsilon, delta, **few)),
        (
            f"secret batches of {rate:.2g}",
            MODEL,
            "",
            partial(trained_epsilon, epsilon, delta, **batches),
        ),
        (
            "noise halved",
            CONTROL,
            " with its noise halved on purpose",
            partial(empirical_epsilon, CONTROL_EPSILON, CONTROL_DELTA, noise=0.5, **control),
        ),
        (
            "everybody in every batch",
            CONTROL,
            f" with everybody in every batch, where it counts on {rate:.2g}",
            partial(trained_epsilon, CONTROL_EPSILON, CONTROL_DELTA, drawn=1.0, **caught),
        ),
        ("patients", NULL, "", partial(empirical_epsilon, CONTROL_EPSILON, CONTROL_DELTA, **control)),
    )
    for what, target, changed, attack in tried:
        try:
            one = attack()
        except (PolicyError, PrivacyError) as error:
            report.missing.append(f"one-run epsilon, {what}: {error}")
            continue
        yield _bounded(what, target, changed, one)


def _bounded(what: str, target: str, changed: str, one: Bound) -> Row:
    if one.claimed is None:
        result = f"at least {one.least:.2f}; none is claimed"
        told = "Nothing hides a canary: more of them, and the bound would be higher."
    else:
        result = f"at least {one.least:.2f} of {one.claimed:.2f} claimed"
        told = f"The mechanism{changed} was " + (
            "caught: more canaries were found than its epsilon allows."
            if one.refuted
            else "not caught: no more canaries were found than its epsilon allows."
        )
    expected = {CONTROL: one.refuted, NULL: not one.refuted}.get(target)
    figures = {**asdict(one), "refuted": one.refuted}
    return Row("epsilon", f"one-run epsilon, {what}", target, result, told, figures, expected)


def _masks(_audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    strength = masks.strength()
    yield Row(
        "mask",
        "guessing a mask's seed",
        SUM,
        f"{strength.years:.1e} years on one core",
        f"Half of the seeds of 256 bits are tried in {strength.years:.0e} years.",
        {"guesses_a_second": strength.keystream_guesses, "years": strength.years},
    )
    rng = np.random.default_rng([seed, 13])
    bits = 18 if report.quick else 28
    secret, toy = int(rng.integers(2**bits)), rng.integers(0, 2**22, 16)
    masked = toy.astype(np.uint32) + masks.twister_mask(len(toy), secret)
    opened = masks.open_twister(masked, below=2**22, seeds=2**bits)
    right = opened is not None and opened[0] == secret and bool((opened[1] == toy).all())
    yield Row(
        "mask",
        "guessing a mask's seed",
        CONTROL,
        f"{'opened' if right else 'not opened'} among 2^{bits}; a Mersenne Twister's 2^28 take "
        f"{strength.minutes(28):.1f} minutes, 2^32 {strength.minutes(32):.0f}, on one core",
        "A mask of a generator with 32 bits of seed was opened, and the numbers under it read."
        if right
        else "The toy mask was not opened.",
        {"opened": right, "bits": bits, "guesses_a_second": strength.twister_guesses},
        right,
    )
