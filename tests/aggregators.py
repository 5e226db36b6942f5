# SPDX-License-Identifier: Apache-2.0

"""One suite for every aggregator: whatever stands behind the port, the sums are the same integers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from sordino.aggregation.base import STEPS, Aggregator, Contribution, Contributor
from sordino.errors import (
    InvalidArgument,
    PolicyError,
    PolicyRefused,
    RoundAborted,
    ValueOutOfRange,
)
from sordino.protocol.policy import Block, Policy, Question, plan_policy

SITES = ("berlin", "delft", "lyon", "maastricht", "oslo", "turin")
BITS = 8
EDGES = (1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 511, 512, 513)
TILES = (2047, 2048, 2049, 4095, 4096, 4097, 8193, 16385)


def policy_for(length: int = 4, **terms: object) -> Policy:
    plan = terms.pop("plan", None) or [
        Question(
            "sum",
            (Block("vector", length, terms.pop("clip", 10.0), terms.pop("fraction_bits", BITS)),),
            max_weight=terms.pop("max_weight", 100),
            saturate=terms.pop("saturate", False),
        )
    ]
    terms = {"across_rounds": "accept", "rounds": 50, "colluders": 1, **terms}
    return plan_policy(study="conformance", sites=len(SITES), plan=plan, **terms)


def vectors(length: int, seed: int = 1, clip: float = 10.0) -> dict[str, NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    return {name: generator.uniform(-clip, clip, length) for name in SITES}


def contributors(
    values: Mapping[str, NDArray[np.floating]], weights: Mapping[str, int] | None = None
) -> dict[str, Contributor]:
    def contributor(name: str) -> Contributor:
        return lambda _: Contribution({"vector": values[name]}, (weights or {}).get(name, 1))

    return {name: contributor(name) for name in values}


def integers_of(values: NDArray[np.floating], weight: int = 1, fraction_bits: int = BITS) -> list[int]:
    """The fixed-point integers by Python's own exact arithmetic: round to even, then multiply."""
    return [round(float(value) * 2**fraction_bits) * weight for value in values]


def summed(vectors: Iterable[list[int]]) -> list[int]:
    return [sum(column) for column in zip(*vectors, strict=True)]


class AggregatorSuite:
    """What every aggregator must do; a subclass says how one is made."""

    def make(
        self, policy: Policy, groups: Mapping[str, Collection[str]] | None = None, **extra: object
    ) -> Aggregator:
        raise NotImplementedError

    @pytest.fixture
    def aggregator(self) -> Iterator[Aggregator]:
        with self.make(policy_for()) as made:
            yield made

    # Sums -----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("length", EDGES)
    def test_the_sum_is_the_sum_of_the_integers_bit_for_bit(self, length: int) -> None:
        values = vectors(length)
        weights = {name: 1 + 16 * place for place, name in enumerate(SITES)}
        with self.make(policy_for(length)) as aggregator:
            result = aggregator.aggregate("sum", b"", contributors(values, weights))
        expected = [
            sum(column) for column in zip(*(integers_of(values[n], weights[n]) for n in SITES), strict=True)
        ]
        assert result.integers.tolist() == [*expected, sum(weights.values())]
        assert result.sums["vector"].tolist() == [value / 2**BITS for value in expected]
        assert result.weights == {"all": sum(weights.values())}
        assert result.mean("vector").tolist() == (result.sums["vector"] / sum(weights.values())).tolist()
        assert (result.survivors, result.dropped, result.vanished) == (SITES, {}, ())

    @pytest.mark.parametrize("length", TILES)
    @pytest.mark.parametrize("bits", [20, 33])
    def test_long_vectors_are_exact_around_the_edges_of_tiles(self, length: int, bits: int) -> None:
        values = vectors(length, seed=length)
        with self.make(policy_for(length, bits=bits, max_weight=1)) as aggregator:
            result = aggregator.aggregate("sum", b"", contributors(values), lose={"delft": "unmask"})
        total = np.sum([np.rint(values[name] * 2**BITS) for name in SITES], axis=0)
        assert result.integers[:-1].tolist() == total.tolist()

    @pytest.mark.parametrize("bits", [14, 16, 31, 32, 33, 48, 63, 64])
    def test_every_width_of_lanes_gives_the_same_sum(self, bits: int) -> None:
        values = vectors(37)
        policy = policy_for(37, bits=bits, max_weight=1, fraction_bits=5)
        with self.make(policy) as aggregator:
            result = aggregator.aggregate("sum", b"", contributors(values))
        total = summed(integers_of(values[n], 1, 5) for n in SITES)
        assert result.integers.tolist() == [*total, 6]

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_sum_at_the_edge_of_the_capacity_does_not_wrap(self, sign: int) -> None:
        for max_weight, fraction_bits in ((1, 0), (100, 8), (2**20, 8), (2**53, 3)):
            policy = policy_for(max_weight=max_weight, fraction_bits=fraction_bits)
            values = {name: np.full(4, sign * 10.0) for name in SITES}
            weights = dict.fromkeys(SITES, max_weight)
            with self.make(policy) as aggregator:
                result = aggregator.aggregate("sum", b"", contributors(values, weights))
            total = sign * 6 * max_weight * 10 * 2**fraction_bits
            assert abs(total) < 2 ** (policy.bits - 1) <= 2 * abs(total)
            assert result.integers.tolist() == [total] * 4 + [6 * max_weight]

    def test_single_precision_is_taken_and_gives_the_same_integers(self, aggregator: Aggregator) -> None:
        single = {name: values.astype(np.float32) for name, values in vectors(4).items()}
        double = {name: values.astype(np.float64) for name, values in single.items()}
        first = aggregator.aggregate("sum", b"", contributors(single))
        second = aggregator.aggregate("sum", b"", contributors(double))
        assert first.integers.tolist() == second.integers.tolist()

    def test_a_view_with_strides_is_summed_as_it_reads(self, aggregator: Aggregator) -> None:
        wide = {name: np.repeat(values, 2)[::2] for name, values in vectors(4).items()}
        result = aggregator.aggregate("sum", b"", contributors(wide))
        assert (
            result.integers.tolist()
            == aggregator.aggregate("sum", b"", contributors(vectors(4))).integers.tolist()
        )

    def test_a_contribution_is_left_as_it_was(self, aggregator: Aggregator) -> None:
        values = vectors(4)
        before = {name: array.copy() for name, array in values.items()}
        aggregator.aggregate("sum", b"", contributors(values))
        for name in SITES:
            assert values[name].tolist() == before[name].tolist()

    def test_the_body_reaches_every_site(self, aggregator: Aggregator) -> None:
        seen: list[bytes] = []

        def contributor(body: bytes) -> Contribution:
            seen.append(body)
            return Contribution({"vector": np.zeros(4)})

        aggregator.aggregate("sum", b"the model", dict.fromkeys(SITES, contributor))
        assert seen == [b"the model"] * 6

    def test_rounds_are_counted(self, aggregator: Aggregator) -> None:
        rounds = [aggregator.aggregate("sum", b"", contributors(vectors(4))).round for _ in range(3)]
        assert rounds == [1, 2, 3]

    # Dropouts -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("step", STEPS)
    @pytest.mark.parametrize("lost", [("berlin",), ("lyon", "maastricht")], ids="+".join)
    def test_the_sum_is_over_the_survivors(
        self, aggregator: Aggregator, step: str, lost: Sequence[str]
    ) -> None:
        values = vectors(4)
        result = aggregator.aggregate("sum", b"", contributors(values), lose=dict.fromkeys(lost, step))
        late = step in ("confirm", "unmask", "recover")
        survivors = [name for name in SITES if late or name not in lost]
        expected = summed(integers_of(values[n]) for n in survivors)
        assert result.integers.tolist() == [*expected, len(survivors)]
        assert result.survivors == tuple(survivors)
        assert result.dropped == ({} if late else dict.fromkeys(lost, step))
        assert result.vanished == (tuple(lost) if step in ("confirm", "unmask") else ())

    @pytest.mark.parametrize("step", ["upload", "confirm", "unmask"])
    def test_one_more_than_tolerated_is_an_abort_and_the_next_round_works(
        self, aggregator: Aggregator, step: str
    ) -> None:
        lose = dict.fromkeys(("berlin", "lyon", "oslo"), step)
        with pytest.raises(RoundAborted):
            aggregator.aggregate("sum", b"", contributors(vectors(4)), lose=lose)
        assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES

    def test_sites_that_are_not_asked_are_no_dropouts(self, aggregator: Aggregator) -> None:
        asked = {name: c for name, c in contributors(vectors(4)).items() if name != "oslo"}
        result = aggregator.aggregate("sum", b"", asked)
        assert (result.survivors, result.dropped) == (tuple(sorted(asked)), {})
        few = {name: asked[name] for name in SITES[:3]}
        with pytest.raises(RoundAborted):
            aggregator.aggregate("sum", b"", few)

    def test_losing_a_site_that_is_not_asked_changes_nothing(self, aggregator: Aggregator) -> None:
        asked = {name: c for name, c in contributors(vectors(4)).items() if name != "oslo"}
        assert aggregator.aggregate("sum", b"", asked, lose={"oslo": "upload"}).dropped == {}

    # Refusals -------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 10.001, -10.001, 1e300])
    def test_a_value_outside_its_bounds_is_refused_and_the_next_round_works(
        self, aggregator: Aggregator, bad: float
    ) -> None:
        values = vectors(4)
        values["lyon"][2] = bad
        with pytest.raises(ValueOutOfRange, match="vector"):
            aggregator.aggregate("sum", b"", contributors(values))
        assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_saturating_moves_values_to_the_clip_but_no_nan_or_infinity(self, bad: float) -> None:
        with self.make(policy_for(saturate=True)) as aggregator:
            values = {name: np.array([11.0, -1e9, 10.0, 3.0]) for name in SITES}
            result = aggregator.aggregate("sum", b"", contributors(values))
            assert result.sums["vector"].tolist() == [60.0, -60.0, 60.0, 18.0]
            values["lyon"] = np.array([bad, 0.0, 0.0, 0.0])
            with pytest.raises(ValueOutOfRange):
                aggregator.aggregate("sum", b"", contributors(values))

    def test_a_value_at_the_clip_is_taken(self, aggregator: Aggregator) -> None:
        values = {name: np.array([10.0, -10.0, 0.0, -0.0]) for name in SITES}
        assert aggregator.aggregate("sum", b"", contributors(values)).sums["vector"].tolist() == [
            60,
            -60,
            0,
            0,
        ]

    @pytest.mark.parametrize("weight", [0, -1, 101, 2**70, True, 1.0, np.float64(2), "3", None, np.nan])
    def test_a_weight_that_is_none_or_out_of_bounds_is_refused(
        self, aggregator: Aggregator, weight: object
    ) -> None:
        with pytest.raises(InvalidArgument, match="weight"):
            aggregator.aggregate("sum", b"", contributors(vectors(4), {"lyon": weight}))  # type: ignore[dict-item]
        assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES

    @pytest.mark.parametrize("weight", [1, 100, np.int64(7), np.uint8(7)])
    def test_an_integer_weight_in_bounds_is_taken(self, aggregator: Aggregator, weight: int) -> None:
        result = aggregator.aggregate("sum", b"", contributors(vectors(4), {"lyon": weight}))
        assert result.weights == {"all": 5 + int(weight)}

    @pytest.mark.parametrize(
        "values",
        [
            np.zeros(3),
            np.zeros(5),
            np.zeros(0),
            np.zeros((2, 2)),
            np.zeros((4, 1)),
            np.float64(0),
            np.zeros(4, np.int64),
            np.zeros(4, np.float16),
            np.zeros(4, np.longdouble),
            np.zeros(4, bool),
            np.zeros(4, complex),
            np.zeros(4, object),
            np.zeros(4, ">f8"),
            [0.0, 0.0, 0.0, 0.0],
            None,
            "0000",
        ],
        ids=lambda value: (
            f"{type(value).__name__}-{getattr(value, 'dtype', '')}-{getattr(value, 'shape', '')}"
        ),
    )
    def test_a_vector_of_another_shape_or_dtype_is_refused(
        self, aggregator: Aggregator, values: object
    ) -> None:
        given = contributors({**vectors(4), "lyon": values})  # type: ignore[dict-item]
        with pytest.raises(InvalidArgument, match="vector"):
            aggregator.aggregate("sum", b"", given)
        assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES

    @pytest.mark.parametrize(
        "blocks", [{}, {"other": np.zeros(4)}, {"vector": np.zeros(4), "other": np.zeros(4)}]
    )
    def test_a_contribution_with_other_blocks_is_refused(
        self, aggregator: Aggregator, blocks: dict[str, NDArray[np.float64]]
    ) -> None:
        given = {**contributors(vectors(4)), "lyon": lambda _: Contribution(blocks)}
        with pytest.raises(InvalidArgument, match="block"):
            aggregator.aggregate("sum", b"", given)

    def test_an_error_of_a_contributor_passes_through_and_the_next_round_works(
        self, aggregator: Aggregator
    ) -> None:
        def broken(_: bytes) -> Contribution:
            raise ZeroDivisionError("no patients today")

        with pytest.raises(ZeroDivisionError, match="no patients"):
            aggregator.aggregate("sum", b"", {**contributors(vectors(4)), "lyon": broken})
        assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES

    def test_an_unplanned_question_or_an_unknown_site_is_refused(self, aggregator: Aggregator) -> None:
        with pytest.raises(PolicyError, match="other"):
            aggregator.aggregate("other", b"", contributors(vectors(4)))
        stranger = {**contributors(vectors(4)), "paris": contributors(vectors(4))["lyon"]}
        with pytest.raises(InvalidArgument, match="paris"):
            aggregator.aggregate("sum", b"", stranger)
        with pytest.raises(InvalidArgument, match="paris"):
            aggregator.aggregate("sum", b"", contributors(vectors(4)), lose={"paris": "upload"})
        with pytest.raises(InvalidArgument, match="lunch"):
            aggregator.aggregate("sum", b"", contributors(vectors(4)), lose={"lyon": "lunch"})  # type: ignore[dict-item]
        assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES

    def test_sites_other_than_the_policy_s_are_refused(self) -> None:
        policy = policy_for()
        for sites in (SITES[:5], (*SITES, "paris"), (*SITES[:5], "berlin")):
            with pytest.raises(InvalidArgument, match="distinct names"):
                self.make_for(policy, sites)

    def make_for(self, policy: Policy, sites: Sequence[str]) -> Aggregator:
        raise NotImplementedError

    def test_data_of_another_schema_is_refused(self) -> None:
        policy = policy_for(schema=b"s" * 32)
        good = dict.fromkeys(SITES, b"s" * 32)
        with self.make(policy, schemas=good) as aggregator:
            assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES
        with pytest.raises(PolicyRefused, match="schema"):
            self.make(policy, schemas={**good, "lyon": b"t" * 32})

    # Lane groups ----------------------------------------------------------------------------------------

    @pytest.mark.parametrize("named", [("ct",), ("ct", "all")], ids=["ct", "ct and all"])
    def test_a_site_without_a_group_counts_nothing_in_it(self, named: tuple[str, ...]) -> None:
        blocks = (Block("vector", 2, 10.0, BITS), Block("scan", 3, 10.0, BITS, "ct"))
        policy = policy_for(
            plan=[Question("sum", blocks, max_weight=9)], colluders=0, threshold=4, min_cohort=3
        )
        groups = dict.fromkeys(SITES[:3], named)
        values = vectors(5)

        def contributor(name: str) -> Contributor:
            mine = {"vector": values[name][:2]}
            if name not in groups:
                return lambda _: Contribution(mine, 2)
            return lambda _: Contribution({**mine, "scan": values[name][2:]}, {"all": 2, "ct": 3})

        with self.make(policy, groups) as aggregator:
            result = aggregator.aggregate("sum", b"", {name: contributor(name) for name in SITES})
        scan = summed(integers_of(values[n][2:], 3) for n in groups)
        assert result.weights == {"all": 12, "ct": 9}
        assert result.sums["scan"].tolist() == [value / 2**BITS for value in scan]
        assert result.mean("scan", "ct").tolist() == (result.sums["scan"] / 9).tolist()

    def test_a_block_of_a_group_that_the_site_has_not_is_refused(self) -> None:
        blocks = (Block("vector", 4, 10.0, BITS), Block("scan", 1, 10.0, BITS, "ct"))
        policy = policy_for(plan=[Question("sum", blocks)], colluders=0, threshold=4, min_cohort=3)
        groups = dict.fromkeys(SITES[:3], ("ct",))
        given = contributors(vectors(4))
        both = Contribution({"vector": np.zeros(4), "scan": np.zeros(1)})
        given |= {name: lambda _: both for name in SITES[:3]}
        with self.make(policy, groups) as aggregator:
            aggregator.aggregate("sum", b"", given)
            for wrong in (
                {"turin": lambda _: both},
                {"berlin": lambda _: Contribution({"vector": np.zeros(4)})},
                {"turin": lambda _: Contribution({"vector": np.zeros(4)}, {"all": 1, "ct": 1})},
                {"berlin": lambda _: Contribution(dict(both.values), {"all": 1})},
            ):
                with pytest.raises(InvalidArgument):
                    aggregator.aggregate("sum", b"", {**given, **wrong})

    # Across rounds ---------------------------------------------------------------------------------------

    def test_frozen_rounds_ask_the_same_sites_again(self) -> None:
        with self.make(policy_for(across_rounds="freeze")) as aggregator:
            given = contributors(vectors(4))
            first = aggregator.aggregate("sum", b"", given, lose={"oslo": "upload"})
            assert aggregator.aggregate("sum", b"", given).survivors == first.survivors
            with pytest.raises(RoundAborted):
                aggregator.aggregate("sum", b"", given, lose={"lyon": "upload"})
