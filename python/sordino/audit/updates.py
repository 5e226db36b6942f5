# SPDX-License-Identifier: Apache-2.0

"""What is seen of a few patients: a site's own update, the sum, the sum with noise, and a final model.

Each is made by the stages that a study trains with, then turned back into a mean gradient, as an attacker who
knows the rate would. Of the final model that is the mean gradient over its whole way, which is the nearest
to one that the model alone gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from sordino.aggregation.base import Contribution, Contributor
from sordino.audit.targets import MODEL, NOISED, RAW, SUM, OpenSums
from sordino.course.answer import Answering
from sordino.course.arrays import unpack_arrays
from sordino.course.follow import course, follow
from sordino.course.stage import Stage, body
from sordino.errors import InvalidArgument
from sordino.federated.fedavg import FedAvg
from sordino.federated.private.clipping import ClipRule
from sordino.federated.private.descent import Descent
from sordino.federated.server import Momentum
from sordino.federated.site import Site
from sordino.models.model import Matrix, Model, Vector
from sordino.privacy.gaussian import gaussian_mu
from sordino.privacy.mechanisms import plan_with_noise
from sordino.protocol.policy import plan_policy

ROUNDS, RATE = 20, 0.1
"""Of the training to a final model."""

_CLIP = 1024.0
"""Of a change: features in deviations have outliers, and nothing is to be refused here."""


def update_views(
    model: Model,
    parameters: Vector,
    batches: Sequence[tuple[Matrix, Vector]],
    *,
    epsilon: float = 6.0,
    delta: float = 1e-5,
    seed: int = 0,
) -> dict[str, Vector]:
    """The mean gradient, shape (model.size,), that each target shows; the raw one is that of the first site.

    batches          features and target of each site, three sites at least; a model whose penalty is 0
    epsilon, delta   of the noise, for a patient, as if this round were all; rows are clipped to 1
    """
    if len(batches) < 3:
        raise InvalidArgument(f"a secure sum needs three sites at least, got {len(batches)}")
    columns = tuple(f"feature {number}" for number in range(batches[0][0].shape[1]))
    sites = {
        f"site-{number:03d}": Site(f"site-{number:03d}", features=rows, target=target, columns=columns)
        for number, (rows, target) in enumerate(batches)
    }
    names, most = tuple(sites), max(len(target) for _, target in batches)
    rng = np.random.default_rng([seed, 10])
    fedavg = FedAvg(model, sites=len(names), max_patients=most, clip=_CLIP)
    state = {**fedavg.initial(1.0), "parameters": parameters, "clip": np.ones(1), "counted": np.zeros(2)}
    policy = plan_policy(
        study="audit", sites=len(names), rounds=1 + ROUNDS, plan=[fedavg.question()], across_rounds="accept"
    )
    known = body(fedavg, state)
    raw = fedavg.contribute(sites[names[0]], unpack_arrays(known))
    total = OpenSums(policy, names, rng).aggregate(fedavg.kind, known, _answers(fedavg, sites))
    descent = Descent(model, Answering("patient", len(names), most, {}), ClipRule(1.0))
    multipliers = {descent.kind: 1.0 / gaussian_mu(epsilon, delta)}
    noised = plan_with_noise(
        [descent.question()], "patient", multipliers, study="audit", sites=len(names), rounds=1
    )
    private = OpenSums(noised, names, rng).aggregate(
        descent.kind, body(descent, state), _answers(descent, sites)
    )
    way = replace(fedavg, server=Momentum(0.0))
    start = {**state, **way.initial(RATE), "parameters": parameters}
    last = follow(course((way, ROUNDS)), OpenSums(policy, names, rng), sites, start)["parameters"]
    return {
        RAW: -raw.values["change"] / model.rates(1.0),
        SUM: -total.mean("change") / model.rates(1.0),
        NOISED: private.mean("gradient"),
        MODEL: (parameters - last) / (ROUNDS * model.rates(RATE)),
    }


def _answers(stage: Stage[Site], sites: Mapping[str, Site]) -> dict[str, Contributor]:
    return {name: partial(_answer, stage, site) for name, site in sites.items()}


def _answer(stage: Stage[Site], site: Site, question: bytes) -> Contribution:
    return stage.contribute(site, unpack_arrays(question))
