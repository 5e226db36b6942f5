# SPDX-License-Identifier: Apache-2.0

"""A Flower grid in this process: every message is taken apart into bytes and put together again, both ways.

Every message meets a new context, made from the bytes of the node's last one, as with a process a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents
from flwr.supercore.task_identity import TaskIdentity

SERVER = 1
Verdict = str
"""What happens to a message: "" nothing, "lost" on the way there, "unanswered" on the way back."""


class Node:
    """One SuperNode: its app and own configuration, and its state as bytes between messages."""

    def __init__(self, number: int, app: ClientApp, config: Mapping[str, Any]) -> None:
        self.number, self.app, self.config = number, app, dict(config)
        self.state = taken_apart(RecordDict())
        self.handled = 0

    def handle(self, message: Message) -> Message:
        self.handled += 1
        context = Context(1, self.number, self.config, put_together(self.state), {})
        try:
            reply = self.app(message, context)
        except Exception as error:  # noqa: BLE001 - as flwr-clientapp does, reason included
            return Message(Error(2, f"{type(error)}:<'{error}'>"), reply_to=message)
        self.state = taken_apart(context.state)
        return reply


class LocalGrid(Grid):
    """What every grid without a SuperLink has in common; `exchanges` counts how often messages went out."""

    def __init__(self) -> None:
        speak_as(SERVER)
        self.exchanges = 0

    def set_run(self, run: Any) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(self, *args: Any, **kwargs: Any) -> Message:
        raise NotImplementedError

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        return self.pull_messages(self.push_messages(messages))


class InProcessGrid(LocalGrid):
    """Nodes answer as they are pushed to; `fate` gives a message's `Verdict`, `relayed` has all bytes."""

    def __init__(self, nodes: Iterable[Node], fate: Callable[[Node, Message], Verdict] | None = None) -> None:
        super().__init__()
        self.nodes = {node.number: node for node in nodes}
        self.fate = fate or (lambda node, message: "")
        self.relayed: list[bytes] = []
        self._answers: dict[str, Message] = {}

    def get_node_ids(self) -> list[int]:
        return list(self.nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        messages, numbers = list(messages), []
        self.exchanges += bool(messages)
        for message in messages:
            number = message.object_id
            message.metadata.__dict__["_message_id"] = number
            numbers.append(number)
            node = self.nodes[message.metadata.dst_node_id]
            verdict = self.fate(node, message)
            if verdict == "lost":
                continue
            reply = node.handle(self._relay(message))
            if verdict != "unanswered":
                self._answers[number] = self._relay(reply)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        return [self._answers.pop(number) for number in list(message_ids) if number in self._answers]

    def _relay(self, message: Message) -> Message:
        number, parts = taken_apart(message)
        self.relayed += parts.values()
        copy = put_together((number, parts))
        copy.metadata.__dict__["_message_id"] = message.metadata.message_id
        return copy


def speak_as(number: int) -> None:
    """Be this node in the messages that this process makes."""
    TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, number, 1


def taken_apart(thing: Any) -> tuple[str, dict[str, bytes]]:
    return thing.object_id, {number: part.deflate() for number, part in get_all_nested_objects(thing).items()}


def put_together(taken: tuple[str, dict[str, bytes]]) -> Any:
    number, parts = taken
    return inflate_object_from_contents(number, dict(parts))
