# SPDX-License-Identifier: Apache-2.0

"""What a run says of each site: how often it was left out, and to itself how well the model does there.

How often a site was left out is known to all who took part. How well the model does on a site's own patients
is that site's business: it stands in that site's own file, and with the others' only where the site opts in.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from sordino.aggregation.base import Aggregate
from sordino.course.arrays import Arrays
from sordino.course.follow import Summed
from sordino.federated.exclusion import LEVEL, exclusion_tests
from sordino.federated.site import Site
from sordino.federated.study.file import StudyFile
from sordino.federated.study.outcomes.outcome import Metrics
from sordino.federated.training import Training
from sordino.protocol.policy import EVERYONE

Missed = dict[str, dict[str, list[int]]]
"""By site and kind of question, the sums that were made without it, counted over all repeats from 1 on."""


def missed(before: Missed, asked: Collection[str], event: Summed, *, made_before: int) -> Missed:
    """`before` with one more sum of those asked; earlier repeats made `made_before` of its kind."""
    kind, number = event.turn.stage.kind, made_before + event.turn.number
    after = {name: {**own} for name, own in before.items()}
    for name in sorted(set(asked) - set(event.total.survivors)):
        own = after.setdefault(name, {})
        own[kind] = [*own.get(kind, []), number]
    return after


def participation(study: StudyFile, training: Training, left_out: Missed) -> dict[str, Any]:
    """How often each site was left out, and whether that goes with an attribute that is declared for it."""
    kind, rounds = training.trainer.kind, training.rounds * study.repeats
    parts, sites = {}, {}
    for name in study.site_names:
        own = left_out.get(name, {})
        without = own.get(kind, [])
        others = {other: len(sums) for other, sums in sorted(own.items()) if other != kind}
        parts[name] = len(without) / rounds
        sites[name] = {
            "left_out": len(without),
            "part_of_rounds": parts[name],
            "rounds": without,
            **({"left_out_of_other_sums": others} if others else {}),
        }
    tests = exclusion_tests(parts, {site.name: site.attributes for site in study.sites})
    return {
        "rounds": rounds,
        "sites": sites,
        "exclusion": [
            {
                "attribute": test.attribute,
                "p_value": test.value,
                "needed": test.level,
                "correlated": test.correlated,
            }
            for test in tests
        ],
        "warnings": [
            f"being left out of rounds goes with the attribute {test.attribute!r} of the sites (permutation "
            f"test, p = {test.value:.3g}, at the level {LEVEL:g} over all attributes): the model knows too "
            "little of such patients"
            for test in tests
            if test.correlated
        ],
    }


def own_performance(training: Training, site: Site, state: Arrays) -> Metrics | None:
    """The metrics of the common model on the held-out patients of one site, for that site; None without any.

    Made at the site: nothing of it enters a sum.
    """
    if training.bins is None or site.test_target is None or not len(site.test_target):
        return None
    stage = training.tester(training.bins, sites=1)
    given = stage.contribute(site, state)
    weight = given.weight if isinstance(given.weight, int) else given.weight[EVERYONE]
    alone = Aggregate(
        round=0,
        sums={name: weight * np.asarray(vector, np.float64) for name, vector in given.values.items()},
        weights={EVERYONE: float(weight)},
        integers=np.zeros(0, np.int64),
        survivors=(site.name,),
    )
    known = {name: vector for name, vector in state.items() if name != "counts_deviation"}
    return training.outcome.tested(stage.advance(known, alone))


def shared(study: StudyFile, reports: Mapping[str, Sequence[Metrics | None]]) -> dict[str, Any]:
    """The performance of those sites that opted in, one entry a repeat."""
    willing = sorted(site.name for site in study.sites if site.share_performance)
    return {"shared_performance": {name: reports[name] for name in willing}} if willing else {}
