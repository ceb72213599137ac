"""Who joined, with which certificates; and the question whether a caller is an admin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from collective.access.model import Caller
from collective.catalog.model import CertificateRecord, DeviceRecord, IdentityRecord
from collective.catalog.sqlite.engine import Part
from collective.core.errors import PermissionDeniedError
from collective.core.ids import SpiffeId

LIST_MAX = 10_000
DEVICES_MAX = 100
"""The first keys of one identity that are shown."""
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
    is_revoked = principal in revoked
    found: Any = db.execute(
        "SELECT serial, expires_ms, key_digest FROM issued WHERE identity = ?"
        " ORDER BY expires_ms DESC, serial LIMIT ?",
        (principal, CERTIFICATES_MAX),
    ).fetchall()
    keys: Any = db.execute(
        "SELECT key_digest, added_ms, vouched FROM identity_keys WHERE principal = ?"
        " ORDER BY added_ms, key_digest LIMIT ?",
        (principal, DEVICES_MAX),
    ).fetchall()
    devices = {bytes(digest): (added_ms, bool(vouched)) for digest, added_ms, vouched in keys}
    by_key: dict[bytes, list[CertificateRecord]] = {digest: [] for digest in devices}
    certificates = []
    for serial, expires_ms, digest in found:
        key = bytes(digest or b"")
        is_out = is_revoked or f"serial:{serial}" in revoked or f"key:{key.hex()}" in revoked
        certificates.append(CertificateRecord(serial, expires_ms, is_out))
        by_key.setdefault(key, []).append(certificates[-1])
    return IdentityRecord(
        principal=SpiffeId.parse(principal),
        display_name=row[1],
        invited_by=SpiffeId.parse(row[2]),
        joined_ms=row[3],
        keys=row[4],
        revoked=is_revoked,
        certificates=certificates,
        devices=[
            DeviceRecord(
                key_digest=key,
                added_ms=devices.get(key, (0, False))[0],
                vouched=devices.get(key, (0, False))[1],
                revoked=is_revoked or f"key:{key.hex()}" in revoked,
                certificates=its_own,
            )
            for key, its_own in by_key.items()
        ],
    )
