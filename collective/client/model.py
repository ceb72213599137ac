"""What a program gives to the client for a transfer, beside the values of :mod:`collective.model`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Protocol

from collective.client.control import CALL_TIMEOUT_S, RETRY_S, Control
from collective.core import limits
from collective.core.clock import Clock


class Readable(Protocol):
    """A binary file object that fills a buffer; called in a thread."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Fill ``buffer`` from its start; return the bytes read, 0 at the end."""
        ...


Source = bytes | AsyncIterator[bytes] | Readable
"""What a file is written from."""

Progress = Callable[[int], None]
"""Called with the plain bytes that were just stored or delivered; must return at once."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """Bounds of one transfer; the defaults suit a home network."""

    window_chunks: int = 8
    """Chunks held in memory at once by an upload or a download."""
    batch_chunks: int = 4
    """Chunks allocated in one call, at most."""
    buffers_bytes: int = 80 * limits.MIB
    """All buffers of one :class:`Collective` together."""
    stall_s: float = limits.STALL_AFTER_S
    """No sign of life for so long, and a node is gone round."""
    give_up_s: float = 6.0
    """No sign of life from any node for so long, and the chunk has failed."""
    call_timeout_s: float = CALL_TIMEOUT_S
    """Deadline of one control call."""
    retry_s: float = RETRY_S
    """A coordinator that cannot be reached in the middle of a transfer is tried for so long."""

    def control(self, clock: Clock) -> Control:
        """Return what makes calls within these bounds."""
        return Control(clock, call_timeout_s=self.call_timeout_s, retry_s=self.retry_s)


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A piece of a file that is about to be stored."""

    chunk: bytes
    """32 bytes: the chunk id."""
    offset: int
    length: int
    stored_length: int
