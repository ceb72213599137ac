"""What a client says of a file that it writes, and on what condition."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

_NO_METADATA: Final[Mapping[str, str]] = MappingProxyType({})


class Attributes(NamedTuple):
    """What a client says about a file, directory or link."""

    modified_ns: int | None = None
    """Nanoseconds since 1970 (``core.moments``); None: the time of the commit."""
    mode: int | None = None
    """At most 0o7777; None: whoever takes the file out decides."""
    content_type: str = ""
    metadata: Mapping[str, str] = _NO_METADATA


class Precondition(NamedTuple):
    """What must hold for a change to be made, else ConflictError."""

    if_version: int = 0
    """0: any; else the current version must be this."""
    if_absent: bool = False


class Removed(NamedTuple):
    """What a removal took away."""

    names: int
    """How many."""
    is_all: bool
    """Nothing is left; else a part of a large tree went, and the rest is a smaller tree."""
