"""The keys of tickets: each shared by the coordinator and one hop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

from blake3 import blake3

KEY_BYTES: Final = 32


class Sealed(Protocol):
    """Bytes with a MAC, as the value or as the message of the wire."""

    @property
    def body(self) -> bytes:
        """What is signed."""
        ...

    @property
    def key_id(self) -> int:
        """Which key it is signed under."""
        ...

    @property
    def mac(self) -> bytes:
        """32 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class TicketKey:
    """A key shared by the coordinator and one hop: ``key_id`` (u32) and 32 secret bytes."""

    key_id: int
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Hold the key's shape."""
        assert len(self.secret) == KEY_BYTES
        assert 0 <= self.key_id < 1 << 32

    def mac(self, context: bytes, body: bytes) -> bytes:
        """Return the 32-byte MAC of ``body`` in ``context`` (which ends with NUL)."""
        return blake3(context + body, key=self.secret).digest()


class KeySource(Protocol):
    """What a hop knows of its coordinator: keys, revocations and time (from heartbeats)."""

    def key(self, key_id: int) -> TicketKey | None:
        """Return the shared key of that id, or None if it is unknown here."""
        ...

    def revocation_epoch(self) -> int:
        """Return the newest revocation epoch known here."""
        ...

    def coordinator_now_ms(self) -> int:
        """Return coordinator time, Unix milliseconds, as well as it is known here."""
        ...
