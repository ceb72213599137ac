"""Paths of this member."""

from __future__ import annotations

from collective.core.errors import NotFoundError
from collective.core.paths import FilePath


def local_path(text: str) -> FilePath:
    """Return a path of this member; ``/@DOMAIN`` is NotFoundError while no peer is known."""
    path = FilePath.parse(text)
    if path.names and path.names[0].startswith("@"):
        raise NotFoundError(
            f"No peer {path.peer_domain} is known here; ask the operator to peer with it first."
        )
    return path
