"""What a member tells the client that moves a file's bytes: plans of uploads and of reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from collective.core.ids import ChunkId, LeaseId, UploadId
from collective.model.entries import Entry
from collective.model.extents import Extent, Hole
from collective.model.routes import Route


class ChunkPlan(NamedTuple):
    """Where a chunk of an upload goes."""

    chunk: ChunkId
    is_stored: bool
    """It has its copies, and they are kept for this upload: send nothing."""
    routes: Sequence[Route]
    """Together they make the copies that are still wanted."""
    quorum: int
    """Copies that a commit needs, in all."""
    held: int
    """Copies that the coordinator has counted before."""


class ExtentPlan(NamedTuple):
    """A piece of a file and the ways to its copies, the best first."""

    extent: Extent
    routes: Sequence[Route]


@dataclass(frozen=True, slots=True)
class OpenedUpload:
    """An upload that has begun, with plans for its first chunks."""

    id: UploadId
    plans: Sequence[ChunkPlan]


@dataclass(frozen=True, slots=True)
class RecordedExtents:
    """What an upload has recorded, in order of offset; one page."""

    extents: Sequence[Extent]
    is_more: bool


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """A part of what a read under a lease goes over, in order of offset and without gaps."""

    pieces: Sequence[ExtentPlan | Hole]
    is_more: bool


@dataclass(frozen=True, slots=True)
class OpenedRead:
    """A version under a lease, with its first pieces."""

    entry: Entry
    lease: LeaseId
    plan: ReadPlan


class CopyProblem(Enum):
    """What is wrong with a copy, as a reader says."""

    CORRUPT = "corrupt"
    MISSING = "missing"
