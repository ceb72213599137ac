"""The values that access decisions are made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag

from collective.core.ids import SpiffeId
from collective.core.paths import FilePath


class Right(IntFlag):
    """What a grant allows; stored as the integer, written as ``read+write``."""

    NONE = 0
    READ = 1
    WRITE = 2
    SHARE = 4


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call, as its certificate attests it."""

    principal: SpiffeId
    is_operator: bool
    """The coordinator's own certificate: admin everywhere."""
    request_id: str = ""
    key_digest: bytes = b""
    """SHA-256 of the key that it proved to have; empty for what the coordinator does itself."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights on a path and everything below it."""

    id: str
    path: FilePath
    rights: Right
    principal: SpiffeId
    granted_by: SpiffeId
    expires_s: float | None = None
    """Unix seconds, or None for never."""
    sources: tuple[str, ...] = ()
    """Ids of the giver's own grants that this one came from: it ends when one of them does.

    Empty for what a coordinator gave."""
