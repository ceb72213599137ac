"""A TCP proxy in front of a coordinator that lets its answers through as slowly as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from types import TracebackType
from typing import Final, Self

_READ_BYTES: Final = 16 * 1024
_STEP_S: Final = 0.05
"""A slow answer comes in pieces of so long."""


class SlowProxy:
    """Listens on a port of 127.0.0.1, in a thread of its own, while entered; at first at full speed."""

    def __init__(self, port: int, target_port: int) -> None:
        """Pass on what comes to ``port`` to ``target_port``."""
        self._port = port
        self._target_port = target_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._bytes_per_s = 0.0
        self._changed = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        for task in tuple(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def limit(self, bytes_per_s: float) -> None:
        """Answer at ``bytes_per_s`` from now on, each connection by itself; 0: at full speed."""

        def change() -> None:
            self._bytes_per_s = bytes_per_s
            self._changed.set()
            self._changed = asyncio.Event()

        self._loop.call_soon_threadsafe(change)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target_port)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._ask(reader, there[1]))
                    group.create_task(self._answer(there[0], writer))
            finally:
                there[1].close()
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # either end went, or this proxy does; nobody awaits this task
        finally:
            writer.close()
            self._open.discard(task)

    @staticmethod
    async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_BYTES):
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_READ_BYTES):
            while data:
                piece = max(1, int(self._bytes_per_s * _STEP_S)) if self._bytes_per_s else len(data)
                writer.write(data[:piece])
                data = data[piece:]
                await writer.drain()
                if self._bytes_per_s:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_STEP_S):
                            await self._changed.wait()
        raise ConnectionResetError
