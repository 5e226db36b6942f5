# SPDX-License-Identifier: Apache-2.0

"""The server's side: any strategy whose aggregation is a mean, on sums that the server cannot open."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from sordino.adapters.checkpoint import keep, resume
from sordino.adapters.flower.envelope import body_of
from sordino.adapters.flower.line import GridLine
from sordino.adapters.flower.means import check_mean
from sordino.adapters.flower.momentum import Momentum
from sordino.adapters.flower.records import mean_of, values_of
from sordino.adapters.named import check_model
from sordino.adapters.session import Round, Session
from sordino.errors import InvalidArgument, PolicyError, StateError
from sordino.files.settings import read_roster
from sordino.privacy.accountant import Guarantee
from sordino.protocol.keys import Roster
from sordino.protocol.policy import Policy

_TYPE = re.compile(r"\A(train|evaluate|query)(\.[A-Za-z_][A-Za-z0-9_]*)?\Z")

_log = logging.getLogger(__name__)


class SecureStrategy(Strategy):  # type: ignore[misc]
    """Runs `strategy` on secure sums under `policy`.

    policy          its questions are named like the types of the strategy's messages: "train" and, if it
                    evaluates, "evaluate"; without the latter there is no federated evaluation
    roster          the sites, or the file that every site has pinned
    answer_within   seconds that a site has for any message but a question; for a question it is `timeout` of
                    `start`
    attempts        how often a question is asked in all if a round is lost
    directory       where the model, the strategy's momentum and the session are kept after every round, so
                    that a later run goes on; what a subclass holds besides starts anew, with a warning

    The strategy gets one reply, the mean over the sites in the sum, and does with it what it does.

    Raises `InvalidArgument` for a strategy that is not a mean, `PolicyError` for a policy whose questions
    Flower has no messages for, and `StateError` for a directory that belongs to another study.
    """

    def __init__(
        self,
        strategy: Strategy,
        policy: Policy,
        roster: Roster | Path | str,
        *,
        answer_within: float = 60.0,
        attempts: int = 3,
        directory: Path | str | None = None,
    ) -> None:
        check_mean(strategy)
        if unknown := [question.kind for question in policy.plan if not _TYPE.match(question.kind)]:
            raise PolicyError(
                f"questions are named like types of Flower's messages, as 'train', not {unknown}"
            )
        self._strategy = strategy
        self._policy = policy
        self._roster = roster if isinstance(roster, Roster) else read_roster(Path(roster))
        self._answer_within = answer_within
        self._attempts = attempts
        self._directory = Path(directory) if directory is not None else None
        self._session: Session | None = None
        self._done = 0
        self._momentum = Momentum(strategy)

    @property
    def rounds(self) -> tuple[Round, ...]:
        """What became of every question so far, lost ones included."""
        return tuple(self._session.rounds) if self._session is not None else ()

    def guarantee(self, delta: float) -> Guarantee:
        """The privacy that all questions so far cost together; see `Session.guarantee`."""
        if self._session is None:
            raise StateError("nothing was asked yet")
        return self._session.guarantee(delta)

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run the strategy; see Flower. A site that takes longer than `timeout` seconds is left out.

        Raises `PolicyError` for a policy without the question "train", `InvalidArgument` for a model that is
        not what its lanes hold, and `RoundAborted` where `attempts` rounds in a row had no sum.
        """
        check_model(self._policy.question("train"), values_of(initial_arrays))
        self._line = GridLine(grid, self._policy)
        self._session = Session(
            self._line,
            self._roster,
            self._policy,
            answer_within=self._answer_within,
            directory=self._directory,
        )
        arrays = self._resume(initial_arrays)
        self._session.prepared()  # before the strategy samples nodes: by then they are there
        result: Result = super().start(
            _SecureGrid(grid, self),
            arrays,
            num_rounds - self._done,
            timeout,
            train_config,
            evaluate_config,
            evaluate_fn and (lambda number, model: evaluate_fn(number + self._done if number else 0, model)),
        )
        if self._done >= num_rounds:
            result.arrays = arrays
        self._session.close()
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """What the strategy sends."""
        messages: Iterable[Message] = self._strategy.configure_train(
            server_round + self._done, arrays, config, grid
        )
        return messages

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """What the strategy makes of the mean; it is kept in the directory, with the strategy's momentum."""
        arrays, metrics = self._strategy.aggregate_train(server_round + self._done, replies)
        if arrays is not None and self._directory is not None:
            held = self._momentum.held()
            keep(self._directory, server_round + self._done, values_of(arrays), held)
        return arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """What the strategy sends, if the policy has a question for it."""
        if not any(question.kind.startswith("evaluate") for question in self._policy.plan):
            return []
        messages: Iterable[Message] = self._strategy.configure_evaluate(
            server_round + self._done, arrays, config, grid
        )
        return messages

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """What the strategy makes of the mean."""
        return self._strategy.aggregate_evaluate(server_round + self._done, replies)

    def summary(self) -> None:
        """Log the strategy's summary, and the terms of the sums."""
        self._strategy.summary()
        policy = self._policy
        _log.info(
            "secure sums: %d sites, at least %d in a sum, up to %d colluders, %s",
            policy.sites,
            policy.smallest_cohort,
            policy.colluders,
            "malicious" if policy.consistency else "semi-honest",
        )

    def ask(self, messages: list[Message], timeout: float) -> list[Message]:
        """Ask what these messages ask as one secure question; one reply with the mean, none for no message.

        Raises `InvalidArgument` unless they are the same for all nodes, and `RoundAborted` without a sum.
        """
        if not messages or self._session is None:
            return []
        first, nodes = messages[0], [message.metadata.dst_node_id for message in messages]
        body = body_of(first.content)
        if any(body_of(m.content) != body for m in messages if m.content is not first.content):
            raise InvalidArgument(
                "the strategy asks different nodes differently, and one sum has one question"
            )
        kind = first.metadata.message_type
        self._line.records = first.content
        total = self._session.aggregate(kind, body, timeout, nodes=nodes, attempts=self._attempts)
        content = mean_of(
            self._policy.question(kind),
            total,
            first.content,
            array_key=self._strategy.arrayrecord_key,
            weighted_by=self._strategy.weighted_by_key,
        )
        return [Message(content, reply_to=first)]

    def _resume(self, initial: ArrayRecord) -> ArrayRecord:
        """The model to go on with, and into the strategy the momentum that was kept beside it."""
        self._done, arrays, held = resume(self._directory, values_of(initial))
        if not self._done:
            return initial
        self._momentum.restore(held)
        return ArrayRecord({name: Array(array) for name, array in arrays.items()})


class _SecureGrid(Grid):  # type: ignore[misc]
    """A grid on which a strategy's messages are one secure question; all else is the grid's own."""

    def __init__(self, grid: Grid, strategy: SecureStrategy) -> None:
        self._grid = grid
        self._strategy = strategy

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """See `SecureStrategy.ask`."""
        return self._strategy.ask(list(messages), 3600.0 if timeout is None else timeout)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Nothing goes past the secure sum."""
        raise StateError(f"a strategy sends nothing past its secure sums, as these {len(list(messages))}")

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Nothing comes past the secure sum."""
        raise StateError(f"a strategy takes nothing past its secure sums, as these {len(list(message_ids))}")

    def set_run(self, run: Any) -> None:
        """See Flower."""
        self._grid.set_run(run)

    @property
    def run(self) -> Any:
        """See Flower."""
        return self._grid.run

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        """See Flower."""
        return self._grid.create_message(*args, **kwargs)

    def get_node_ids(self) -> Iterable[int]:
        """See Flower."""
        nodes: Iterable[int] = self._grid.get_node_ids()
        return nodes

    def get_nodes(self) -> Any:
        """See Flower."""
        return self._grid.get_nodes()
