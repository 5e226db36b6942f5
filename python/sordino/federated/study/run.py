# SPDX-License-Identifier: Apache-2.0

"""Running a study in one process: secure sums over simulated sites, a checkpoint after every one of them."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np

from sordino.aggregation.base import Aggregator, Contribution, Step
from sordino.aggregation.masked import MaskedAggregator
from sordino.aggregation.plain import PlainAggregator, PlainSumWarning
from sordino.course.arrays import Arrays
from sordino.course.follow import Aborted, Event, Halted, Summed, follow
from sordino.errors import RoundAborted
from sordino.federated.fusion.late import bases_of
from sordino.federated.site import Site
from sordino.federated.study.agreed import agreed
from sordino.federated.study.directory import Checkpoint, RunDirectory
from sordino.federated.study.families.any import ModelFile
from sordino.federated.study.families.late import late_file
from sordino.federated.study.families.stored import ScalerValues, StoredModel
from sordino.federated.study.harmonise_file import SiteEffects, StoredHarmonisation
from sordino.federated.study.prepared import Prepared
from sordino.federated.study.results import LEAST, metrics, repeat_results, without_nan
from sordino.federated.study.site_reports import missed, own_performance, participation, shared
from sordino.federated.study.spending import Spending
from sordino.federated.study.transcript import Transcript
from sordino.files.chain import read_chain
from sordino.files.settings import read_roster
from sordino.privacy.accountant import Guarantee


@dataclass(frozen=True)
class Progress:
    """One sum or aborted round of a run; `done` of `total` sums are made."""

    repeat: int
    done: int
    total: int
    event: Event
    equal: bool | None = None
    """Whether the sum equals the plain one bit for bit; None if they were not compared."""
    epsilon: float | None = None
    """What a private run has cost so far."""


Watcher: TypeAlias = Callable[[Progress], None]


def run_study(prepared: Prepared, out: Path, *, watch: Watcher = lambda _: None) -> bool:
    """Train, test and write the results to `out`, each site's own report too; go on where a run ended.

    Returns whether there was anything left to do. Raises `StateError` if `out` belongs to another study,
    `RoundAborted` if a sum fails again and again or a private study's budget has no room for the next one,
    and what the sites' own work raises; the next call goes on.
    """
    with RunDirectory(out) as directory:
        checkpoint = directory.load(prepared.digest)
        begun = checkpoint is not None
        if checkpoint is None:
            checkpoint = Checkpoint(study=prepared.digest)
            directory.save(checkpoint)
        written = all((out / name).exists() for name in ("model.json", "sites.json", "metrics.json"))
        if checkpoint.repeat == prepared.study.repeats and written:
            return False
        with Transcript(out / "transcript.jsonl") as transcript:
            if begun:
                transcript.write("resumed", repeat=checkpoint.repeat + 1, position=checkpoint.position)
            else:
                transcript.write("started", **_heading(prepared), sites=list(prepared.study.site_names))
            _Run(prepared, directory, transcript, checkpoint, watch).to_the_end()
            sites = directory.session / "sites"
            heads = {
                name: read_chain(sites / name / "journal").head.hex() for name in prepared.study.site_names
            }
            transcript.write("finished", ledger_heads=heads)
    return True


class _Run:
    def __init__(
        self,
        prepared: Prepared,
        directory: RunDirectory,
        transcript: Transcript,
        checkpoint: Checkpoint,
        watch: Watcher,
    ) -> None:
        self._prepared, self._directory, self._transcript = prepared, directory, transcript
        self._checkpoint, self._watch = checkpoint, watch
        self._turns = prepared.training.turns()
        self._times = Counter(turn.stage.kind for turn in self._turns)
        self._spending = None if prepared.privacy is None else Spending(prepared.privacy)
        self._spent: Guarantee | None = None
        self._aggregator: MaskedAggregator | None = None

    def to_the_end(self) -> None:
        """Train what is left of the repeats, then write the results."""
        repeats = self._prepared.study.repeats
        if self._checkpoint.repeat < repeats or self._spending is not None:
            with MaskedAggregator(
                self._prepared.policy,
                self._prepared.study.site_names,
                directory=self._directory.session,
                groups=self._prepared.groups,
                schemas=self._prepared.cohort.schemas,
                guard=None if self._spending is None else self._spending.guard,
            ) as aggregator:
                self._aggregator = aggregator
                roster = read_roster(self._directory.session / "roster.toml").digest.hex()
                self._directory.write_json(
                    "study.json", {**_heading(self._prepared), **agreed(self._prepared, roster)}
                )
                while self._checkpoint.repeat < repeats:
                    self._train(aggregator)
                self._take_stock()
        done = self._checkpoint
        self._directory.write_json("model.json", msgspec.json.decode(done.model, type=ModelFile))
        found = metrics(
            self._prepared.study.model.outcome.headline,
            done.results,
            sums=done.sums,
            compared=done.compared,
            equal=done.equal,
        )
        if self._spending is not None and self._spent is not None:
            found["privacy"] = self._spending.report(self._spent, done.epsilons)
        self._write_reports()
        # Last, since its presence says that the run is over.
        self._directory.write_json("metrics.json", {**_heading(self._prepared), **found})

    def _write_reports(self) -> None:
        """To everybody how often each site was left out, to each site how well the model does there."""
        study, done = self._prepared.study, self._checkpoint
        told = participation(study, self._prepared.training, done.left_out)
        heading = _heading(self._prepared)
        self._directory.write_json("sites.json", {**heading, **told, **shared(study, done.reports)})
        for name, own in told["sites"].items():
            report = {
                **heading,
                "site": name,
                **own,
                "seconds": round(done.seconds.get(name, 0.0), 6),
                "own_performance": done.reports[name],
            }
            self._directory.write_own(name, "report.json", report)

    def _train(self, aggregator: Aggregator) -> None:
        study, start = self._prepared.study, self._checkpoint
        sites = {
            name: replace(
                site,
                memory=self._directory.memory(name, start.repeat),
                effects=self._directory.memory(name, start.repeat, "effects"),
            )
            for name, site in self._prepared.sites(start.repeat).items()
        }
        state = follow(
            self._turns,
            aggregator,
            sites,
            start.arrays() if start.state else self._prepared.training.initial(),
            position=start.position,
            draw=self._prepared.asked,
            lose=self._losses,
            deadline=study.training.deadline,
            keep=self._compares,
            notify=self._note,
        )
        training = self._prepared.training
        self._keep_effects(sites, state)
        sites = {name: training.harmonised(site, state) for name, site in sites.items()}
        results = repeat_results(
            training,
            sites,
            state,
            pooled=study.simulation.compare_pooled,
            least=study.test.min_subgroup if study.test else LEAST,
        )
        if start.repeat:
            # Splits share patients: cells of several would show, by their differences, fewer than `least`.
            results["secure_sums"].pop("figures", None)
        model = start.model or msgspec.json.encode(_model(self._prepared, state))
        self._checkpoint = msgspec.structs.replace(
            self._checkpoint,
            repeat=start.repeat + 1,
            position=0,
            state=b"",
            results=[*start.results, results],
            reports={
                name: [
                    *start.reports.get(name, []),
                    without_nan(own_performance(training, site, state)),
                ]
                for name, site in sites.items()
            },
            model=model,
        )
        self._directory.save(self._checkpoint)

    def _keep_effects(self, sites: Mapping[str, Site], state: Arrays) -> None:
        """What each site needs to harmonise new patients for the model that is kept, the first repeat's."""
        combat = self._prepared.training.harmonisation
        if combat is None or self._checkpoint.repeat:
            return
        for name, site in sites.items():
            own = SiteEffects.made(combat, site, state)
            self._directory.write_own(name, "effects.json", own)

    def _losses(self, kind: str, number: int) -> Mapping[str, Step]:
        return self._prepared.study.losses(number) if kind == self._prepared.training.trainer.kind else {}

    @property
    def _compares(self) -> bool:
        """Whether every sum is made once more in the clear; with noise two sums are never equal."""
        return self._prepared.study.simulation.compare_plain and self._spending is None

    def _note(self, event: Event) -> None:
        now, equal = self._checkpoint, None
        self._take_stock()
        if isinstance(event, Aborted):
            self._transcript.aborted(now.repeat, event, self._costs())
            self._stop_without_budget(event)
        elif isinstance(event, Halted):
            self._transcript.halted(now.repeat, event)
            self._checkpoint = now.moved(position=event.position + 1, state=event.state)
            self._directory.save(self._checkpoint)
        else:
            self._transcript.summed(now.repeat, event, self._costs(event))
            compare = self._compares
            equal = _equals_plain_sum(self._prepared, event) if compare else None
            self._checkpoint = now = now.moved(
                position=event.position + 1,
                state=event.state,
                sums=now.sums + 1,
                compared=now.compared + int(compare),
                equal=now.equal + int(equal is True),
                left_out=missed(
                    now.left_out,
                    self._prepared.asked(
                        event.turn.stage.kind, event.turn.number, self._prepared.study.site_names
                    ),
                    event,
                    made_before=now.repeat * self._times[event.turn.stage.kind],
                ),
                seconds=now.seconds
                | {
                    name: now.seconds.get(name, 0.0) + traffic.seconds
                    for name, traffic in event.total.traffic.items()
                },
                epsilons=now.epsilons if self._spent is None else [*now.epsilons, self._spent.epsilon],
            )
            self._directory.save(now)
        self._watch(
            Progress(
                repeat=now.repeat + 1,
                done=now.sums,
                total=len(self._turns) * self._prepared.study.repeats,
                event=event,
                equal=equal,
                epsilon=None if self._spent is None else self._spent.epsilon,
            )
        )

    def _take_stock(self) -> None:
        """Read from the sites' journals what the run has cost so far, if it is private."""
        if self._spending is not None and self._aggregator is not None:
            self._spent = self._spending.so_far(self._aggregator.charges)

    def _costs(self, event: Summed | None = None) -> dict[str, Any] | None:
        """What a line of the transcript says of privacy."""
        if self._spending is None or self._spent is None:
            return None
        costs: dict[str, Any] = {
            "unit": self._spent.unit,
            "epsilon": self._spent.epsilon,
            "delta": self._spent.delta,
        }
        if event is not None:
            costs["noise_multiplier"] = self._spending.planned.multipliers[event.turn.stage.kind]
        return costs

    def _stop_without_budget(self, event: Aborted) -> None:
        if self._spending is None or self._spent is None or not self._spending.exhausted:
            return
        terms, done = self._spending.planned.terms, self._checkpoint.sums
        raise RoundAborted(
            f"the sites' budget of epsilon {terms.epsilon:g} at delta {terms.delta:g} has no room for "
            f"{event.turn.stage.kind} {event.turn.number}: {done} of "
            f"{len(self._turns) * self._prepared.study.repeats} sums are made and epsilon "
            f"{self._spent.epsilon:.4g} is spent; what is made is kept"
        )


def _equals_plain_sum(prepared: Prepared, event: Summed) -> bool:
    """Whether the sum is, lane by lane, that of the survivors' own contributions added in the clear."""

    def given(name: str) -> Callable[[bytes], Contribution]:
        return lambda _: event.contributions[name]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlainSumWarning)  # the study asked for the comparison
        plain = PlainAggregator(prepared.policy, prepared.study.site_names, groups=prepared.groups)
    total = plain.aggregate(
        event.turn.stage.kind, event.body, {name: given(name) for name in event.total.survivors}
    )
    return np.array_equal(total.integers, event.total.integers)


def _heading(prepared: Prepared) -> dict[str, Any]:
    """What every result says about where it came from."""
    return {
        "study": prepared.study.name,
        "sordino": version("sordino"),
        "schema": prepared.cohort.schema.digest.hex(),
        "policy": prepared.policy.digest.hex(),
        "across_rounds": prepared.policy.across_rounds,
    }


def _model(prepared: Prepared, state: Arrays) -> StoredModel:
    study, late = prepared.study, prepared.training.late
    features = state if late is None else bases_of(state)
    combat, table = prepared.training.harmonisation, study.harmonise
    scaler = None
    if "scale" in features:
        scaler = ScalerValues(features["mean"].tolist(), features["scale"].tolist())
    common = {
        "study": study.name,
        "id": study.data.id,
        "features": list(prepared.cohort.schema.features),
        "scaler": scaler,
        "fill": features["fill"].tolist() if "fill" in features else None,
        "harmonisation": StoredHarmonisation.made(combat, table, state) if combat and table else None,
        "modalities": {name: list(columns) for name, columns in prepared.cohort.modalities.items()},
        "rounds": study.training.rounds,
        "schema": prepared.cohort.schema.digest.hex(),
        "policy": prepared.policy.digest.hex(),
        "sordino": version("sordino"),
    }
    if late is not None:
        return late_file(late, state, study.data, common)
    return study.model.stored(state, study.data, common)
