"""Revoking identities, certificates and keys.

What is begun is carried to its end whatever becomes of the call: what is durable is also applied.
What is decided here counts at the coordinator when the call returns, on open connections too; nodes
hear of it with their next heartbeat.
"""

from __future__ import annotations

from typing import Final

import structlog

from collective.catalog.interface import Catalog
from collective.core.errors import ConflictError, NotFoundError, UsageError
from collective.core.ids import GlobalId, SpiffeId, shown_principal
from collective.core.tasks import TaskScope
from collective.member.trust.revocations import Revocations
from collective.model.calls import Call
from collective.model.trust import Revoked
from collective.pki.revocation import KEY_PREFIX, SERIAL_PREFIX, key_entry, normalise

_WHO_MAX: Final = 512
_REVOKE_IDENTITY: Final = "revoke an identity (a device of yours is key:HEX or serial:HEX)"
_CLOSE_GRACE_S: Final = 5.0


class Revoking:
    """Ends what identities, certificates and keys may do."""

    def __init__(self, own: SpiffeId, catalog: Catalog, revocations: Revocations) -> None:
        """Revoke at the coordinator ``own``."""
        self._own = own
        self._catalog = catalog
        self._revocations = revocations
        self._acts = TaskScope()
        self._log = structlog.get_logger("coordinator.revoking")

    async def close(self) -> None:
        """Wait for what was begun; call it before the catalogue is closed."""
        await self._acts.close(_CLOSE_GRACE_S)

    async def revoke(self, caller: Call, who: str) -> Revoked:
        """Revoke a global id, SPIFFE id, ``key:HEX``, or ``serial:HEX`` with the key of it.

        Cancelling the wait does not undo it: it is applied, too.

        Raises:
            PermissionDeniedError: the caller is no admin, and it is no other device of their own.
            ConflictError: it is revoked already, or the key by which they call.
            UsageError: ``who`` names nothing, the coordinator, or a node.
            NotFoundError: a global id that nobody here has.
        """
        if who.startswith((SERIAL_PREFIX, KEY_PREFIX)):
            await self._catalog.revocations.require_revoker(caller, normalise(who))
        else:
            await self._catalog.identities.require_admin(caller, _REVOKE_IDENTITY)
        entries = await self._with_key(await self._entry(who))
        return await self._acts.see_through(self._revoke(caller, entries))

    async def _revoke(self, caller: Call, entries: tuple[str, ...]) -> Revoked:
        if set(entries) <= self._revocations.present.entries:
            raise ConflictError(f"{shown_principal(entries[0])} is revoked here already.")
        consequences = await self._catalog.revocations.consequences(entries)
        await self._catalog.revocations.revoke(caller, entries[0])
        closed = await self._revocations.refresh()
        self._log.warning("revoked", what=entries, by=str(caller.principal), closed=closed)
        return Revoked(
            self._revocations.present.epoch,
            closed,
            entries,
            consequences,
            losers_count=len(consequences.losers),
        )

    async def _with_key(self, entry: str) -> tuple[str, ...]:
        """Return what is to be revoked: of a certificate that is known here, its key as well."""
        if not entry.startswith(SERIAL_PREFIX):
            return (entry,)
        digest = await self._catalog.certificates.key_of(entry.removeprefix(SERIAL_PREFIX))
        if digest is None:
            return (entry,)
        if self._revocations.is_own(key_entry(digest)):
            raise _own_certificate()
        return (entry, key_entry(digest))

    async def _entry(self, who: str) -> str:
        if len(who) > _WHO_MAX:
            raise UsageError(
                "Name an identity as name@domain, a certificate as serial:HEX or a key as key:HEX."
            )
        if who.startswith((SERIAL_PREFIX, KEY_PREFIX)):
            entry = normalise(who)
            if self._revocations.is_own(entry):
                raise _own_certificate()
            return entry
        if not who.startswith("spiffe://"):
            identity = SpiffeId.user(self._own.trust_domain, GlobalId.parse(who))
            if not await self._is_known(identity):
                raise NotFoundError(
                    f"Nobody here is {who}; see: collective identity list, collective grant list"
                )
            return str(identity)
        identity = SpiffeId.parse(who)
        if identity.role == "coordinator":
            raise _own_certificate()
        if identity.role == "node":
            raise UsageError("A node is shut out by: collective node remove ID")
        return str(identity)

    async def _is_known(self, identity: SpiffeId) -> bool:
        return await self._catalog.identities.is_known(identity)


def _own_certificate() -> UsageError:
    return UsageError(
        "The coordinator's own certificate is not revoked; replace the CA instead, with: "
        "collective pki rotate-ca"
    )
