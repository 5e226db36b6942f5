# SPDX-License-Identifier: Apache-2.0

"""A Flower grid whose nodes are processes of their own, with what is sent in files between them.

Both ends take messages apart and put them together by what `flwr-clientapp` calls for that, so that a node's
memory is that of its process in a federation.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flower_grid import SERVER, LocalGrid, speak_as
from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import pull_and_inflate_object_from_tree, push_objects
from studies import NAMES

from sordino.adapters.flower import secure_mod

SITES = NAMES[:4]
STEPS = {name: 0.25 * (place + 1) for place, name in enumerate(SITES)}
COUNTS = {name: 100 + place for place, name in enumerate(SITES)}


def stepping_app(name: str) -> ClientApp:
    """Training that adds a step to every other value, and holds one array beside what Flower keeps."""
    app = ClientApp(mods=[secure_mod])

    @app.train()
    def train(message: Message, context: Context) -> Message:
        arrays = ArrayRecord()
        for key, sent in message.content["arrays"].items():
            values = sent.numpy()
            values[::2] += np.float32(STEPS[name])
            arrays[key] = Array(values)
        metrics = MetricRecord({"num-examples": COUNTS[name]})
        return Message(RecordDict({"arrays": arrays, "metrics": metrics}), reply_to=message)

    return app


def memory(name: str = "VmRSS") -> int:
    """Bytes of this process: resident now, or with "VmHWM" at most so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


class SpoolGrid(LocalGrid, AbstractContextManager):
    """`make(name)` gives a node's app, in its process; `peaks` are known once the grid is closed.

    peaks   by node: the most bytes it held beyond what it held before its first message
    """

    def __init__(
        self, folder: Path, make: Callable[[str], ClientApp], configs: Mapping[str, Mapping[str, Any]]
    ) -> None:
        super().__init__()
        self.peaks: dict[str, int] = {}
        self._folder = folder
        self._answers: dict[str, bytes] = {}
        self._nodes = {}
        spawn = multiprocessing.get_context("spawn")
        for number, (name, config) in enumerate(configs.items(), SERVER + 1):
            mine, its = spawn.Pipe()
            process = spawn.Process(target=_node, args=(its, folder, make, name, number, dict(config)))
            process.start()
            its.close()
            self._nodes[number] = (name, process, mine)

    def __exit__(self, *_: object) -> None:
        for name, process, pipe in self._nodes.values():
            pipe.send(None)
            self.peaks[name] = pipe.recv()
            process.join()

    def get_node_ids(self) -> list[int]:
        return list(self._nodes)

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """One node after another, so that no two need their memory at once."""
        self.exchanges += 1
        numbers = []
        for message in messages:
            _, _, pipe = self._nodes[message.metadata.dst_node_id]
            tree = _push(self._folder, message)
            numbers.append(tree.object_id)
            pipe.send(tree.SerializeToString())
            self._answers[tree.object_id] = pipe.recv()
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        known = [number for number in message_ids if number in self._answers]
        return [_pull(self._folder, self._answers.pop(number)) for number in known]


def _node(
    pipe: Any, folder: Path, make: Callable[[str], ClientApp], name: str, number: int, config: dict[str, Any]
) -> None:
    speak_as(number)
    app, state, before = make(name), RecordDict(), memory()
    while (tree := pipe.recv()) is not None:
        context = Context(1, number, config, state, {})
        message = _pull(folder, tree)
        reply = app(message, context)
        state = context.state
        sent = _push(folder, reply)
        del message, reply
        pipe.send(sent.SerializeToString())
    pipe.send(memory("VmHWM") - before)


def _push(folder: Path, message: Message) -> ObjectTree:
    message.metadata.__dict__["_message_id"] = message.object_id
    with no_object_id_recompute():
        tree = get_object_tree(message)
        push_objects(get_all_nested_objects(message), partial(_write, folder))
    return tree


def _write(folder: Path, number: str, data: bytes) -> None:
    (folder / number).write_bytes(data)


def _pull(folder: Path, packed: bytes) -> Message:
    tree = ObjectTree.FromString(packed)
    message = pull_and_inflate_object_from_tree(
        tree, lambda number: (folder / number).read_bytes(), lambda _: None, return_type=Message
    )
    message.metadata.__dict__["_message_id"] = tree.object_id
    return message
