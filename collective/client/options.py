"""Bounds of what a client does: of its transfers, and of the calls that it makes for them."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core import limits
from collective.core.clock import Clock
from collective.rpc.remote.connection import CALL_TIMEOUT_S, RETRY_S, Control, Explain
from collective.transfer.engine.options import TransferOptions


@dataclass(frozen=True, slots=True)
class ClientOptions(TransferOptions):
    """Bounds of one :class:`Collective`."""

    window_chunks: int = 8
    """Chunks held in memory at once by all transfers together; of what is smaller, up to eight times as many."""
    buffers_bytes: int = 80 * limits.MIB
    """All buffers together."""
    call_timeout_s: float = CALL_TIMEOUT_S
    """Deadline of one control call."""
    retry_s: float = RETRY_S
    """A coordinator that cannot be reached in the middle of a transfer is tried for so long."""

    def control(self, clock: Clock, explain: Explain | None = None) -> Control:
        """Return what makes calls within these bounds; ``explain`` as :class:`Control` takes it."""
        return Control(
            clock, call_timeout_s=self.call_timeout_s, retry_s=self.retry_s, explain=explain
        )
