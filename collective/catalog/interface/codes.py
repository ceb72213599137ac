"""What the catalogue promises about the codes of invites."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.core import limits
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.pages import Page
from collective.model.people import Invite, InviteKind


class Codes(Protocol):
    """Codes by which users, devices and nodes join."""

    async def add(self, actor: Call, code: Invite) -> Invite:
        """Store a new join code; return it as stored.

        A USER code needs ``share`` and each right on each of its paths; its life and its grants'
        end with the rights that they come from.  A DEVICE code must be bound to its maker.  Other
        kinds need an admin.
        """
        ...

    async def get(self, code_id: str) -> Invite:
        """Return a code, or NotFoundError."""
        ...

    async def list(
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

    async def count_open(self) -> Mapping[InviteKind, int]:
        """Return how many codes of each kind can be redeemed."""
        ...

    async def newest_node_code(self) -> Invite | None:
        """Return the newest code for several nodes that is not revoked, if there is one."""
        ...

    async def revoke(self, actor: Call, code_id: str) -> Invite:
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

    async def has_redeemed(self, identity: SpiffeId, key_digest: bytes) -> bool:
        """Tell whether ``identity`` was given by a code to the key of that SHA-256."""
        ...
