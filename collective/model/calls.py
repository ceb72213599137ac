"""Who makes a call."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core.ids import SpiffeId


@dataclass(frozen=True, slots=True)
class Call:
    """Who makes a call, as its certificate attests it."""

    principal: SpiffeId
    is_operator: bool
    """The coordinator's own certificate: admin everywhere."""
    request_id: str = ""
    key_digest: bytes = b""
    """SHA-256 of the key that it proved to have; empty for what the coordinator does itself."""
