"""The audit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One change or denial."""

    at_ms: int
    actor: str
    action: str
    target: str
    detail: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One call or connection that was denied, for the audit."""

    actor: str
    action: str
    target: str
    """What it was about, as the caller named it."""
    why: str = ""
    source: str = ""
    """The host that it came from."""
    request_id: str = ""
    accountable: str = ""
    """Against whose bounds it counts, where that is not the actor: a peer may name anybody."""
