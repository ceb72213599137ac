"""Certificates of the member, as those who hold them ask and are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from collective.core.units import Address
from collective.model.people import Consequences
from collective.model.rights import GrantTerms


@dataclass(frozen=True, slots=True)
class TrustedAuthorities:
    """The CAs that count."""

    ders: Sequence[bytes]
    """DER, the one that signs servers first."""
    links: Sequence[bytes]
    """The old CA's word for the new one (DER), while a rotation is under way."""


@dataclass(frozen=True, slots=True)
class Renewed:
    """A certificate in the place of another of the same identity."""

    certificate_der: bytes
    trusted: TrustedAuthorities


@dataclass(frozen=True, slots=True)
class JoinAnswer:
    """What a bootstrap answers to a code, or to a certificate that ran out; its reader believes none of it."""

    certificate_der: bytes
    authority_der: bytes
    """The CA that the code pins."""
    trusted: TrustedAuthorities
    member: str
    domain: str
    collective_name: str
    """Proposed for the member."""
    addresses: Sequence[Address]
    """Of the coordinator."""
    identity: str = ""
    """SPIFFE id that was certified."""
    granted_by: str = ""
    grants: Sequence[GrantTerms] = ()
    grants_expire_ms: int = 0
    """Unix milliseconds; 0: never."""


class Phase(Enum):
    """How far the replacement of the CA is; the value is the word of status and CLI."""

    NONE = "none"
    OVERLAP = "overlap"
    CLOSING = "closing"


@dataclass(frozen=True, slots=True)
class RotationProgress:
    """How far the replacement of the CA is."""

    phase: Phase
    waiting: Sequence[str]
    """SPIFFE ids that would be shut out if the old CA ended now."""
    newest_der: bytes
    """The newest CA (DER)."""
    begun_ms: int
    """Unix milliseconds; 0 where none is under way."""


@dataclass(frozen=True, slots=True)
class Revoked:
    """What a revocation did."""

    epoch: int
    closed: int
    """Connections closed at the coordinator."""
    entries: Sequence[str]
    """All that is revoked now by this: what was named, and the key of a certificate named."""
    consequences: Consequences
    losers_count: int
    """All who lost rights by it, also where ``consequences`` names fewer."""
