"""Copies of chunks: which there are, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum

from collective.core.ids import ChunkId, Generation, NodeId


class Finding(Enum):
    """What a node says of a copy."""

    SOUND = "sound"
    MISSING = "missing"
    CORRUPT = "corrupt"
    UNREAD = "unread"
    """Nothing: it was not asked, did not answer, or could not read now."""


class Verdict(Enum):
    """What is known of a copy after a challenge."""

    PROVEN = "proven"
    MISSING = "missing"
    CORRUPT = "corrupt"
    LIED = "lied"
    """No honest node answers so."""
    OPEN = "open"

    @property
    def is_bad(self) -> bool:
        """Whether the copy is known not to be what it should be."""
        return self in {Verdict.MISSING, Verdict.CORRUPT, Verdict.LIED}


CopyName = tuple[NodeId, Generation]


class CopyState(IntEnum):
    """What is known of a copy; the numbers are the catalogue's."""

    INTENT = 0
    STORED = 1
    MISSING = 2
    """Its own node says so."""
    DOUBTED = 3
    """Read where need be, and not counted until it is challenged."""


@dataclass(frozen=True, slots=True)
class HeldCopy:
    """One copy that is known."""

    node: NodeId
    generation: Generation
    state: CopyState

    @property
    def name(self) -> CopyName:
        """Node and generation."""
        return self.node, self.generation


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A copy that waits for the confirmation of others before it is deleted."""

    node: NodeId
    generation: Generation
    is_corrupt: bool = False

    @property
    def name(self) -> CopyName:
        """Node and generation."""
        return self.node, self.generation


@dataclass(frozen=True, slots=True)
class ChunkCopies:
    """A chunk with everything that is known of its copies."""

    chunk: ChunkId
    stored_length: int
    wanted: int
    copies: tuple[HeldCopy, ...]
    given_up: tuple[GivenUp, ...] = ()
    is_in_use: bool = True
    """A file, an old version that is kept or an open upload needs it."""
    is_due: bool = True
    """Repair may see to it now; what an upload is sending is left to it for a while."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One stored copy of a chunk, as the catalogue knows it."""

    node: NodeId
    generation: Generation
    is_doubted: bool = field(default=False, compare=False)
    """It does not count; a reader, who checks what comes, may use it where no other is to be had."""


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt whose MAC has been checked by the caller of the catalogue."""

    chunk: ChunkId
    node: NodeId
    generation: Generation
    stored_length: int
    transfer_id: str


@dataclass(frozen=True, slots=True)
class CopyKey:
    """Names one copy on one node, for inventories, collection and repair."""

    chunk: ChunkId
    generation: Generation
    stored_length: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What was proved of one copy."""

    chunk: ChunkId
    node: NodeId
    generation: Generation
    verdict: Verdict
    why: str = ""
    """Of a lie: what the node said."""
