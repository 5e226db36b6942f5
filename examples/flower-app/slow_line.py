# SPDX-License-Identifier: Apache-2.0

"""A line to a server on this machine that takes its time, and whose connections are cut after a while."""

from __future__ import annotations

import asyncio
import threading


class SlowLine:
    """Forwards connections to `port`, each byte `delay` seconds late, and cuts each after `life` seconds."""

    def __init__(self, port: int, *, delay: float = 0.2, life: float = 60.0) -> None:
        self.delay = delay
        self._target, self._life = port, life
        self.port = self.cuts = 0
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        """Cut all connections and take no more."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _connect(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        try:
            far, on = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:  # nobody listens there yet
            back.transport.abort()
            return
        forwarding = asyncio.gather(self._forward(near, on), self._forward(far, back))
        try:
            await asyncio.wait_for(forwarding, self._life)
        except (TimeoutError, OSError):
            self.cuts += 1
        finally:
            on.transport.abort()
            back.transport.abort()

    async def _forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(2**16):
            await asyncio.sleep(self.delay)
            sink.write(data)
            await sink.drain()
        sink.write_eof() if sink.can_write_eof() else None
