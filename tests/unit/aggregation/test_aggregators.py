# SPDX-License-Identifier: Apache-2.0

"""Every aggregator passes one suite, and has what is its own."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aggregators import SITES, AggregatorSuite, contributors, integers_of, policy_for, summed, vectors
from sordino.aggregation.base import Aggregator, Contribution, Contributor
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.errors import PolicyRefused, RoundAborted, StateError, ValueOutOfRange
from sordino.protocol.journal import Reply
from sordino.protocol.keys import Roster
from sordino.protocol.policy import Floor, Policy
from sordino.protocol.site import Site


class TestPlain(AggregatorSuite):
    def make(
        self, policy: Policy, groups: Mapping[str, Collection[str]] | None = None, **extra: object
    ) -> Aggregator:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PlainSumWarning)
            return PlainAggregator(policy, SITES, groups=groups, **extra)

    def make_for(self, policy: Policy, sites: Sequence[str]) -> Aggregator:
        return PlainAggregator(policy, sites)

    def test_it_warns_loudly(self) -> None:
        with pytest.warns(PlainSumWarning, match="hide nothing"):
            PlainAggregator(policy_for(), SITES)


class TestMasked(AggregatorSuite):
    def make(
        self, policy: Policy, groups: Mapping[str, Collection[str]] | None = None, **extra: object
    ) -> Aggregator:
        return MaskedAggregator(policy, SITES, groups=groups, **extra)

    def make_for(self, policy: Policy, sites: Sequence[str]) -> Aggregator:
        return MaskedAggregator(policy, sites)

    def test_sites_lost_during_set_up_are_left_out(self) -> None:
        lose = {"lyon": "advertise", "oslo": "receipt"}
        with MaskedAggregator(policy_for(), SITES, lose=lose) as aggregator:
            able = tuple(name for name in SITES if name not in lose)
            assert aggregator.able == able
            assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == able

    def test_too_many_lost_during_set_up_is_an_abort(self) -> None:
        with pytest.raises(RoundAborted):
            MaskedAggregator(policy_for(), SITES, lose=dict.fromkeys(SITES[:3], "seal"))

    def test_a_policy_below_the_floor_is_refused(self) -> None:
        with pytest.raises(PolicyRefused, match="across_rounds"):
            MaskedAggregator(policy_for(), SITES, floor=Floor())

    def test_traffic_is_counted_for_each_participant(self) -> None:
        with self.make(policy_for(1000)) as aggregator:
            result = aggregator.aggregate("sum", b"x" * 500, contributors(vectors(1000)))
        assert set(result.traffic) == set(SITES)
        for traffic in result.traffic.values():
            assert traffic.sent > 1001 * policy_for(1000).bits / 8
            assert traffic.received > 500
            assert traffic.seconds > 0

    def test_closing_wipes_the_keys_of_the_open_round(self) -> None:
        aggregator = MaskedAggregator(policy_for(), SITES)
        aggregator.aggregate("sum", b"", contributors(vectors(4)))
        sites = list(aggregator._members.values())
        assert all(site.state.open is not None for site in sites)
        aggregator.close()
        assert all(site.state.open is None for site in sites)

    @pytest.mark.parametrize("threads", ["1", "2", "3", "8"])
    def test_sites_that_answer_side_by_side_change_nothing(
        self, threads: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SORDINO_THREADS", threads)
        asked: list[str] = []
        given = vectors(5000)

        def contributor(name: str) -> Contributor:
            def contribute(_: bytes) -> Contribution:
                assert threading.current_thread() is threading.main_thread()
                asked.append(name)
                return Contribution({"vector": given[name]})

            return contribute

        with MaskedAggregator(policy_for(5000), SITES) as aggregator:
            result = aggregator.aggregate(
                "sum", b"", {name: contributor(name) for name in SITES}, lose={"oslo": "unmask"}
            )
        assert asked == sorted(SITES), "contributors work in order"
        assert (result.survivors, result.vanished) == (SITES, ("oslo",))
        assert result.integers[:-1].tolist() == summed(integers_of(given[name]) for name in SITES)

    @pytest.mark.parametrize("threads", ["1", "4"])
    def test_the_first_of_several_errors_is_told(self, threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SORDINO_THREADS", threads)
        given = contributors(vectors(4) | {"delft": np.full(4, 11.0), "maastricht": np.full(4, np.nan)})

        def fail(_: bytes) -> Contribution:
            raise RuntimeError("lyon has no data")

        with MaskedAggregator(policy_for(), SITES) as aggregator:
            with pytest.raises(ValueOutOfRange, match="clip"):
                aggregator.aggregate("sum", b"", {**given, "lyon": fail})
            with pytest.raises(RuntimeError, match="lyon has no data"):
                aggregator.aggregate("sum", b"", {**given, "lyon": fail, "delft": given["turin"]})
            assert aggregator.aggregate("sum", b"", contributors(vectors(4))).survivors == SITES

    def test_a_site_checks_t_signatures_and_the_coordinator_one_of_each_message(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        checked: list[str] = []
        verify = Roster.verify

        def counting(self: Roster, name: str, signature: bytes, tag: str, *fields: object) -> None:
            checked.append(tag)
            verify(self, name, signature, tag, *fields)

        policy = policy_for()
        with MaskedAggregator(policy, SITES) as aggregator:
            monkeypatch.setattr(Roster, "verify", counting)
            aggregator.aggregate("sum", b"", contributors(vectors(4)))
        sites = len(SITES)
        assert checked.count("upload") == sites
        assert checked.count("statement") == sites + sites * policy.threshold
        assert len(checked) == 2 * sites + sites * policy.threshold


class TestMaskedOnDisk(AggregatorSuite):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path: Path) -> None:
        self.directory = tmp_path
        self.made = 0

    def make(
        self, policy: Policy, groups: Mapping[str, Collection[str]] | None = None, **extra: object
    ) -> Aggregator:
        self.made += 1
        return MaskedAggregator(
            policy, SITES, groups=groups, directory=self.directory / str(self.made), **extra
        )

    def make_for(self, policy: Policy, sites: Sequence[str]) -> Aggregator:
        return MaskedAggregator(policy, sites, directory=self.directory)

    def again(self, policy: Policy | None = None, sites: Sequence[str] = SITES) -> MaskedAggregator:
        return MaskedAggregator(policy or policy_for(), sites, directory=self.directory / "study")

    def test_a_later_process_goes_on_where_the_first_stopped(self) -> None:
        given = contributors(vectors(4))
        with self.again() as first:
            assert first.aggregate("sum", b"", given).round == 1
        with self.again() as second:
            result = second.aggregate("sum", b"", given, lose={"lyon": "unmask"})
        assert (result.round, result.survivors, result.vanished) == (2, SITES, ("lyon",))

    @pytest.mark.parametrize("across_rounds", ["accept", "freeze"])
    @pytest.mark.parametrize("phase", ["upload", "confirm", "unmask", "recover"])
    def test_a_process_that_died_within_a_round_is_followed_by_one_that_finds_its_place(
        self, phase: str, across_rounds: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        policy = policy_for(across_rounds=across_rounds)
        given = contributors(vectors(4))
        first = self.again(policy)
        deliver = first._deliver

        def dying(site: Site, *rest: Any) -> Reply:
            reply = deliver(site, *rest)
            if first._coordinator.phase == phase and site.name == "maastricht":
                raise KeyboardInterrupt
            return reply

        monkeypatch.setattr(first, "_deliver", dying)
        monkeypatch.setattr(first, "_save_coordinator", lambda: None)
        with pytest.raises(KeyboardInterrupt):
            first.aggregate("sum", b"", given, lose={"oslo": "upload", "delft": "unmask"})
        second = self.again(policy)
        for _ in range(4):
            try:
                result = second.aggregate("sum", b"", given)
                break
            except RoundAborted:
                continue
        else:
            pytest.fail("no sum within four rounds after the crash")
        expected = summed(integers_of(vectors(4)[n]) for n in result.survivors)
        assert result.integers.tolist() == [*expected, len(result.survivors)]

    def test_another_policy_or_other_sites_do_not_go_on_in_its_directory(self) -> None:
        self.again().close()
        with pytest.raises(StateError, match="another policy"):
            self.again(policy_for(rounds=7))
        with pytest.raises(StateError, match="other sites"):
            self.again(sites=(*SITES[:5], "paris"))

    def test_what_it_keeps_is_for_its_owner_only(self) -> None:
        with self.again() as aggregator:
            aggregator.aggregate("sum", b"", contributors(vectors(4)))
        sites = self.directory / "study" / "sites"
        for path in (*sites.rglob("*"), self.directory / "study" / "coordinator.state"):
            assert path.stat().st_mode & 0o077 == 0, path
