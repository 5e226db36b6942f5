# SPDX-License-Identifier: Apache-2.0

"""Control variates stay in step with the coordinator whatever happens to a round."""

from __future__ import annotations

import random

import numpy as np
import pytest

from quadratic import Quadratic, masked, plain, policy_for, sites_of
from sordino.course.arrays import pack_arrays, unpack_arrays
from sordino.course.follow import Aborted, Summed, course, follow
from sordino.errors import JournalError
from sordino.federated.fedavg import FedAvg
from sordino.federated.local import Local
from sordino.federated.sampling import ClientSampling
from sordino.federated.scaffold import Scaffold
from sordino.federated.server import Momentum

PARABOLAS = {
    "alder": (1.0, 1.0),
    "birch": (10.0, -1.0),
    "cedar": (2.0, 3.0),
    "elm": (5.0, 0.0),
    "hazel": (7.0, -2.0),
    "larch": (1.0, 4.0),
}
PATIENTS = [1, 2, 3, 4, 5, 6]
_WEIGHTS = np.array(PATIENTS) * np.array([a for a, _ in PARABOLAS.values()])
OPTIMUM = float(_WEIGHTS @ np.array([b for _, b in PARABOLAS.values()]) / _WEIGHTS.sum())
STEPS = ("upload", "confirm", "unmask", "recover", "advertise")


def stage(kind=Scaffold, bits=40):
    averaging = FedAvg(
        Quadratic(),
        sites=6,
        max_patients=6,
        local=Local(steps=10),
        server=Momentum(0.0),
        clip=8.0,
        wanted_bits=bits,
    )
    return kind(averaging)


class CommitsAtOnce(Scaffold):
    """A broken SCAFFOLD in which a site takes it for granted that it survived the round."""

    def _control(self, site, known):
        del known
        kept = site.memory.load()
        return kept["pending"] if kept else np.zeros(1)


def troubles(seed):
    """Up to two sites lost in a round, each at a step of its own: some rounds are aborted."""

    def lose(_, number):
        chance = random.Random(f"{seed} {number}")
        if number > 250:
            return {}
        return {name: chance.choice(STEPS) for name in chance.sample(sorted(PARABOLAS), chance.randint(0, 3))}

    return lose


class LostOnTheWay:
    """Sums for which every site does its work, and remembers it, before it is lost."""

    def __init__(self, inner):
        self.inner = inner

    def aggregate(self, kind, body, contributors, *, lose):
        given = {name: contribute(body) for name, contribute in contributors.items()}
        return self.inner.aggregate(
            kind, body, {name: lambda _, one=given[name]: one for name in given}, lose=lose
        )


def trained(algorithm, sums, *, rounds=400, sites=None, **options):
    sites = sites or sites_of(PARABOLAS, PATIENTS)
    policy = policy_for([algorithm], sites)
    with sums(policy, sites) as aggregator:
        return follow(
            course((algorithm, rounds)), LostOnTheWay(aggregator), sites, algorithm.initial(0.05), **options
        )


@pytest.mark.parametrize("seed", range(3))
def test_dropouts_and_aborted_rounds_leave_the_optimum_where_it_is(seed):
    events = []
    state = trained(stage(), plain, lose=troubles(seed), notify=events.append)
    assert float(state["parameters"][0]) == pytest.approx(OPTIMUM, abs=1e-9)
    assert any(isinstance(event, Aborted) for event in events)
    assert any(event.total.dropped for event in events if isinstance(event, Summed))


def test_masked_rounds_with_losses_at_every_step_reach_the_optimum():
    state = trained(
        stage(bits=30), masked, rounds=120, lose=lambda kind, number: troubles(1)(kind, 2 * number)
    )
    assert float(state["parameters"][0]) == pytest.approx(OPTIMUM, abs=1e-6)


def test_site_that_commits_at_once_spoils_the_optimum():
    state = trained(stage(CommitsAtOnce), plain, lose=troubles(0))
    assert abs(float(state["parameters"][0]) - OPTIMUM) > 1e-3


def test_coordinator_holds_exactly_the_sum_of_what_the_sites_hold():
    sites, algorithm = sites_of(PARABOLAS, PATIENTS), stage()
    state = trained(algorithm, plain, rounds=60, sites=sites, lose=troubles(2))
    held = sum(len(site.target) * algorithm._control(site, state) for site in sites.values())
    np.testing.assert_array_equal(state["control_sum"], held)


@pytest.mark.parametrize("position", [1, 7, 40])
def test_training_goes_on_after_a_crash_in_the_middle_of_a_round(position):
    class Crash(Exception):
        pass

    class Crashing(Scaffold):
        """Dies once some of the sites have remembered what they gave to a sum that was never made."""

        def contribute(self, site, known):
            if known["round"][0] == position and site.name == "elm" and not crashed:
                crashed.append(site.name)
                raise Crash
            return super().contribute(site, known)

    crashed, sites, saved = [], sites_of(PARABOLAS, PATIENTS), {}
    algorithm = stage(Crashing)
    with plain(policy_for([algorithm], sites), sites) as inner:
        aggregator = LostOnTheWay(inner)
        turns = course((algorithm, 120))
        options = {"lose": troubles(3)}
        with pytest.raises(Crash):
            follow(
                turns,
                aggregator,
                sites,
                algorithm.initial(0.05),
                notify=lambda event: (
                    saved.update({event.position + 1: pack_arrays(event.state)})
                    if isinstance(event, Summed)
                    else None
                ),
                **options,
            )
        assert max(saved) == position
        rest = follow(turns, aggregator, sites, unpack_arrays(saved[position]), position=position, **options)
    whole = trained(stage(), plain, rounds=120, lose=troubles(3))
    np.testing.assert_array_equal(rest["parameters"], whole["parameters"])


def test_site_that_lost_its_memory_is_refused_rather_than_wrong():
    sites, algorithm = sites_of(PARABOLAS, PATIENTS), stage()
    state = trained(algorithm, plain, rounds=3, sites=sites)
    sites["elm"].memory.keep({})
    with pytest.raises(JournalError, match="'elm' no longer has the control variate that it gave to sum 3"):
        algorithm.contribute(sites["elm"], state)


def test_new_training_forgets_the_control_variates_of_the_last():
    sites, algorithm = sites_of(PARABOLAS, PATIENTS), stage()
    first = trained(algorithm, plain, rounds=5, sites=sites)
    again = trained(algorithm, plain, rounds=5, sites=sites)
    np.testing.assert_array_equal(first["parameters"], again["parameters"])


def test_sampled_sites_reach_the_optimum_of_all():
    algorithm = stage()
    policy = policy_for([algorithm], PARABOLAS)
    draw = ClientSampling(policy, algorithm.kind, 0.67, seed=5)
    state = trained(algorithm, plain, rounds=600, draw=draw)
    assert float(state["parameters"][0]) == pytest.approx(OPTIMUM, abs=1e-9)
