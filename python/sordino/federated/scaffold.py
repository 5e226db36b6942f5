# SPDX-License-Identifier: Apache-2.0

"""SCAFFOLD (Karimireddy et al. 2020): local steps, corrected for how each site differs from the others.

Every site keeps a control variate c_i, the mean gradient along its last local steps, and takes its next steps
along g - c_i + c, c the patient-weighted mean of all c_i. So local steps go where the pooled objective goes,
and the common model ends at its optimum however many there are. By option II of the paper's algorithm 1,

    c_i+ = c_i - c + (theta - theta_i) / (steps rate),

and c_i+ - c_i goes through the same masked sum as the change of the parameters.

**In units of a step.** Here d_i = rate c_i, coordinate by coordinate, so that d_i is bounded as a change of
the parameters is, and shares its clip and resolution. The learning rate stays as it is throughout.

**Never apart.** The coordinator keeps D = sum n_i d_i, to which each sum adds sum n_i (d_i+ - d_i) over its
survivors, exactly: a site rounds d_i+ - d_i to the grid before it keeps it. A site cannot know whether the
round it uploads to will be certified with it. So d_i+ is only pending until the body of a later question says
of which sum the site was part last, and is dropped where that is another one. A lost round, a round that is
asked again and a resumed run all come to the same. The body tells that of every site, which is no secret:
survivors are certified to everyone. A coordinator that lies about it spoils the model, and learns more than a
sum: where it asks the same twice with one site's number moved, the sums differ by what that site's d_i does
to its own change. So this is for a coordinator that follows the protocol (docs/threat-model.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sordino.aggregation.base import Aggregate, Contribution
from sordino.course.arrays import Arrays
from sordino.errors import Diverged, JournalError
from sordino.federated.fedavg import FedAvg
from sordino.federated.site import Site
from sordino.models.model import Vector
from sordino.protocol.policy import EVERYONE, Question


@dataclass(frozen=True)
class Scaffold:
    """SCAFFOLD over the local steps and the server of `averaging`.

    State besides that of `FedAvg`: `control_sum` (D), `control` (D over all patients), `control_weights`
    (weights and survivors of all sums so far), `control_names` and `control_sums` (who was in a sum, and in
    which one last, from 1 on).

    A site's memory: `control` (d_i) and `sum`, of which it is; `pending` (d_i+) and `pending_sum`.
    """

    averaging: FedAvg

    kind = "scaffold"
    reads = (*FedAvg.reads, "control", "control_names", "control_sums")

    def question(self) -> Question:
        """As federated averaging, and the change of every control variate."""
        averaging = self.averaging
        asked = averaging.question()
        control = averaging.block(
            "control", "update_clip", averaging.model.size, averaging.clip, averaging.wanted_bits
        )
        return Question(kind=self.kind, blocks=(*asked.blocks, control), max_weight=asked.max_weight)

    def initial(self, learning_rate: float | None = None) -> Arrays:
        """The state before round 1; all control variates are zero."""
        size = self.averaging.model.size
        return {
            **self.averaging.initial(learning_rate),
            "control_sum": np.zeros(size),
            "control": np.zeros(size),
            "control_weights": np.zeros(2),
            "control_names": _packed(()),
            "control_sums": np.zeros(0),
        }

    def contribute(self, site: Site, known: Arrays) -> Contribution:
        """The site's change, and that of its control variate, which it keeps as pending."""
        own, common, last = self._control(site, known), known["control"], _last_sum(site.name, known)
        change, loss, steps = self.averaging.train(site, known, common - own)
        scale = self.question().blocks[-1].scale
        with np.errstate(over="ignore", invalid="ignore"):
            control = np.rint((-change / steps - common) * scale) / scale
        given = self.averaging.contribution(site, change, loss, control=control)
        if not np.all(np.abs(control) <= self.averaging.clip):
            raise Diverged(
                f"site {site.name!r}: its control variate changes by more than update_clip = "
                f"{self.averaging.clip:g} in one round: if training diverges, lower learning_rate, else "
                "raise update_clip"
            )
        site.memory.keep(
            {
                "control": own,
                "sum": np.array([last]),
                "pending": own + control,
                "pending_sum": known["round"] + 1.0,
            }
        )
        return given

    def advance(self, state: Arrays, total: Aggregate) -> Arrays:
        """As federated averaging; the control variates of the survivors move."""
        state = self.averaging.advance(state, total)
        control_sum = state["control_sum"] + total.sums["control"]
        weights = state["control_weights"] + np.array([total.weights[EVERYONE], len(total.survivors)])
        # All sites' patients: exact where all are in every sum. It bounds how far c goes, not where it ends.
        everybody = weights[0] * self.averaging.sites / weights[1]
        last = dict(zip(_names(state), state["control_sums"], strict=True))
        last |= dict.fromkeys(total.survivors, float(state["round"][0]))
        return {
            **state,
            "control_sum": control_sum,
            "control": control_sum / everybody,
            "control_weights": weights,
            "control_names": _packed(sorted(last)),
            "control_sums": np.array([last[name] for name in sorted(last)]),
        }

    def give_up(self, state: Arrays) -> Arrays:
        """See `FedAvg.give_up`."""
        return self.averaging.give_up(state)

    def _control(self, site: Site, known: Arrays) -> Vector:
        """The control variate d_i that is part of the coordinator's D."""
        last, kept = _last_sum(site.name, known), site.memory.load()
        if last == 0.0:
            return np.zeros(self.averaging.model.size)
        for name, number in (("pending", "pending_sum"), ("control", "sum")):
            if name in kept and float(kept[number][0]) == last:
                return kept[name]
        raise JournalError(
            f"site {site.name!r} no longer has the control variate that it gave to sum {last:.0f}: its "
            "memory was lost or restored, or the coordinator went back; start the training anew"
        )


def _last_sum(name: str, known: Arrays) -> float:
    """The number of the last sum that the site was part of, 0 if of none."""
    numbers: list[float] = known["control_sums"].tolist()
    return dict(zip(_names(known), numbers, strict=True)).get(name, 0.0)


def _names(state: Arrays) -> list[str]:
    return state["control_names"].astype(np.uint8).tobytes().decode().split("\n")[:-1]


def _packed(names: Sequence[str]) -> Vector:
    """Names as a vector, a number a byte, since the body holds vectors; a name has no line feed."""
    return np.frombuffer("".join(f"{name}\n" for name in names).encode(), np.uint8).astype(np.float64)
