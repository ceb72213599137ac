"""Making join codes, and the unattended node code in ``join/node.code``.

The catalogue keeps the verifier only, so a code can be shown once; the node code is the exception:
its text lies in a file (0600) in a folder of its own, for nodes that start unattended.  The file is
written after the code is durable; a new code revokes the one it replaces.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from collective.catalog.interface import Codes
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    SettingsError,
    UsageError,
)
from collective.core.ids import SpiffeId
from collective.core.small_files import read_small, write_atomically
from collective.core.units import Address
from collective.core.world import World
from collective.member.trust.own_certificates import Issuer
from collective.model.calls import Call
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms
from collective.pki import invite_code
from collective.pki.cert_dir import CertDir
from collective.pki.invite_code import InviteCode

USES_MAX: Final = 100_000
VALIDITY_MAX_S: Final = 400 * 86400.0
DESCRIPTION_MAX_BYTES: Final = 1024
_ROTATE_BEFORE_END_S: Final = 3600.0
_CODE_MODE: Final = 0o600


class InviteIssuer:
    """Issues codes that pin one CA and name one set of bootstrap addresses."""

    def __init__(
        self,
        own: Issuer,
        codes: Codes,
        addresses: Sequence[Address],
        place: CertDir,
        world: World,
    ) -> None:
        """Keep codes in ``codes``; they pin the CA of ``own`` that signs when they are made.

        ``addresses`` are those of the bootstrap, as others reach it; the node code lies in ``place``.
        """
        self._own = own
        self._codes = codes
        self._clock = world.clock
        self._randomness = world.randomness
        self._threads = world.threads
        self._addresses = tuple(addresses)
        self._path = place.join_code("node")
        self._disk = world.disk
        self._writing = asyncio.Lock()
        self._log = structlog.get_logger("coordinator.codes")

    def move(self, addresses: Sequence[Address]) -> None:
        """Name ``addresses`` in the codes to come; those made before stay as they are."""
        self._addresses = tuple(addresses)

    async def create(
        self,
        actor: Call,
        kind: InviteKind,
        *,
        uses: int,
        validity_s: float,
        description: str = "",
        grants: Sequence[GrantTerms] = (),
        bound: SpiffeId | None = None,
        approves: bool = False,
    ) -> tuple[Invite, InviteCode]:
        """Make and store a code; UsageError for uses, validity or text out of range.

        ``approves``: the one node that it lets in is approved by it.

        Raises PermissionDeniedError where ``actor`` may not make it, and SettingsError where there
        is no bootstrap that could redeem it.
        """
        if not 1 <= uses <= USES_MAX:
            raise UsageError(f"A join code may have 1 to {USES_MAX} uses.")
        if not 0 < validity_s <= VALIDITY_MAX_S:
            raise UsageError("A join code may be valid for at most 400 days.")
        if len(description.encode()) > DESCRIPTION_MAX_BYTES:
            raise UsageError(f"A description may have at most {DESCRIPTION_MAX_BYTES} bytes.")
        if not self._addresses:
            raise SettingsError(
                "Nobody could redeem an invite here; set COLLECTIVE_BOOTSTRAP_ADDRESS (or"
                " COLLECTIVE_BOOTSTRAP_ADVERTISE_ADDRESS) and restart the coordinator."
            )
        code = InviteCode.fresh(self._addresses, self._pinned, self._randomness, kind)
        now_s = self._clock.wall_s()
        record = Invite(
            id=code.code_id,
            kind=kind,
            verifier=code.verifier(),
            uses_left=uses,
            uses_total=uses,
            expires_s=now_s + validity_s,
            created_by=actor.principal,
            description=description,
            grants=tuple(grants),
            created_s=now_s,
            bound=bound,
            approves=approves,
        )
        return await self._codes.add(actor, record), code

    @property
    def _pinned(self) -> bytes:
        """The digest of the CA that signs now: codes that pin another can no longer be redeemed."""
        return self._own.authorities.signing.digest

    async def ensure_node_code(self, actor: Call, *, uses: int, validity_s: float) -> Invite:
        """Return the record of a usable node code, making and writing one if there is none."""
        async with self._writing:
            found = await self._usable()
            if found is not None:
                return found
            return (await self._rotate(actor, uses=uses, validity_s=validity_s))[0]

    async def rotate_node_code(
        self, actor: Call, *, uses: int, validity_s: float, description: str = ""
    ) -> tuple[Invite, InviteCode]:
        """Replace the node code: the new one is stored and written, then the old one revoked."""
        async with self._writing:
            return await self._rotate(
                actor, uses=uses, validity_s=validity_s, description=description
            )

    async def _rotate(
        self, actor: Call, *, uses: int, validity_s: float, description: str = ""
    ) -> tuple[Invite, InviteCode]:
        old = await self._threads.run(self._read)
        record, code = await self.create(
            actor,
            InviteKind.NODE,
            uses=uses,
            validity_s=validity_s,
            description=description or "unattended nodes",
        )
        await self._threads.run(self._write, code)
        if old is not None:
            try:
                await self._codes.revoke(actor, old.code_id)
            except (ConflictError, NotFoundError):
                self._log.debug("old node code was gone already", code=old.code_id)
        self._log.info("node code written", code=record.id, path=self._path, uses=uses)
        return record, code

    async def _usable(self) -> Invite | None:
        code = await self._threads.run(self._read)
        if code is None:
            return None
        try:
            record = await self._codes.get(code.code_id)
        except NotFoundError:
            return None
        is_ours = (
            record.verifier == code.verifier()
            and code.authority_digest == self._pinned
            and code.addresses == self._addresses
        )
        is_live = (
            record.kind is InviteKind.NODE
            and record.state(self._clock.wall_s()) == "open"
            and record.expires_s > self._clock.wall_s() + _ROTATE_BEFORE_END_S
        )
        return record if is_ours and is_live else None

    def _read(self) -> InviteCode | None:
        if not self._disk.exists(self._path):
            return None
        try:
            text = read_small(self._path, disk=self._disk).decode("ascii", "replace")
            return invite_code.parse(text)
        except CollectiveError as error:
            self._log.warning("node code cannot be read", path=self._path, reason=error.message)
            return None

    def _write(self, code: InviteCode) -> None:
        text = code.encode().encode() + b"\n"
        write_atomically(self._path, text, permissions=_CODE_MODE, disk=self._disk)
