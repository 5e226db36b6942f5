# SPDX-License-Identifier: Apache-2.0

"""A site's key is replaced, or a site is put out: what goes on, what starts anew, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sordino.aggregation.base import Contribution
from sordino.aggregation.ends import read_total, upload_contribution
from sordino.cli.app import app
from sordino.cli.keys import keys  # noqa: F401  # adds its commands to the app
from sordino.cli.ledger import ledger_of
from sordino.errors import BudgetExceeded, ConfigError, PeerError, RoundAborted, StateError
from sordino.files.settings import read_roster, read_site
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.coordinator import Coordinator, Request
from sordino.protocol.exchange import finish_round, set_up
from sordino.protocol.journal import Reply
from sordino.protocol.policy import Block, Policy, Question, plan_policy
from sordino.protocol.site import Site

NAMES = ("alder", "birch", "cedar", "elm", "hazel")


def sordino(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


class Hospitals:
    """A folder for each site with its key, roster, settings and journal, begun by `sordino keys new`."""

    def __init__(self, folder: Path, across: str, budget: str = "") -> None:
        self.folder, self.entries = folder, {}
        for name in NAMES:
            (folder / name).mkdir()
            self.entries[name] = sordino("keys", "new", name, "--out", folder / name)
            (folder / name / "site.toml").write_text(
                f'name = "{name}"\nidentity = "{name}.key"\nroster = "roster.toml"\njournal = "journal"\n'
                f'dataset = "ct"\n\n[floor]\nacross_rounds = ["{across}"]\nmin_colluders = 1\n{budget}'
            )
        self.pin(*NAMES)

    def pin(self, *at: str, without: str = "") -> None:
        """Write the roster as it now is at these sites."""
        text = "\n".join(entry for name, entry in self.entries.items() if name != without)
        for name in at:
            (self.folder / name / "roster.toml").write_text(text)
        (self.folder / "roster.toml").write_text(text)

    def rotate(self, name: str) -> None:
        """What docs/operations.md says: the old key aside, a new one made; the roster is another step."""
        key = self.folder / name / f"{name}.key"
        key.rename(key.with_suffix(".old"))
        self.entries[name] = sordino("keys", "new", name, "--out", self.folder / name)

    def site(self, name: str) -> Site:
        found = read_site(self.folder / name / "site.toml")
        return Site(
            found.identity,
            found.roster,
            found.floor,
            found.journal,
            dataset=found.dataset,
            guard=found.guard,
        )

    def sites(self, *names: str) -> dict[str, Site]:
        return {name: self.site(name) for name in names}

    def charges(self, name: str) -> int:
        found = read_site(self.folder / name / "site.toml")
        with found.journal.open() as book:
            return len(ledger_of(book.entries(), found.journal.directory).account("ct").items)


def asking(sites: Mapping[str, Site], policy: Policy) -> Callable[[Request], Reply | None]:
    def ask(request: Request) -> Reply | None:
        site = sites.get(request.site)
        if site is None:
            return None
        try:
            if site.step != "ready" and not request.body:
                return Reply(site.handle(request.data))
            task = site.begin(request.data, request.body)
            rows = np.full((1, 3), 0.5) if policy.plan[0].noise else np.full(3, 0.5)
            given = Contribution({"vector": rows})
            return upload_contribution(site, policy, request, task, given, groups={"all"})
        except (PeerError, StateError, BudgetExceeded) as error:
            return Reply(site.refusal(error))

    return ask


def one_sum(hospitals: Hospitals, sites: Mapping[str, Site], policy: Policy) -> tuple[float, Coordinator]:
    coordinator = Coordinator(read_roster(hospitals.folder / "roster.toml"), policy)
    ask = asking(sites, policy)
    set_up(coordinator, ask)
    coordinator.open_round("sum", b"model", None)
    result = finish_round(coordinator, ask)
    return float(read_total(policy, result).sums["vector"][0]), coordinator


def question() -> Question:
    return Question("sum", (Block("vector", 3, 1.0, 8),), max_weight=1)


def open_policy(sites: int = 5, across: str = "accept") -> Policy:
    return plan_policy(
        study="rotation", sites=sites, plan=[question()], across_rounds=across, rounds=20, colluders=1
    )


@pytest.fixture
def hospitals(tmp_path: Path) -> Hospitals:
    return Hospitals(tmp_path, "accept")


def test_after_a_rotation_the_next_session_sums_under_the_new_key(hospitals: Hospitals) -> None:
    total, _ = one_sum(hospitals, hospitals.sites(*NAMES), open_policy())
    assert total == 2.5
    old = read_roster(hospitals.folder / "roster.toml").digest
    hospitals.rotate("birch")
    hospitals.pin(*NAMES)
    assert read_roster(hospitals.folder / "roster.toml").digest != old
    total, coordinator = one_sum(hospitals, hospitals.sites(*NAMES), open_policy())
    assert total == 2.5
    assert coordinator.faults == ()


def test_the_budget_goes_on_under_the_new_key(tmp_path: Path) -> None:
    budget = '\n[budget]\nepsilon = 8.0\ndelta = 1e-5\nunit = "patient"\n'
    hospitals = Hospitals(tmp_path, "noise", budget)
    policy = plan_with_noise([question()], "patient", {"sum": 3.0}, study="rotation", sites=5, colluders=1)
    one_sum(hospitals, hospitals.sites(*NAMES), policy)
    assert {name: hospitals.charges(name) for name in NAMES} == dict.fromkeys(NAMES, 1)
    hospitals.rotate("birch")
    hospitals.pin(*NAMES)
    one_sum(hospitals, hospitals.sites(*NAMES), policy)
    assert {name: hospitals.charges(name) for name in NAMES} == dict.fromkeys(NAMES, 2)


def test_a_key_that_the_roster_has_no_more_is_told_before_anything_is_sent(hospitals: Hospitals) -> None:
    hospitals.rotate("birch")
    with pytest.raises(ConfigError, match="does not have site 'birch' with the key in"):
        hospitals.site("birch")


def test_the_old_key_can_speak_for_nobody(hospitals: Hospitals) -> None:
    stolen = hospitals.site("birch")  # the thief has the old key and the old roster
    hospitals.rotate("birch")
    hospitals.pin(*NAMES)
    sites = {**hospitals.sites(*NAMES), "birch": stolen}
    total, coordinator = one_sum(hospitals, sites, open_policy())
    assert total == 2.0, "the sum is over the four others"
    assert "birch" not in coordinator.able()


def test_a_site_with_the_old_roster_refuses_and_the_others_go_on(hospitals: Hospitals) -> None:
    hospitals.rotate("birch")
    hospitals.pin("alder", "birch", "cedar", "elm")  # hazel was told nothing
    total, coordinator = one_sum(hospitals, hospitals.sites(*NAMES), open_policy())
    assert total == 2.0
    assert "hazel" not in coordinator.able()


def test_a_site_that_was_put_out_is_in_no_session(hospitals: Hospitals) -> None:
    gone = hospitals.site("hazel")
    rest = tuple(name for name in NAMES if name != "hazel")
    hospitals.pin(*rest, without="hazel")
    sites = {**hospitals.sites(*rest), "hazel": gone}
    total, coordinator = one_sum(hospitals, sites, open_policy(4))
    assert total == 2.0
    with pytest.raises(PeerError, match="not in the roster"):
        coordinator.receive("hazel", b"anything", b"")
    # And it takes no offer of theirs, since it pins another roster.
    offer = Coordinator(read_roster(hospitals.folder / "roster.toml"), open_policy(4)).requests()[0]
    with pytest.raises(PeerError, match="roster"):
        gone.handle(offer.data)


def test_a_session_of_the_old_roster_does_not_go_on(hospitals: Hospitals) -> None:
    sites = hospitals.sites(*NAMES)
    one_sum(hospitals, sites, open_policy())
    saved = sites["alder"].save()
    hospitals.rotate("birch")
    hospitals.pin(*NAMES)
    with pytest.raises(StateError, match="roster"):
        hospitals.site("alder").load(saved)


def test_frozen_data_is_not_summed_under_another_roster(tmp_path: Path) -> None:
    hospitals = Hospitals(tmp_path, "freeze")
    policy = open_policy(across="freeze")
    one_sum(hospitals, hospitals.sites(*NAMES), policy)
    hospitals.rotate("birch")
    hospitals.pin(*NAMES)
    with pytest.raises(RoundAborted, match="froze"):
        one_sum(hospitals, hospitals.sites(*NAMES), policy)
