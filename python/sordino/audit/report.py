# SPDX-License-Identifier: Apache-2.0

"""All attacks on one study: what was tried, how well it worked, and what the control shows, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from sordino.audit import attributes, canaries, inversion, masks, membership
from sordino.audit.patches import IMAGES, lesion_patches
from sordino.audit.rates import Separation
from sordino.audit.targets import DELTA, EPSILON, MODEL, NOISED, RAW, SUM, Audited
from sordino.audit.updates import update_views
from sordino.errors import InvalidArgument
from sordino.federated.study.prepared import Prepared
from sordino.models.logistic import Logistic
from sordino.models.model import Matrix
from sordino.models.perceptron import MultiLayerPerceptron
from sordino.statistics.scaling import standardised

CONTROL, NULL = "control", "null"

CONTROL_EPSILON, CONTROL_DELTA, CONTROL_CANARIES = 3.0, 1e-6, 200_000
"""Of the one-run audit's control: with fewer canaries noise that is halved is not always caught."""

SITES_OF_FEW = 3
"""Sites whose few patients' gradients are inverted."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `result` is what was measured; `says` is that in a sentence.

    expected   of a control, whether the attack won it; of a null, whether it did not; None of other targets
    """

    attack: str
    target: str
    result: str
    says: str
    figures: dict[str, Any]
    expected: bool | None = None


@dataclass
class Report:
    """What an audit found; `missing` says what could not be tried and why, `pictures` what can be drawn."""

    study: str
    quick: bool
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    pictures: dict[str, inversion.Rebuilt] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """For audit.json; figures are finite or None."""
        return {
            "study": self.study,
            "quick": self.quick,
            "rows": [asdict(row) for row in self.rows],
            "missing": self.missing,
            "note": "an audit that finds nothing proves nothing: a better attack may find more",
        }


def audit_study(
    prepared: Prepared, *, quick: bool = False, seed: int = 0, tell: Callable[[str], None] = lambda _: None
) -> Report:
    """Run every attack on the study's own rows, in simulation.

    quick   few shadow models and canaries: some minutes become some seconds, and intervals wide

    Raises `ConfigError` for a study that cannot be simulated over halves of its patients.
    """
    audited = Audited(prepared)
    report = Report(prepared.study.name, quick)
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
        ("gradient inversion", _inversions),
        ("one-run epsilon", _canaries),
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
    found = membership.infer(audited.observe, len(audited.target), shadows=shadows, seed=seed)
    found[CONTROL] = membership.overfitted(seed=seed)
    found[NULL] = membership.unrelated(seed=seed)
    for target, both in found.items():
        for attack, one in (("loss threshold", both.threshold), ("likelihood ratio", both.likelihood)):
            won, coin = one.auc.low > 0.9, 0.5 in one.auc
            expected = {CONTROL: won, NULL: coin}.get(target)
            yield Row(f"membership, {attack}", target, _separated(one), _said(one), asdict(one), expected)
    rates = found[MODEL].threshold
    if lacking := [rate for rate, value in rates.tpr.items() if value is None]:
        report.missing.append(
            f"rates at {' and '.join(f'{float(rate):.1%}' for rate in lacking)} false positives need "
            f"{round(1 / float(lacking[0])):,} patients who were not trained on; here are {rates.others}"
        )


def _separated(one: Separation) -> str:
    rates = [f"TPR {value} at {float(rate):.1%}" for rate, value in one.tpr.items() if value is not None]
    return f"AUC {one.auc}" + "".join(f"; {rate}" for rate in rates)


def _said(one: Separation) -> str:
    if one.auc.low > 0.9:
        return f"Members were told from others nearly always: AUC {one.auc.value:.2f}."
    if 0.5 in one.auc:
        return "The attack did no better here than tossing a coin, as far as so few patients can show."
    way = "better" if one.auc.value > 0.5 else "worse"
    return f"The attack did {way} than tossing a coin: AUC {one.auc.value:.2f}."


def _attributes(audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng([seed, 11])
    member = rng.permutation(np.arange(len(audited.target)) % 2 == 0)
    column = hardest(audited.features)
    for target, state in audited.states(member, seed).items():
        here = member & (audited.site == audited.raw) if target == RAW else member

        def losses(rows: Matrix, target: str = target, state: Any = state, here: Any = here) -> Any:
            features = audited.features.copy()
            features[here] = rows
            return audited.losses(target, state, features)[here]

        try:
            one = attributes.infer_attribute(
                losses,
                audited.features[here],
                audited.target[here],
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
    return Row(f"attribute inference, {name}", target, result, told, asdict(one), expected)


def _inversions(audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng([seed, 12])
    state = {"mean": audited.features.mean(axis=0), "scale": audited.features.std(axis=0)}
    state["scale"] = np.where(np.ptp(audited.features, axis=0) > 0.0, state["scale"], 1.0)
    rows, target = standardised(audited.features, state), audited.target
    yield from _analytic(rows, target, len(audited.names), rng, seed)
    few = min(4, len(rows) // SITES_OF_FEW)
    yield from _optimised("features", rows, target, few, report, rng, seed)
    patches = lesion_patches(SITES_OF_FEW * 2, seed=seed)
    classes = rng.integers(0, 2, len(patches)).astype(float)
    yield from _optimised(IMAGES, patches, classes, 2, report, rng, seed)


def _analytic(rows: Matrix, target: Any, sites: int, rng: np.random.Generator, seed: int) -> Iterator[Row]:
    """One patient at each site, and a logistic model that knows nothing yet."""
    model = Logistic(rows.shape[1], l2=0.0)
    chosen = rng.choice(len(rows), size=sites, replace=False)
    batches = [(rows[one : one + 1], target[one : one + 1]) for one in chosen]
    for name, gradient in update_views(
        model, model.initial(), batches, epsilon=EPSILON, delta=DELTA, seed=seed
    ).items():
        found = inversion.first_layer(gradient[:-1, np.newaxis], gradient[-1:])
        error = float(np.abs(found - batches[0][0][0]).max())
        told = (
            "The one patient's row was read off to the last digit."
            if error < 1e-9
            else "The row that comes out is not the patient's."
        )
        yield Row(
            "inversion, analytic, one patient", name, f"largest error {error:.1e} SD", told, {"error": error}
        )


def _optimised(
    what: str, rows: Matrix, target: Any, few: int, report: Report, rng: np.random.Generator, seed: int
) -> Iterator[Row]:
    model = MultiLayerPerceptron(rows.shape[1], hidden=(32,), activation="tanh", l2=0.0, seed=seed)
    chosen = rng.choice(len(rows), size=(SITES_OF_FEW, few), replace=False)
    batches = [(rows[here], target[here]) for here in chosen]
    for name, gradient in update_views(
        model, model.initial(), batches, epsilon=EPSILON, delta=DELTA, seed=seed
    ).items():
        here = chosen[0] if name == RAW else chosen.ravel()
        found = inversion.by_optimisation(
            model,
            model.initial(),
            gradient,
            target[here],
            starts=1 if report.quick else 3,
            steps=500 if report.quick else 3_000,
            seed=seed,
        )
        one = inversion.compared(rows[here], found)
        report.pictures[f"{what}, {name}"] = one
        told = (
            f"{one.matched.value:.0%} of {len(here)} patients were rebuilt within a quarter of a deviation."
        )
        result = f"median error {float(np.median(one.error)):.2g}, matched {one.matched}"
        figures = {"error": one.error.tolist(), "matched": asdict(one.matched)}
        yield Row(f"inversion, optimised, {what}", name, result, told, figures)


def _canaries(audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    number = 2_000 if report.quick else 20_000
    terms = audited.study.privacy.terms if audited.study.privacy is not None else None
    epsilon, delta = (terms.epsilon, terms.delta) if terms is not None else (EPSILON, DELTA)
    tried: list[tuple[str, canaries.Bound]] = []
    if terms is not None and terms.unit == "site":
        report.missing.append("one-run epsilon of the study's noise: too few sites to be canaries")
    else:
        mechanisms: tuple[tuple[canaries.Mechanism, str], ...] = (
            ("secure sums", NOISED),
            ("patient-local", "noise of a site's own"),
        )
        for mechanism, target in mechanisms:
            bound = canaries.empirical_epsilon(
                epsilon, delta, canaries=number, mechanism=mechanism, seed=seed
            )
            tried.append((target, bound))
    for target, noise in ((CONTROL, 0.5), (NULL, 1.0)):
        bound = canaries.empirical_epsilon(
            CONTROL_EPSILON,
            CONTROL_DELTA,
            canaries=CONTROL_CANARIES,
            mechanism="open sums",
            noise=noise,
            seed=seed,
        )
        tried.append((target, bound))
    for target, one in tried:
        halved = " with its noise halved on purpose" if one.noise < 1.0 else ""
        told = f"The mechanism{halved} was " + (
            "caught: more canaries were found than its epsilon allows."
            if one.refuted
            else "not caught: no more canaries were found than its epsilon allows."
        )
        result = f"at least {one.least:.2f} of {one.claimed:.2f} claimed"
        expected = {CONTROL: one.refuted, NULL: not one.refuted}.get(target)
        yield Row("one-run epsilon", target, result, told, asdict(one), expected)


def _masks(_audited: Audited, report: Report, seed: int) -> Iterator[Row]:
    strength = masks.strength()
    yield Row(
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
