"""Invites, identities and their certificates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Self

from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.rights import GrantTerms


class InviteKind(Enum):
    """What a join code admits."""

    USER = "user"
    NODE = "node"
    PEER = "peer"
    DEVICE = "device"
    """A further key of the identity that made the code."""


@dataclass(frozen=True, slots=True)
class InviteUse:
    """One redemption, as ``invite list`` shows it."""

    identity: SpiffeId
    at_ms: int


@dataclass(frozen=True, slots=True)
class Invite:
    """A join code as the server keeps it: never the secret."""

    id: str
    kind: InviteKind
    verifier: bytes
    """32 bytes: the Ed25519 public key derived from the secret."""
    uses_left: int
    uses_total: int
    expires_s: float
    created_by: SpiffeId
    description: str = ""
    grants: Sequence[GrantTerms] = ()
    """What a user code gives."""
    revoked: bool = False
    created_s: float = 0.0
    bound: SpiffeId | None = None
    """The one identity that a DEVICE code is for."""
    grants_expire_s: float | None = None
    """When the first of the grants ends because its giver's does (set by the catalogue)."""
    void: bool = False
    """A right that it passes on has ended, or its maker or their key is revoked (told by the catalogue)."""
    approves: bool = False
    """A NODE code for one node, which is approved by it: an admin made it, and knows for which."""
    uses: Sequence[InviteUse] = ()
    """Who redeemed it; filled in by ``invites`` only."""

    def state(self, now_s: float) -> str:
        """Return ``open``, or why it cannot be redeemed: revoked, expired, used up, void."""
        if self.revoked:
            return "revoked"
        if self.expires_s <= now_s:
            return "expired"
        if self.uses_left <= 0:
            return "used up"
        return "void" if self.void else "open"


@dataclass(frozen=True, slots=True)
class InviteStatus:
    """A join code as its maker sees it."""

    id: str
    kind: InviteKind
    state: str
    """``open``, ``used up``, ``expired``, ``revoked`` or ``void``."""
    grants: Sequence[GrantTerms]
    uses_total: int
    uses_left: int
    created_ms: int
    expires_ms: int
    created_by: SpiffeId
    description: str
    uses: Sequence[InviteUse]

    @classmethod
    def of(cls, invite: Invite, now_s: float) -> Self:
        """Return ``invite`` as it stands at ``now_s``."""
        return cls(
            id=invite.id,
            kind=invite.kind,
            state=invite.state(now_s),
            grants=invite.grants,
            uses_total=invite.uses_total,
            uses_left=invite.uses_left,
            created_ms=int(invite.created_s * 1000),
            expires_ms=int(invite.expires_s * 1000),
            created_by=invite.created_by,
            description=invite.description,
            uses=invite.uses,
        )


@dataclass(frozen=True, slots=True)
class MadeInvite:
    """An invite just made: the only time that its secret is shown."""

    code: str
    join_url: str
    invite: InviteStatus


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate that was issued to an identity."""

    serial: str
    expires_ms: int
    revoked: bool
    """By its serial, its key or its identity."""


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A key that acts for an identity: one machine."""

    key_digest: bytes
    """SHA-256 of the SubjectPublicKeyInfo; empty for certificates whose key was not seen yet."""
    added_ms: int
    """When it was bound to the identity; 0 where that is not known."""
    vouched: bool
    """It goes back to a certificate that the operator signed offline, not to an invite."""
    revoked: bool
    certificates: Sequence[CertificateRecord]


@dataclass(frozen=True, slots=True)
class Consequences:
    """What ends with an identity, a key or a certificate, and what stays."""

    losers: tuple[SpiffeId, ...] = ()
    """Others whose rights came from it, in order of name."""
    invites: int = 0
    """Open codes that nobody can redeem any more."""
    datastores: tuple[FilePath, ...] = ()
    """Those that the identity owns, and goes on owning until an admin gives them another."""


@dataclass(frozen=True, slots=True)
class IdentityRecord:
    """A user who joined by a code, or was seen with a certificate of the operator's."""

    principal: SpiffeId
    display_name: str
    invited_by: SpiffeId
    joined_ms: int
    revoked: bool
    certificates: Sequence[CertificateRecord]
    devices: Sequence[DeviceRecord] = ()


@dataclass(frozen=True, slots=True)
class JoinAttempt:
    """A join as it came in, nothing checked."""

    code_id: str
    nonce: bytes
    csr_der: bytes
    proof: bytes
    wish: str
    leaf_digests: Sequence[bytes]
    """SHA-256 of the leaf that the joiner's connection was served with; several after a renewal."""
    request_id: str = ""
    display_name: str = ""
    source: str = ""
    """The host that the joiner's connection comes from."""
    follows_links: bool = False
    """Whether the joiner can verify a CA by the word of the one that its code pins."""
