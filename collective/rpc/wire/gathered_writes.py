"""What one turn of the event loop writes to a connection, handed to TLS as one piece.

grpclib writes each frame by itself: an answer is three, each a TLS record of its own; the chunk stream
answers each small chunk with a frame.  Here they go together, with those of other calls on the same
connection that end in the same turn.  Owns the order of the bytes; refuses nothing.  Invariants: what is
written goes out in that order, before the connection is closed, and no timer holds it back; no more than
``GATHERED_MAX_BYTES`` are kept here, so that the transport's own limits stop one that writes too much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

GATHERED_MAX_BYTES: Final = 32 * 1024


class GatheredWrites:
    """The part of :class:`asyncio.Transport` that grpclib and the chunk stream use, over a transport."""

    def __init__(self, transport: asyncio.Transport) -> None:
        """Write to ``transport``, within its event loop."""
        self.transport: Final = transport
        self._loop = asyncio.get_running_loop()
        self._pieces: list[bytes] = []
        self._size = 0

    def write(self, data: bytes) -> None:
        """Send ``data`` by the end of this turn of the loop."""
        if not self._pieces:
            self._loop.call_soon(self.flush)
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= GATHERED_MAX_BYTES:
            self.flush()

    def write_through(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Send ``pieces`` after what waits, before this returns: they may be used for something else then."""
        waiting, self._pieces = self._pieces, []
        self._size = 0
        if not self.transport.is_closing():
            self.transport.writelines([*waiting, *pieces])

    def flush(self) -> None:
        """Hand over what was written until now; what the connection has ended before is dropped."""
        if not self._pieces:
            return
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Close the connection once all that was written has gone."""
        self.flush()
        self.transport.close()

    def abort(self) -> None:
        """Cut the connection off; what was not sent is dropped."""
        self._pieces.clear()
        self._size = 0
        self.transport.abort()

    def is_closing(self) -> bool:
        """Tell whether the connection is closed or about to be."""
        return self.transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the transport knows under ``name``."""
        return self.transport.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        """Return the bytes that have not gone out."""
        return self._size + self.transport.get_write_buffer_size()
