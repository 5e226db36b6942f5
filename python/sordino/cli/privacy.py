# SPDX-License-Identifier: Apache-2.0

"""`sordino privacy`: what noise costs, and how much noise a target needs."""

from __future__ import annotations

import json
from math import ceil
from typing import TYPE_CHECKING, Annotated

import typer

from sordino.cli.app import app

if TYPE_CHECKING:
    from sordino.privacy.accountant import Guarantee
    from sordino.privacy.events import SampledGaussian

privacy = typer.Typer(
    no_args_is_help=True, help="Differential privacy: epsilon from noise, and noise from epsilon."
)
app.add_typer(privacy, name="privacy")

CAVEAT = "counts one unit at one site: someone at h sites has group privacy h, which no site can see"

DeltaOption = Annotated[float, typer.Option("--delta", metavar="D", help="Above 0 and below 1.")]
RateOption = Annotated[
    float, typer.Option("--sampling-rate", metavar="Q", help="Chance of a unit to be in a step (Poisson).")
]
StepsOption = Annotated[int, typer.Option("--steps", metavar="T", help="Steps, each with fresh noise.")]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON object: epsilon, method, order, noise_multiplier.")
]


@privacy.command("epsilon")
def epsilon(
    delta: DeltaOption,
    noise_multiplier: Annotated[
        float | None,
        typer.Option("--noise-multiplier", metavar="S", help="Standard deviation over sensitivity."),
    ] = None,
    sampling_rate: RateOption = 1.0,
    steps: StepsOption = 1,
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", metavar="S,Q,T", help="Noise multiplier, sampling rate, steps; may be repeated."
        ),
    ] = None,
    pld: Annotated[
        bool, typer.Option("--pld", help="Try privacy loss distributions too (extra pld).")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the epsilon of Gaussian noise, sampled or not; what several options name is composed."""
    from sordino.errors import InvalidArgument
    from sordino.privacy.accountant import Accountant

    events = [_parsed(text) for text in event or []]
    if noise_multiplier is not None:
        events.insert(0, _event(noise_multiplier, sampling_rate, steps))
    if not events:
        raise InvalidArgument("nothing to compose: give --noise-multiplier, or --event S,Q,T")
    multipliers = {each.noise_multiplier for each in events}
    guarantee = Accountant(events, pld=pld).epsilon(delta)
    _print(guarantee, multipliers.pop() if len(multipliers) == 1 else None, as_json)


@privacy.command("calibrate")
def calibrate(
    target: Annotated[float, typer.Option("--epsilon", metavar="E", help="The epsilon to be kept.")],
    delta: DeltaOption,
    sampling_rate: RateOption = 1.0,
    steps: StepsOption = 1,
    as_json: JsonOption = False,
) -> None:
    """Print the least noise multiplier that keeps (epsilon, delta) over all steps."""
    from sordino.privacy.accountant import Accountant
    from sordino.privacy.calibration import noise_multiplier

    sigma = noise_multiplier(target, delta, sampling_rate=sampling_rate, steps=steps)
    _print(Accountant([_event(sigma, sampling_rate, steps)]).epsilon(delta), sigma, as_json)


def _event(noise_multiplier: float, sampling_rate: float, steps: int) -> SampledGaussian:
    from sordino.privacy.events import SampledGaussian
    from sordino.privacy.ranges import check_count

    return SampledGaussian(noise_multiplier, sampling_rate, check_count(steps, "steps"))


def _parsed(text: str) -> SampledGaussian:
    from sordino.errors import InvalidArgument

    try:
        sigma, q, steps = text.split(",")
        numbers = float(sigma), float(q), int(steps)
    except ValueError:
        raise InvalidArgument(
            f"--event must be a noise multiplier, a sampling rate and a number of steps, as 1.1,0.01,1000, "
            f"got {text!r}"
        ) from None
    return _event(*numbers)


def _print(guarantee: Guarantee, noise_multiplier: float | None, as_json: bool) -> None:
    if as_json:
        fields = {
            "epsilon": guarantee.epsilon,
            "method": guarantee.method,
            "order": guarantee.order,
            "noise_multiplier": noise_multiplier,
        }
        typer.echo(json.dumps(fields, allow_nan=False))
        return
    order = "" if guarantee.order is None else f", order {guarantee.order:.6g}"
    typer.echo(
        f"epsilon           {rounded_up(guarantee.epsilon)} at delta {guarantee.delta:g} "
        f"({guarantee.method}{order})"
    )
    if noise_multiplier is not None:
        typer.echo(f"noise multiplier  {rounded_up(noise_multiplier)}")
    typer.echo(CAVEAT)


def rounded_up(value: float) -> str:
    """With six decimals, rounded up."""
    return f"{ceil(value * 1e6) / 1e6:.6f}" if value < 1e9 else f"{value:.17g}"
