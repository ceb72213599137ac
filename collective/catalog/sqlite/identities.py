"""Who joined, with which certificates; and the question whether a caller is an admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from collective.access.model import Caller
from collective.catalog.model import CertificateRecord, IdentityRecord
from collective.catalog.sqlite.engine import Part
from collective.core.errors import PermissionDeniedError
from collective.core.ids import SpiffeId

LIST_MAX = 10_000
CERTIFICATES_MAX = 100
"""The newest certificates of one identity that are shown."""


class IdentitiesPart(Part):
    """The methods of ``Trust`` about identities."""

    async def identities(self, caller: Caller) -> Sequence[IdentityRecord]:
        """Return who joined, in order of name: all to an admin, himself to anybody else."""
        is_admin = self._engine.decider(caller).is_admin

        def work(db: apsw.Connection) -> Sequence[IdentityRecord]:
            found: Any = db.execute(
                "SELECT i.principal, i.display_name, i.invited_by, i.joined_ms, (SELECT count(*)"
                " FROM identity_keys k WHERE k.principal = i.principal) FROM identities i"
                " WHERE ?1 OR i.principal = ?2 ORDER BY i.principal LIMIT ?3",
                (int(is_admin), str(caller.principal), LIST_MAX),
            ).fetchall()
            revoked = {row[0] for row in db.execute("SELECT what FROM revocations")}
            return [_identity(db, row, revoked) for row in found]

        return await self._engine.read(work)

    async def require_admin(self, caller: Caller, action: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` is an admin."""
        try:
            self._engine.decider(caller).require_admin(action)
        except PermissionDeniedError as error:
            error.concerns = ("admin", action)
            raise


def _identity(db: apsw.Connection, row: Any, revoked: set[Any]) -> IdentityRecord:
    principal = row[0]
    certificates: Any = db.execute(
        "SELECT serial, expires_ms FROM issued WHERE identity = ?"
        " ORDER BY expires_ms DESC, serial LIMIT ?",
        (principal, CERTIFICATES_MAX),
    ).fetchall()
    is_revoked = principal in revoked
    return IdentityRecord(
        principal=SpiffeId.parse(principal),
        display_name=row[1],
        invited_by=SpiffeId.parse(row[2]),
        joined_ms=row[3],
        keys=row[4],
        revoked=is_revoked,
        certificates=[
            CertificateRecord(serial, expires_ms, is_revoked or f"serial:{serial}" in revoked)
            for serial, expires_ms in certificates
        ],
    )
