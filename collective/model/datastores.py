"""Datastores."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core.ids import SpiffeId
from collective.core.paths import FilePath


@dataclass(frozen=True, slots=True)
class Datastore:
    """A top-level path with its owner and policy."""

    path: FilePath
    owner: SpiffeId | None
    """None: the member."""
    copies: int
    """0: the coordinator's setting."""
    quota_bytes: int
    """Of what files, their rows in the catalogue and open uploads count for; 0: none."""
    used_bytes: int
    """Of current files, without their holes."""
    files: int
    catalog_bytes: int = 0
    """What names, extents, holes and attributes count for."""
    reserved_bytes: int = 0
    """What open uploads have reserved."""
