# SPDX-License-Identifier: Apache-2.0

"""One study for every engine: sites on disk, what their training returns, and its sum in the clear."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sordino import Contribution, PlainAggregator
from sordino.adapters.named import plan_question
from sordino.aggregation.plain import PlainSumWarning
from sordino.files.identity import write_identity
from sordino.files.journal import FileJournal
from sordino.files.settings import roster_entry
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.policy import Policy, plan_policy
from sordino.protocol.state import load_state

NAMES = ("aachen", "bergen", "coimbra", "delft", "essen", "fulda")
MODEL = {"weights": np.zeros((3, 2), np.float32), "bias": np.full(2, 0.25, np.float32)}
COUNTS = {name: 100 + 7 * place for place, name in enumerate(NAMES)}
LOSSES = {name: 0.5 + 0.0625 * place for place, name in enumerate(NAMES)}

Arrays = Mapping[str, np.ndarray]


class Killed(BaseException):
    """As SIGKILL: nothing of the program's own runs after it."""


# Sites on disk ---------------------------------------------------------------------------------------------

FLOOR = 'across_rounds = ["accept", "freeze", "noise"]\nsemi_honest = true'


def site_files(
    folder: Path, names: tuple[str, ...] = NAMES, *, floor: str = FLOOR, budget: str = ""
) -> dict[str, Path]:
    """Keys, one roster and a site.toml for each site; gives the paths of the latter."""
    entries, settings = [], {}
    for name in names:
        (folder / name).mkdir(parents=True)
        entries.append(roster_entry(write_identity(folder / name / f"{name}.key", name)))
    for name in names:
        (folder / name / "roster.toml").write_text("\n".join(entries))
        settings[name] = folder / name / "site.toml"
        settings[name].write_text(
            f'name = "{name}"\nidentity = "{name}.key"\nroster = "roster.toml"\njournal = "journal"\n'
            f'dataset = "scans"\n[floor]\n{floor}\n{budget}'
        )
    return settings


def budgeted(folder: Path, unit: str, epsilon: float, names: tuple[str, ...] = NAMES) -> dict[str, Path]:
    """Sites that take questions with noise only, until so much is spent."""
    budget = f'[budget]\nepsilon = {epsilon}\ndelta = 1e-5\nunit = "{unit}"\n'
    return site_files(folder, names, floor='across_rounds = ["noise"]', budget=budget)


def give_key_of(settings: Mapping[str, Path], name: str, other: str) -> None:
    """Have a site's settings name the key of another."""
    text = settings[name].read_text()
    settings[name].write_text(text.replace(f'"{name}.key"', f'"../{other}/{other}.key"'))


def give_old_roster(folder: Path, name: str) -> None:
    """Pin a roster at a site in which the last site still has another key."""
    roster = folder / name / "roster.toml"
    old = roster_entry(write_identity(folder / NAMES[-1] / "old.key", NAMES[-1]))
    new = roster.read_text().split("[[site]]")[-1]
    roster.write_text(roster.read_text().replace(new, old.split("[[site]]")[-1]))


def uploads(folder: Path, name: str) -> list[int]:
    """The rounds in which a site uploaded, out of its journal, whose chain is checked as it is read."""
    with FileJournal(folder / name / "journal").open() as book:
        return [entry.round for entry in book.entries() if entry.action == "UploadRequest"]


def charges(folder: Path, name: str) -> int:
    """How many questions a site has paid for."""
    with FileJournal(folder / name / "journal").open() as book:
        return sum(book.index.asked("scans").charges.values())


# Policies --------------------------------------------------------------------------------------------------


def study_policy(scored: str, **terms: Any) -> Policy:
    """Training and a score over the six sites, malicious mode, sites may come and go."""
    plan = [
        plan_question("train", MODEL, sites=6, max_weight=1000, clip=4.0, metrics={"loss": 8.0}),
        plan_question(scored, None, sites=6, max_weight=1000, metrics={"accuracy": 1.0}),
    ]
    return plan_policy(
        **{"study": "towards", "sites": 6, "plan": plan, "across_rounds": "accept", "rounds": 100, **terms}
    )


def noised_policy(unit: str, multiplier: float, *, max_weight: int = 1000, **terms: Any) -> Policy:
    """Training alone, with noise for this unit."""
    question = plan_question(
        "train", MODEL, sites=6, max_weight=max_weight, clip=8.0, metrics={"loss": 1.0}, wanted_bits=16
    )
    return plan_with_noise([question], unit, {"train": multiplier}, study="s", sites=6, rounds=50, **terms)


# Training, and its sum in the clear ------------------------------------------------------------------------


def count_of(name: str) -> int:
    return COUNTS[name]


def loss_of(name: str) -> float:
    return LOSSES[name]


def accuracy_of(name: str) -> float:
    return LOSSES[name] / 2


def target_of(name: str, server_round: int) -> dict[str, np.ndarray]:
    """What a site's training adds to the model: anything, but always the same."""
    random = np.random.default_rng([NAMES.index(name), server_round])
    return {key: random.uniform(-1, 1, value.shape).astype(np.float32) for key, value in MODEL.items()}


def change_of(name: str, server_round: int, model: Arrays = MODEL) -> np.ndarray:
    """What a site's training adds, as it comes out of float32: the block of all arrays."""
    target = target_of(name, server_round)
    return np.concatenate([((model[key] + target[key]) - model[key]).ravel() for key in sorted(model)])


def plain_mean(
    policy: Policy, survivors: Sequence[str], server_round: int = 1, model: Arrays = MODEL
) -> tuple[dict[str, np.ndarray], float]:
    """The fixed-point mean in the clear, added to the model, and the mean loss."""
    with pytest.warns(PlainSumWarning):
        plain = PlainAggregator(policy, NAMES)
    contributors = {
        name: lambda _, name=name: Contribution(
            {"arrays": change_of(name, server_round, model), "loss": np.array([loss_of(name)])},
            count_of(name),
        )
        for name in survivors
    }
    total = plain.aggregate("train", b"", contributors)
    change, moved = total.mean("arrays"), {}
    for key in sorted(model):
        part, change = change[: model[key].size], change[model[key].size :]
        moved[key] = (model[key] + part.reshape(model[key].shape)).astype(np.float32)
    return moved, float(total.mean("loss")[0])


def assert_same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)
        assert found[key].dtype == value.dtype


def assert_noised(policy: Policy, total: Any, there: Sequence[str]) -> None:
    """The sum of the first round about sites has noise, and no more than was planned, whoever dropped out."""
    expected = sum(count_of(name) * change_of(name, 1) for name in there)
    off = (total.sums["arrays"] - expected) * 2**16 / total.noise
    assert 0.01 < np.abs(off).max() < 6
    sigma = policy.question("train").noise.sigma
    assert sigma <= total.noise < 1.5 * sigma  # one colluder's part is on top


# Losses ----------------------------------------------------------------------------------------------------

_ORDER = ("UploadRequest", "ConfirmRequest", "UnmaskRequest", "RecoverRequest")


def gone_from(steps: Mapping[str, str], rounds: Iterable[int] = (1,)) -> Callable[[str, Any], bool]:
    """Whether a site is gone when this message comes: from its step on, in these rounds of the session."""
    current: dict[str, int] = {}

    def gone(name: str, message: Any) -> bool:
        phase, step = type(message).__name__, steps.get(name)
        if phase == "UploadRequest":
            current[name] = message.round
        if step is None or phase not in _ORDER or current[name] not in rounds:
            return False
        return _ORDER.index(phase) >= _ORDER.index(step)

    return gone


# Planted numbers -------------------------------------------------------------------------------------------

MARKED_COUNTS = {name: 123_456_789_012 + place for place, name in enumerate(NAMES)}
MARKED_LOSSES = {name: 0.1234567890123 + place / 7 for place, name in enumerate(NAMES)}
"""Numbers that no other bytes look like."""

MARKED_WEIGHT = 2**38


def markers() -> dict[str, bytes]:
    """Every way in which a site's numbers of the first round could lie in bytes."""
    found = {}
    for name in NAMES:
        change, target = change_of(name, 1), target_of(name, 1)
        for key, value in MODEL.items():
            found[f"{name}'s {key}"] = (value + target[key]).tobytes()
        for place in range(len(change) - 1):
            pair = change[place : place + 2]
            found[f"{name}'s change at {place}, float32"] = pair.tobytes()
            found[f"{name}'s change at {place}, float64"] = pair.astype(np.float64).tobytes()
        numbers = (("loss", MARKED_LOSSES[name], "<d >d"), ("count", MARKED_COUNTS[name], "<d >d <Q >Q"))
        for what, number, kinds in numbers:
            found |= {f"{name}'s {what} as {kind}": struct.pack(kind, number) for kind in kinds.split()}
        found[f"{name}'s count as varint"] = _varint(2 * MARKED_COUNTS[name])  # protobuf's sint64
    return found


def seen_in(carried: list[bytes], patterns: Mapping[str, bytes]) -> set[str]:
    """The names of the patterns that are somewhere in what was carried."""
    stream = b"\n".join(carried)
    return {name for name, pattern in patterns.items() if pattern in stream}


def secrets_in(session: bytes) -> set[bytes]:
    """The keys that a site's saved session holds, those of the running round included."""
    state = load_state(session)
    keys = [*state.pairs.values(), *(state.open.mask_keys.values() if state.open is not None else ())]
    return {key.reveal() for key in keys}


def all_seen(found: set[str]) -> bool:
    """Whether all sites' arrays, losses and counts are among the patterns that were found."""
    return all(
        any(pattern.startswith(f"{name}'s {what}") for pattern in found)
        for name in NAMES
        for what in ("weights", "bias", "loss", "count")
    )


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])
