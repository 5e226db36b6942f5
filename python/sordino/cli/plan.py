# SPDX-License-Identifier: Apache-2.0

"""`sordino plan`: what a study comes to, before anything runs."""

from __future__ import annotations

import json
from math import ceil, floor, log10
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sordino.cli.app import YOU_ERRED, app, tell_error, tell_warning
from sordino.cli.check import DataPath, StudyPath
from sordino.cli.privacy import CAVEAT

if TYPE_CHECKING:
    from sordino.federated.study.planning import StudyPlan
    from sordino.federated.study.prepared import Prepared
    from sordino.privacy.planner import Asked, Components, Plan
    from sordino.privacy.remedies import Remedies

_GREATEST_DELTA = 0.01  # that a study file may ask for


@app.command()
def plan(
    study: StudyPath,
    data: DataPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what a study costs and how good its sums are: epsilon, noise, bytes, times. Nothing is run."""
    from sordino.cli.rates import measured_rates
    from sordino.federated.study.planning import plan_of, within_reach
    from sordino.federated.study.prepared import examine

    prepared, findings = examine(study, data)
    if prepared is None:
        for fault in findings.faults:
            tell_error(fault)
        for line in within_reach(study, data):
            tell_error(line)
        raise typer.Exit(YOU_ERRED)
    found = plan_of(prepared, measured_rates(prepared.policy))
    if as_json:
        typer.echo(json.dumps(_object(prepared, found), allow_nan=False))
        return
    for warning in findings.warnings:
        tell_warning(warning)
    typer.echo("\n".join(_lines(prepared, found)))


# One JSON object ------------------------------------------------------------------------------------------


def _object(prepared: Prepared, found: StudyPlan) -> dict[str, Any]:
    """What docs/privacy.md lists; a key that does not apply is null."""
    whole, terms = found.plan, prepared.study.privacy
    policy, guarantee = whole.policy, whole.guarantee
    return {
        "study": prepared.study.name,
        "sites": policy.sites,
        "patients": found.patients,
        "unit": whole.unit,
        "epsilon": guarantee.epsilon if guarantee else None,
        "delta": guarantee.delta if guarantee else None,
        "epsilon_allowed": terms.epsilon if terms else None,
        "method": guarantee.method if guarantee else None,
        "wrap_probability": guarantee.wrap_probability if guarantee else 0.0,
        "smallest_cohort": policy.smallest_cohort,
        "tolerated_dropouts": whole.tolerated,
        "colluders": policy.colluders,
        "bits": policy.bits,
        "sent": whole.sent,
        "site_seconds": whole.site_seconds,
        "coordinator_seconds": whole.coordinator_seconds,
        "verdict": _verdict(whole),
        "questions": [_asked(asked) for asked in whole.questions],
        "epsilon_after": [
            {"kind": kind, "sums": sums, "epsilon": epsilon} for kind, sums, epsilon in whole.epsilons
        ],
        "components": _components(whole.components),
        "needed": _needed(whole.remedies),
        "units": {
            unit: {"refused": other} if isinstance(other, str) else _unit(other)
            for unit, other in found.units.items()
        },
    }


def _asked(asked: Asked) -> dict[str, Any]:
    return {
        "kind": asked.kind,
        "times": asked.times,
        "lanes": asked.lanes,
        "sigma": asked.sigma,
        "noise_multiplier": asked.noise_multiplier,
        "sampling_rate": asked.sampling_rate,
        "local_steps": asked.local_steps,
        "epsilon_once": asked.epsilon_once,
        "epsilon_all": asked.epsilon_all,
        "blocks": [
            {
                "name": one.block,
                "lanes": one.lanes,
                "clip": one.clip,
                "resolution": one.resolution,
                "noise": one.noise,
                "noise_on_mean": one.noise_on_mean,
            }
            for one in asked.precision
        ],
        "count_noise": asked.count_noise,
        "noise_to_clip": asked.noise_to_clip,
        "wrap_probability": asked.wrap_probability,
        "payload": asked.bytes.payload,
        "share_boxes": asked.bytes.share_boxes,
        "messages": asked.bytes.messages,
        "sent": asked.bytes.sent,
        "received": asked.bytes.received,
        "site_seconds": asked.site_seconds,
        "coordinator_seconds": asked.coordinator_seconds,
    }


def _components(components: Components | None) -> dict[str, Any] | None:
    if components is None:
        return None
    return {
        "planned": components.planned,
        "noise": components.noise,
        "noise_alone": components.noise_alone,
        "draws": components.draws,
        "share_bytes": components.share_bytes,
        "cheaper": components.cheaper,
    }


def _needed(needed: Remedies | None) -> dict[str, Any] | None:
    if needed is None:
        return None
    return {
        "excess": needed.excess,
        "patients": needed.patients,
        "sites": needed.sites,
        "rounds": needed.rounds,
        "parameters": needed.parameters,
        "epsilon": needed.epsilon,
        "delta": needed.delta,
        "max_patients": needed.max_weight,
    }


def _unit(other: Plan) -> dict[str, Any]:
    training = other.training
    return {
        "epsilon": other.guarantee.epsilon if other.guarantee else None,
        "epsilon_once": training.epsilon_once if training else None,
        "noise_multiplier": training.noise_multiplier if training else None,
        "noise_to_clip": training.noise_to_clip if training else None,
        "bits": other.policy.bits,
        "verdict": _verdict(other),
        "needed": _needed(other.remedies),
    }


def _verdict(whole: Plan) -> str:
    if whole.guarantee is None:
        return "unbounded"
    return "hopeless" if whole.hopeless else "fine"


# Lines for a reader ---------------------------------------------------------------------------------------


def _lines(prepared: Prepared, found: StudyPlan) -> list[str]:
    whole = found.plan
    policy = whole.policy
    who = (
        f"  at least {policy.smallest_cohort} sites in every sum, {whole.tolerated} may drop out of a round, "
        f"{policy.colluders} may collude with the coordinator"
    )
    lines = [
        f"{prepared.study.name}: {policy.sites} sites, about {found.patients:,.0f} patients to train on",
        who,
        *_cost(prepared, whole),
    ]
    for asked in whole.questions:
        lines += _question(whole, asked)
    work = (
        f"  a site sends {_bytes(whole.sent)} in all sums; it works {_time(whole.site_seconds)} on them, the "
        f"coordinator {_time(whole.coordinator_seconds)} on masks and noise"
    )
    lines += [work, "    by one core of this machine, without training, network and set-up"]
    if whole.components is not None:
        lines += _compared(whole.components)
    lines += _help("  ", whole, "training")
    if found.units:
        lines.append(f"  the same target for each unit ({CAVEAT})")
    for unit, other in found.units.items():
        if isinstance(other, str):
            lines.append(f"    {unit}: refused, {other}")
            continue
        if (training := other.training) is not None:
            lines.append(
                f"    {unit}: a round of training costs epsilon {_up(training.epsilon_once)}, its noise is "
                f"{training.noise_to_clip:.3g} times as long as the clip: {_verdict(other)}"
            )
        if other is not whole:
            lines += _help("      ", other, f'with the unit "{unit}" training')
    return lines


def _cost(prepared: Prepared, whole: Plan) -> list[str]:
    guarantee = whole.guarantee
    if guarantee is None:
        return ["  epsilon: unbounded without noise"]
    terms = prepared.study.privacy
    allowed = f", of {terms.epsilon:g} allowed" if terms else ""
    after = ", ".join(f"{_up(epsilon, 3)} after {kind} {sums}" for kind, sums, epsilon in whole.epsilons)
    return [
        f"  epsilon of one {whole.unit}: {_up(guarantee.epsilon)} at delta {guarantee.delta:g}{allowed}",
        f"    {after}",
        f"    a sum is spoiled by wrapping with probability {guarantee.wrap_probability:.2g} at most",
    ]


def _question(whole: Plan, asked: Asked) -> list[str]:
    size = asked.bytes
    sent = (
        f"    a site sends {_bytes(size.payload)} of masked numbers, {_bytes(size.share_boxes)} of shares, "
        f"{_bytes(size.messages)} of messages, and works {_time(asked.site_seconds)}"
    )
    sums = f"{asked.times} {'sum' if asked.times == 1 else 'sums'}"
    lines = [
        f"  {asked.kind}, {sums}: {asked.lanes:,} lanes of {whole.policy.bits} bits",
        sent,
    ]
    if asked.epsilon_once is not None:
        steps = f" in {asked.local_steps} steps of its own" if asked.local_steps else ""
        lines.append(
            f"    noise multiplier {asked.noise_multiplier:.4g}{steps}, epsilon {_up(asked.epsilon_once)} "
            f"for one sum, {_up(asked.epsilon_all)} for all"
        )
    for one in asked.precision:
        line = f"    {one.block}: clip {one.clip:.4g}, resolution {one.resolution:.3g}"
        if one.noise:
            line += f", noise {one.noise:.4g} on each of {one.lanes} lanes"
            line += f", {one.noise_on_mean:.3g} on the mean" if one.noise_on_mean is not None else ""
        lines.append(line)
    if asked.count_noise:
        lines.append(f"    number of patients: noise {asked.count_noise:.3g}")
    return lines


def _compared(components: Components) -> list[str]:
    now = "with components" if components.planned else "without components"
    noise = (
        f"  noise {components.noise:.4g} times a trusted curator's if nobody drops out, where components "
        f"make it exact; {components.noise_alone:.4g} times without them"
    )
    price = (
        f"    they take {components.draws} draws a lane instead of 1 and {_bytes(components.share_bytes)} "
        f"more of shares a round; cheaper: {components.cheaper} (planned: {now})"
    )
    return [noise, price]


def _help(indent: str, whole: Plan, what: str) -> list[str]:
    needed = whole.remedies
    if needed is None:
        return []
    enough = {
        f"{needed.patients or 0:,} patients": needed.patients is not None,
        f"{needed.sites or 0:,} sites": needed.sites is not None,
        f"{needed.rounds:,} sums of training with so little noise": needed.rounds > 0,
        f"{needed.parameters:,} parameters": needed.parameters > 0,
        f"epsilon {_up(needed.epsilon)}": True,
        f"delta {needed.delta or 0.0:.3g}": (needed.delta or 1.0) < _GREATEST_DELTA,
        f"max_patients {needed.max_weight or 0:,}": bool(needed.max_weight),
    }
    never = {
        "more patients at these sites": needed.patients is None,
        "more sites": needed.sites is None,
        "fewer rounds": needed.rounds == 0,
        "a smaller model": needed.parameters == 0,
        "a lower max_patients": whole.unit == "site" and not needed.max_weight,
        "a larger delta": (needed.delta or 1.0) >= _GREATEST_DELTA,
    }
    useless = [what for what, true in never.items() if true]
    verdict = (
        f"{indent}{what} is hopeless: its noise is {needed.excess:.3g} times as long as the clip. Any one of "
        f"these would bring it down to 1:"
    )
    lines = [verdict, f"{indent}  " + ", ".join(figure for figure, true in enough.items() if true)]
    return [*lines, f"{indent}  not by itself: " + ", ".join(useless)] if useless else lines


def _up(epsilon: float | None, digits: int = 4) -> str:
    """With so many significant digits, rounded up."""
    if not epsilon:
        return "0" if epsilon is not None else "unbounded"
    step = 10.0 ** (floor(log10(epsilon)) + 1 - digits)
    return f"{ceil(epsilon / step * (1 - 1e-12)) * step:.{digits}g}"


def _bytes(count: int) -> str:
    """Whole bytes up to ten thousand, then three digits."""
    if count < 10_000:
        return f"{count:,} bytes"
    unit, size = next((unit, size) for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if count >= size)
    return f"{float(f'{count / size:.3g}'):,g} {unit}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "an unknown time"
    for unit, size in (("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000.0:.3g} ms"
