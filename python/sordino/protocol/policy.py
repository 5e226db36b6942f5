# SPDX-License-Identifier: Apache-2.0

"""What a study may ask, how many must be in each sum, and the least that a site will accept.

A `Policy` is proposed by the coordinator, checked by every site against its own `Floor` before any key is
made, and hashed into every key. Its bounds are those of docs/protocol.md: with the consistency check
2t > n + c, so that two certificates share an honest signer, and c < t always.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from math import isqrt
from operator import index
from typing import Annotated, Literal, TypeAlias, get_args

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from sordino.errors import PolicyError, PolicyRefused
from sordino.protocol.degrees import ETA, SIGMA, Degree, risks, smallest_degree
from sordino.protocol.encoding import digest
from sordino.protocol.noise import Noise, rounded_limit

EVERYONE = "all"
"""The lane group that every site has."""

MAX_SITES = 4096
MAX_LANES = 2**40
MAX_ROUNDS = 1_000_000
MAX_GROUPS = 16
MAX_QUESTIONS = 64
MAX_BLOCKS = 256
MAX_SCHEMA_BYTES = 32

_SUGGESTED_NEIGHBOURS = 512
"""How far to look for a legal degree in place of an illegal one: an offer must not keep a site busy."""

AcrossRounds: TypeAlias = Literal["freeze", "accept", "noise"]
Shape: TypeAlias = Literal["complete", "sparse"]

_NAME_PATTERN = r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"
Name = Annotated[str, Meta(max_length=64, pattern=_NAME_PATTERN)]


def check_name(name: object) -> None:
    """Raise `PolicyError` unless `name` may name a site, a block or a question."""
    if not isinstance(name, str) or not re.match(_NAME_PATTERN, name):
        raise PolicyError(
            f"a name has 1 to 64 letters, digits, dots, dashes and underscores and starts with a letter or "
            f"a digit, got {name!r}"
        )


class Block(Struct, frozen=True, forbid_unknown_fields=True):
    """A run of `length` lanes that share one fixed-point scale, 2**fraction_bits, and one clip.

    A value v becomes the integer round(min(max(v, -clip), clip) * 2**fraction_bits), so the resolution is
    2**-fraction_bits. `group` is the lane group that the block belongs to. In a question with noise `clip`
    bounds the L2 norm of what one unit adds to the whole block, and rounding is stochastic; not so with
    "patient-local", where values are private before they come here.
    """

    name: Name
    length: int
    clip: float
    fraction_bits: int
    group: Name = EVERYONE

    def __post_init__(self) -> None:
        _as_int(self, "length", "fraction_bits")
        try:
            force_setattr(self, "clip", float(self.clip))
        except (TypeError, ValueError, OverflowError):
            raise PolicyError(f"clip must be a number, got {self.clip!r}") from None

    @property
    def scale(self) -> float:
        """Grid units in 1.0."""
        return float(2**self.fraction_bits)

    @property
    def bound(self) -> int:
        """The largest integer that one encoded value can be, before its weight."""
        return round(self.clip * self.scale)

    @property
    def limit(self) -> int:
        """With noise: the largest squared L2 norm that one unit's integers can have."""
        return rounded_limit(self.clip, self.fraction_bits, self.length)


class Question(Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One kind of sum that the study may ask: its lanes, their scale and clip, and the bound on weights.

    The lanes are the blocks in order, then one weight lane for each lane group, in order of appearance.
    With `saturate` a value outside the clip is moved to it; otherwise the site refuses to take part with it.

    With `noise` the sum is private: values saturate, `max_weight` bounds the patients that a site counts
    (more only saturate its lanes), and a weight of 1 is `weight_scale` grid units, so that noise does not
    drown it.
    """

    kind: Name
    blocks: Annotated[tuple[Block, ...], Meta(min_length=1, max_length=MAX_BLOCKS)]
    max_weight: int = 1
    saturate: bool = False
    weight_scale: int = 1
    noise: Noise | None = None

    def __post_init__(self) -> None:
        _as_int(self, "max_weight", "weight_scale")
        _as_bool(self, "saturate")
        force_setattr(self, "blocks", tuple(self.blocks))

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """Names of the lane groups, in order of appearance."""
        return tuple(dict.fromkeys(block.group for block in self.blocks))

    @cached_property
    def lanes(self) -> int:
        """Lanes in one vector, weight lanes included."""
        return sum(block.length for block in self.blocks) + len(self.groups)

    @cached_property
    def spans(self) -> dict[str, slice]:
        """Where each block lies in the vector."""
        spans, start = {}, 0
        for block in self.blocks:
            spans[block.name] = slice(start, start + block.length)
            start += block.length
        return spans

    @cached_property
    def weight_lanes(self) -> dict[str, int]:
        """Where each group's weight lies in the vector."""
        first = self.lanes - len(self.groups)
        return {group: first + place for place, group in enumerate(self.groups)}

    @property
    def peak(self) -> int:
        """The largest magnitude that one lane of one site can have, without its noise."""
        return self.max_weight * max(self.weight_scale, *(self.bounds.values()))

    @cached_property
    def bounds(self) -> dict[str, int]:
        """For each block the largest magnitude that one lane can have before its weight."""
        if self.noise is None or self.noise.unit == "patient-local":
            return {block.name: block.bound for block in self.blocks}
        return {block.name: isqrt(block.limit) for block in self.blocks}


class Policy(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """The terms of a study. Raises `PolicyError` where they contradict each other or do not fit the lanes.

    sites          n, the size of the roster
    min_cohort     the least number of sites in any sum
    threshold      t, the shares that rebuild a secret and the signatures that certify a survivor set; on the
                   sparse graph also the neighbours that every site needs among the survivors
    colluders      c, the sites that may work with the coordinator
    consistency    whether survivors sign the survivor set before anything is revealed (the malicious mode)
    bits           b: all lanes live in the integers mod 2**b
    rounds         the highest round number
    max_dropouts   dropouts that a round may tolerate
    across_rounds  what holds between sums: "freeze" one cohort or "accept" differences without noise; "noise"
                   where every question has it
    chain          whether every upload carries a hash chain of further secrets, of which the link D + 1 is
                   revealed once D dropouts are certified
    schema         hash of what every site's data must look like (feature names and order, say); empty if
                   the study has none. A site whose own differs refuses
    neighbours     k, an even number: the sites with which each site masks, on a sparse graph that is drawn
                   in the session's set-up; 0 for the complete graph
    """

    study: Name
    plan: Annotated[tuple[Question, ...], Meta(min_length=1, max_length=MAX_QUESTIONS)]
    sites: int
    min_cohort: int
    threshold: int
    colluders: int
    bits: int
    rounds: int
    max_dropouts: int
    across_rounds: AcrossRounds
    consistency: bool = True
    chain: bool = False
    schema: Annotated[bytes, Meta(max_length=MAX_SCHEMA_BYTES)] = b""
    neighbours: int = 0

    def __post_init__(self) -> None:
        _as_int(self, "sites", "min_cohort", "threshold", "colluders", "bits", "rounds", "max_dropouts")
        _as_int(self, "neighbours")
        _as_bool(self, "consistency", "chain")
        force_setattr(self, "plan", tuple(self.plan))
        n, t, c = self.sites, self.threshold, self.colluders
        check_name(self.study)
        _within("sites", n, 3, MAX_SITES)
        _within("colluders", c, 0, n - 2)
        if not self.neighbours:
            _within("threshold", t, max(2, c + 1), n)
        if self.consistency and self.neighbours:
            raise PolicyError(
                "neighbours must be 0 with the consistency check: certificates speak for everyone"
            )
        if self.consistency and not 2 * t > n + c:
            raise PolicyError(
                f"threshold {t} is too small for {n} sites and {c} colluders: with the consistency check "
                f"2 * threshold must exceed sites + colluders, so at least {(n + c) // 2 + 1}"
            )
        _within("min_cohort", self.min_cohort, max(c, 1) + 2, n)
        _within("rounds", self.rounds, 1, MAX_ROUNDS)
        _within("max_dropouts", self.max_dropouts, 0, n)
        _within("bits", self.bits, 2, 64)
        if self.neighbours:
            _check_sparse(self)
        if self.across_rounds not in get_args(AcrossRounds):
            raise PolicyError(
                f"across_rounds must be one of {list(get_args(AcrossRounds))}, got {self.across_rounds!r}"
            )
        noisy = sorted(question.kind for question in self.plan if question.noise is not None)
        if len(noisy) != (len(self.plan) if self.across_rounds == "noise" else 0):
            raise PolicyError(
                f"across_rounds is {self.across_rounds!r} and the questions {noisy} of {len(self.plan)} have "
                f"noise: it must be 'noise' where all have it, and something else where none has"
            )
        schema: object = self.schema
        if not isinstance(schema, bytes) or len(schema) > MAX_SCHEMA_BYTES:
            raise PolicyError(f"schema must be at most {MAX_SCHEMA_BYTES} bytes, got {schema!r}")
        _within("questions of the plan", len(self.plan), 1, MAX_QUESTIONS)
        kinds = [question.kind for question in self.plan]
        if len(set(kinds)) != len(kinds):
            raise PolicyError(f"two questions of the plan have one kind: {sorted(kinds)}")
        for question in self.plan:
            _check_question(question)
        groups = {group for question in self.plan for group in question.groups}
        if len(groups) > MAX_GROUPS:
            raise PolicyError(f"the plan has {len(groups)} lane groups, at most {MAX_GROUPS} are allowed")
        need = required_bits(self.plan, n)
        if self.bits < need:
            raise PolicyError(
                f"bits {self.bits} cannot hold the sum of {n} sites: the plan needs at least {need}"
            )

    @cached_property
    def digest(self) -> bytes:
        """Hash of every term, 32 bytes."""
        return digest("policy", self)

    @property
    def least_neighbours(self) -> int:
        """How many of its neighbours a site must have among the survivors; none on the complete graph."""
        return self.threshold if self.neighbours else 0

    @property
    def smallest_cohort(self) -> int:
        """The least number of participants or survivors that a site goes on with."""
        return max(self.min_cohort, self.threshold)

    def tolerated(self, participants: int) -> int:
        """T: dropouts that a round with so many participants tolerates; negative if it cannot start."""
        return min(self.max_dropouts, participants - self.smallest_cohort)

    def links(self, participants: int) -> int:
        """The length of each site's chain of further secrets: T where the policy has a chain, else 0."""
        return max(self.tolerated(participants), 0) if self.chain else 0

    def question(self, kind: str) -> Question:
        """The planned question of this kind; `PolicyError` if the plan has none."""
        for question in self.plan:
            if question.kind == kind:
                return question
        raise PolicyError(f"the plan has no question {kind!r}, only {[q.kind for q in self.plan]}")


class Floor(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The least that a site accepts, set by its own operator in `site.toml` and never sent anywhere.

    `min_colluders` is (n-1)//3 unless it is set: how many sites may be bought is not for the coordinator to
    say.
    """

    min_cohort: int = 3
    min_threshold: int = 2
    min_colluders: int | None = None
    max_rounds: int = 10_000
    max_lanes: int = 100_000_000
    semi_honest: bool = False
    across_rounds: tuple[AcrossRounds, ...] = ("freeze",)
    questions: tuple[str, ...] | None = None

    def colluders(self, sites: int) -> int:
        """How many of so many sites have to be allowed for."""
        return default_colluders(sites) if self.min_colluders is None else self.min_colluders

    def never(self, sites: int) -> tuple[str, ...]:
        """The terms that no policy for so many sites can meet, so that this floor refuses them all."""
        if sites < 3:
            return (f"a sum is over 3 sites or more, here are {sites}",)
        bounds = [
            ("min_cohort", self.min_cohort, sites),
            ("min_threshold", self.min_threshold, sites),
            ("min_colluders", self.colluders(sites), sites - 2),
        ]
        faults = [
            f"{name} is {least}, of {sites} sites it can be {most} at most"
            for name, least, most in bounds
            if least > most
        ]
        faults += [
            f"{name} is {most}, so that nothing can be asked"
            for name, most in [("max_rounds", self.max_rounds), ("max_lanes", self.max_lanes)]
            if most < 1
        ]
        empty = [("across_rounds", self.across_rounds), ("questions", self.questions)]
        faults += [f"{name} is empty, so that nothing is allowed" for name, listed in empty if listed == ()]
        return tuple(faults)

    def check(self, policy: Policy) -> None:
        """Raise `PolicyRefused`, naming every term that is below this floor."""
        lanes = max(question.lanes for question in policy.plan)
        colluders = self.colluders(policy.sites)
        unplanned = (
            []
            if self.questions is None
            else sorted({question.kind for question in policy.plan} - set(self.questions))
        )
        faults = [
            fault
            for bad, fault in [
                (policy.min_cohort < self.min_cohort, f"min_cohort {policy.min_cohort} < {self.min_cohort}"),
                (
                    policy.threshold < self.min_threshold,
                    f"threshold {policy.threshold} < {self.min_threshold}",
                ),
                (
                    policy.colluders < colluders,
                    f"colluders {policy.colluders} < {colluders}",
                ),
                (policy.rounds > self.max_rounds, f"rounds {policy.rounds} > {self.max_rounds}"),
                (lanes > self.max_lanes, f"lanes {lanes} > {self.max_lanes}"),
                (not (policy.consistency or self.semi_honest), "the semi-honest mode is not allowed here"),
                (
                    policy.across_rounds not in self.across_rounds,
                    f"across_rounds {policy.across_rounds!r} is not among {list(self.across_rounds)}",
                ),
                (bool(unplanned), f"questions {unplanned} are not allowed here"),
            ]
            if bad
        ]
        if faults:
            raise PolicyRefused("the policy is below this site's floor: " + "; ".join(faults))


def default_colluders(sites: int) -> int:
    """C = (n-1)//3 where nobody says otherwise."""
    return (sites - 1) // 3


def required_bits(plan: Sequence[Question], sites: int) -> int:
    """The smallest b for which sites * peak, and the tail of the noise, is below 2**(b-1) on every lane."""
    return max(
        (sites * question.peak + (question.noise.tail if question.noise else 0)).bit_length() + 1
        for question in plan
    )


def plan_policy(
    *,
    study: str,
    sites: int,
    plan: Sequence[Question],
    across_rounds: AcrossRounds,
    rounds: int = 1,
    colluders: int | None = None,
    threshold: int | None = None,
    min_cohort: int | None = None,
    max_dropouts: int | None = None,
    bits: int | None = None,
    consistency: bool = True,
    chain: bool = False,
    schema: bytes = b"",
    graph: Shape = "complete",
) -> Policy:
    """Fill in the terms left open: c = (n-1)//3, the smallest legal t, and the fewest bits that fit.

    With `graph="sparse"` (for which `consistency` must be given as False) the fewest neighbours and the
    smallest t for them are planned, of which a given `threshold` only replaces the latter. Where neither
    `max_dropouts` nor `min_cohort` is given, a tenth of the sites may be missing.

    Raises `PolicyError` where no legal policy exists.
    """
    for question in plan:
        _check_question(question)
    if graph not in get_args(Shape):
        raise PolicyError(f"graph must be 'complete' or 'sparse', got {graph!r}")
    c = default_colluders(sites) if colluders is None else colluders
    t, cohort, neighbours = threshold, min_cohort, 0
    if graph == "sparse":
        if consistency:
            raise PolicyError("the sparse graph is for the semi-honest mode: it needs consistency=False")
        if cohort is None:
            cohort = sites - (sites // 10 if max_dropouts is None else max_dropouts)
        neighbours, least = _plan_degree(sites, c, sites - cohort, rounds)
        t = least if t is None else t
    if t is None:
        t = max(2, (sites + c) // 2 + 1 if consistency else c + 1)
    if cohort is None:
        cohort = max(t, max(c, 1) + 2)
    return Policy(
        study=study,
        plan=tuple(plan),
        sites=sites,
        min_cohort=cohort,
        threshold=t,
        colluders=c,
        bits=required_bits(plan, sites) if bits is None else bits,
        rounds=rounds,
        max_dropouts=max(0, sites - max(t, cohort)) if max_dropouts is None else max_dropouts,
        across_rounds=across_rounds,
        consistency=consistency,
        chain=chain,
        schema=schema,
        neighbours=neighbours,
    )


def _plan_degree(sites: int, colluders: int, missing: int, rounds: int) -> Degree:
    """The smallest legal degree, or `PolicyError` where only the complete graph is one."""
    _within("sites", sites, 3, MAX_SITES)
    _within("colluders", colluders, 0, sites - 2)
    _within("rounds", rounds, 1, MAX_ROUNDS)
    _within("min_cohort", sites - missing, max(colluders, 1) + 2, sites)
    degree = smallest_degree(sites, corrupt=colluders, missing=missing, rounds=rounds)
    if degree is None:
        raise PolicyError(
            f"no sparse graph of {sites} sites withstands {colluders} colluders and {missing} missing sites: "
            f"take the complete graph"
        )
    return degree


def _check_sparse(policy: Policy) -> None:
    """Raise `PolicyError` unless the sparse graph keeps secrets up to 2**-SIGMA, and sums up to 2**-ETA."""
    n, k, t, c = policy.sites, policy.neighbours, policy.threshold, policy.colluders
    if any(question.groups != (EVERYONE,) for question in policy.plan):
        raise PolicyError("neighbours must be 0 with lane groups: a site would know its neighbours' only")
    if k % 2 or not 2 <= k < n - 1:
        raise PolicyError(f"neighbours must be an even number from 2 to {n - 2}, or 0 for all, got {k}")
    _within("threshold", t, 2, k)
    missing = n - policy.smallest_cohort
    found = risks(n, Degree(k, t), corrupt=c, missing=missing, rounds=policy.rounds)
    if not found.allowed:
        least = smallest_degree(
            n, corrupt=c, missing=missing, rounds=policy.rounds, most=_SUGGESTED_NEIGHBOURS
        )
        raise PolicyError(
            f"{k} neighbours with threshold {t} do not keep secrets (up to 2**-{SIGMA}) and sums (up to "
            f"2**-{ETA}) of {n} sites with {c} colluders and {missing} missing: "
            + (
                f"nor do up to {_SUGGESTED_NEIGHBOURS} of them"
                if least is None
                else "the least are {} with {}".format(*least)
            )
        )


def _check_question(question: Question) -> None:
    where = f"question {question.kind!r}"
    check_name(question.kind)
    names = [block.name for block in question.blocks]
    if not names:
        raise PolicyError(f"{where} has no block")
    if len(set(names)) != len(names):
        raise PolicyError(f"{where} has two blocks of one name: {names}")
    _within(f"{where}: blocks", len(names), 1, MAX_BLOCKS)
    _within(f"{where}: max_weight", question.max_weight, 1, 2**53)
    for block in question.blocks:
        at = f"{where}, block {block.name!r}"
        check_name(block.name)
        check_name(block.group)
        _within(f"{at}: length", block.length, 1, MAX_LANES)
        _within(f"{at}: fraction_bits", block.fraction_bits, 0, 60)
        if not 0.0 < block.clip <= 2.0**62:
            raise PolicyError(f"{at}: clip must be a positive number, got {block.clip}")
        _within(f"{at}: clip in grid units", block.bound, 1, 2**62)
    if len(question.groups) > MAX_GROUPS:
        raise PolicyError(f"{where} has {len(question.groups)} lane groups, at most {MAX_GROUPS} are allowed")
    _within(f"{where}: lanes", question.lanes, 1, MAX_LANES)
    _within(f"{where}: weight_scale", question.weight_scale, 1, 2**40)
    if question.noise is None and question.weight_scale != 1:
        raise PolicyError(f"{where}: weight_scale must be 1 without noise, got {question.weight_scale}")
    if question.noise is not None and question.noise.unit == "patient-local" and question.weight_scale != 1:
        raise PolicyError(f"{where}: weight_scale must be 1 where sites weigh the same")
    if question.noise is not None and not question.saturate:
        raise PolicyError(f"{where}: values must saturate with noise, since a refusal would show them")
    _within(f"{where}: bits needed by one site", question.peak.bit_length() + 1, 1, 64)


def _as_int(value: Struct, *names: str) -> None:
    """Make these fields plain integers, since both sides hash them: NumPy's count too, nothing else does."""
    for name in names:
        try:
            force_setattr(value, name, int(index(getattr(value, name))))
        except TypeError:
            raise PolicyError(f"{name} must be an integer, got {getattr(value, name)!r}") from None


def _as_bool(value: Struct, *names: str) -> None:
    """Make these fields plain truth values, for the same reason."""
    for name in names:
        given = getattr(value, name)
        if given not in (True, False):
            raise PolicyError(f"{name} must be true or false, got {given!r}")
        force_setattr(value, name, bool(given))


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise PolicyError(f"{what} must be from {low} to {high}, got {value}")
