"""The catalogue's promises about who may do what: codes, certificates, grants, audit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.core import limits
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.audit import AuditRow, Refusal
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.pages import Page
from collective.model.people import Consequences, IdentityRecord, Invite, InviteKind
from collective.model.rights import Right


class Trust(Protocol):
    """Codes, certificates, revocations, grants, audit."""

    async def add_code(self, actor: Call, code: Invite) -> Invite:
        """Store a new join code; return it as stored.

        A USER code needs ``share`` and each right on each of its paths; its life and its grants'
        end with the rights that they come from.  A DEVICE code must be bound to its maker.  Other
        kinds need an admin.
        """
        ...

    async def code(self, code_id: str) -> Invite:
        """Return a code, or NotFoundError."""
        ...

    async def open_codes(self) -> Mapping[InviteKind, int]:
        """Return how many codes of each kind can be redeemed."""
        ...

    async def newest_node_code(self) -> Invite | None:
        """Return the newest code for several nodes that is not revoked, if there is one."""
        ...

    async def invites(
        self,
        caller: Call,
        *,
        only_open: bool,
        token: str = "",
        max_bytes: int = limits.ANSWER_MAX_BYTES,
    ) -> Page[Invite]:
        """Return a page of the codes that ``caller`` made (an admin: all), newest first, with uses.

        Pages have about ``max_bytes`` on the wire; the next begins after ``token``.
        """
        ...

    async def revoke_code(self, actor: Call, code_id: str) -> Invite:
        """Make a code unusable from now on; ConflictError if it is already.

        Only its maker or an admin may.
        """
        ...

    async def redeemed(self, code_id: str, key_digest: bytes) -> Redemption | None:
        """Return what redeeming the code with this key gave before; None where it can be redeemed.

        Raises as :meth:`redeem` does before it looks at who wants in.
        """
        ...

    async def redeem(
        self,
        code_id: str,
        key_digest: bytes,
        made: IssuedCertificate,
        *,
        display_name: str = "",
        request_id: str = "",
    ) -> Redemption:
        """Count one use and store certificate, identity, key and grants, in one transaction.

        ``made`` counts only if the code is good.  The same key redeeming the same code again gets
        the stored answer, in the place of ``made``, and uses nothing.  Expired, revoked, used-up and void codes raise
        ConflictError, each with its own sentence; so does a USER code redeemed for an identity that
        belongs to another key, and any redemption for a revoked identity or by a revoked key.  A
        node's record is written, too.
        """
        ...

    async def identities(
        self, caller: Call, *, token: str = "", max_bytes: int = limits.ANSWER_MAX_BYTES
    ) -> Page[IdentityRecord]:
        """Return a page of who joined, in order of name: to an admin, others see themselves alone."""
        ...

    async def is_known(self, identity: SpiffeId) -> bool:
        """Tell whether ``identity`` joined, has grants, or has a certificate that has not run out."""
        ...

    async def is_admin(self, caller: Call) -> bool:
        """Tell whether ``caller`` is the operator, or an admin by their grants."""
        ...

    async def require_admin(self, caller: Call, action: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` is an admin; ``action``: "read the audit"."""
        ...

    async def next_node_number(self) -> int:
        """Return a number for ``<member>-node-NN`` that was never given before (1, 2, …)."""
        ...

    async def add_issued(
        self,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
        certificate_der: bytes = b"",
    ) -> None:
        """Remember a certificate that renews one; ConflictError if identity or key is revoked."""
        ...

    async def last_renewal(self, identity: SpiffeId, key_digest: bytes) -> bytes | None:
        """Return the newest certificate (DER) that renewed one of this identity and key, if kept."""
        ...

    async def see_certificate(
        self,
        issuer: SpiffeId,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
    ) -> None:
        """Take note of a certificate in use, of which the trust rule was checked; repeats are free.

        One that ``issuer`` signed offline binds its key to a user's identity.  ShutOutError where
        the key is revoked, ConflictError where an invite bound another one that is not: then it
        does not count.
        """
        ...

    async def key_of(self, serial: str) -> bytes | None:
        """Return the SHA-256 of the key of a certificate, or None where that is not known."""
        ...

    async def require_revoker(self, caller: Call, what: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` may :meth:`revoke` ``what``."""
        ...

    async def consequences(self, entries: Sequence[str]) -> Consequences:
        """Return what would end with ``entries``, as :meth:`revoke` takes them."""
        ...

    async def revoke(self, actor: Call, what: str) -> int:
        """Revoke ``spiffe://…``, ``key:HEX``, or ``serial:HEX`` with its key where that is known.

        An admin may revoke all; anybody else keys and certificates of their own identity, but for the
        key by which they call (ConflictError).

        Open codes made by a revoked identity or key end.  Returns the new revocation epoch.
        """
        ...

    async def learn_revocations(self, revoked: Sequence[str], *, epoch: int = 0) -> None:
        """Take back revocations that nodes remember and a restored catalogue does not.

        The epoch never falls behind ``epoch``, the highest that a node has seen.
        """
        ...

    async def has_redeemed(self, identity: SpiffeId, key_digest: bytes) -> bool:
        """Tell whether ``identity`` was given by a code to the key of that SHA-256."""
        ...

    async def certificate_holders(self) -> Sequence[SpiffeId]:
        """Return who was issued a certificate that has not run out, each once."""
        ...

    async def revocations(self) -> tuple[int, Sequence[str]]:
        """Return the revocation epoch and everything revoked."""
        ...

    async def add_grant(
        self,
        caller: Call,
        path: FilePath,
        rights: Right,
        principal: SpiffeId,
        expires_s: float | None,
    ) -> Grant:
        """Give rights; needs ``share`` and at most one's own rights, or the operator."""
        ...

    async def grants(
        self, caller: Call, *, token: str = "", max_bytes: int = limits.ANSWER_MAX_BYTES
    ) -> Page[Grant]:
        """Return a page of the caller's live grants and what came from them; of all for an admin."""
        ...

    async def own_grants(self, caller: Call) -> Sequence[Grant]:
        """Return the live grants of the caller alone, in order of path."""
        ...

    async def remove_grant(self, caller: Call, grant_id: str) -> None:
        """End a grant, and what came from it; an admin, its giver and its receiver may."""
        ...

    async def note_change(self, actor: Call, action: str, target: str, detail: str) -> None:
        """Write a row of the audit for a change that is made outside the catalogue, before it."""
        ...

    def note_denial(self, refusal: Refusal) -> None:
        """Note a refusal for the audit; equal ones are joined, and written together later."""
        ...

    async def audit(self, *, since_ms: int, limit: int) -> Sequence[AuditRow]:
        """Return audit rows in order of time."""
        ...
