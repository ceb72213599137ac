"""What a name stands for, as one caller may see it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from collective.core.paths import FilePath


class EntryKind(Enum):
    """What a name stands for."""

    FILE = "file"
    DIRECTORY = "directory"
    DATASTORE = "datastore"
    PEER = "peer"
    LINK = "link"
    """A symbolic link: its target is kept as it was given and never followed."""

    @property
    def is_leaf(self) -> bool:
        """Whether nothing lies below it and it has versions: a file or a link."""
        return self in {EntryKind.FILE, EntryKind.LINK}


class Entry(NamedTuple):
    """A name as one caller may see it."""

    path: FilePath
    kind: EntryKind
    size_bytes: int = 0
    modified_ns: int | None = None
    """Nanoseconds since 1970; None where the caller may not see it."""
    mode: int | None = None
    """None: none was given."""
    content_type: str = ""
    metadata: Mapping[str, str] = MappingProxyType({})
    digest: bytes = b""
    version: int = 0
    chunk_count: int = 0
    copies_wanted: int = 0
    copies_least: int = 0
    target: bytes = b""
    """Where a link points to."""
