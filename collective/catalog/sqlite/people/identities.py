"""Who joined, with which certificates; and the question whether a caller is an admin."""

from __future__ import annotations

from typing import Any

import apsw

from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.paging import page_of, parse_token
from collective.core import limits
from collective.core.errors import PermissionDeniedError
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.pages import Page
from collective.model.people import CertificateRecord, DeviceRecord, IdentityRecord

DEVICES_MAX = 100
"""The first keys of one identity that are shown."""
CERTIFICATES_MAX = 100
"""The newest certificates of one identity that are shown."""


class SqliteIdentities:
    """Who joined, and who is an admin."""

    def __init__(self, engine: Engine) -> None:
        """Use ``engine``."""
        self._engine = engine

    async def list(
        self, caller: Call, *, token: str = "", max_bytes: int = limits.ANSWER_MAX_BYTES
    ) -> Page[IdentityRecord]:
        """Return a page of who joined, in order of name: to an admin, others see themselves alone."""
        is_admin = self._engine.decider(caller).is_admin
        (after,) = parse_token(token, str) or ("",)

        def work(db: apsw.Connection) -> Page[IdentityRecord]:
            found: Any = db.execute(
                "SELECT i.principal, i.display_name, i.invited_by, i.joined_ms FROM identities i"
                " WHERE i.principal > ?3 AND (?1 OR i.principal = ?2) ORDER BY i.principal",
                (int(is_admin), str(caller.principal), after),
            )
            revoked = {row[0] for row in db.execute("SELECT what FROM revocations")}
            return page_of(
                (_identity(db, row, revoked) for row in found),
                weigh=_weigh,
                key=lambda one: (str(one.principal),),
                max_bytes=max_bytes,
            )

        return await self._engine.read(work)

    async def is_known(self, identity: SpiffeId) -> bool:
        """Tell whether ``identity`` joined, has grants, or has a certificate that has not run out."""
        if self._engine.writer.book.given_to(identity):
            return True

        def work(db: apsw.Connection) -> bool:
            sql = (
                "SELECT 1 FROM identities WHERE principal = ?1 UNION ALL"
                " SELECT 1 FROM issued WHERE identity = ?1 AND expires_ms > ?2 LIMIT 1"
            )
            now_ms = self._engine.now_ms()
            return rows.fetch(db, sql, str(identity), now_ms) is not None

        return await self._engine.read(work)

    async def is_admin(self, caller: Call) -> bool:
        """Tell whether ``caller`` is the operator, or an admin by their grants."""
        return self._engine.decider(caller).is_admin

    async def require_admin(self, caller: Call, action: str) -> None:
        """Raise PermissionDeniedError unless ``caller`` is an admin."""
        try:
            self._engine.decider(caller).require_admin(action)
        except PermissionDeniedError as error:
            error.concerns = ("admin", action)
            raise


def _weigh(one: IdentityRecord) -> int:
    """Return at least the bytes that an identity has on the wire."""
    texts = 2 * len(str(one.principal)) + len(one.display_name.encode()) + len(str(one.invited_by))
    return texts + 100 + 160 * len(one.certificates) + 70 * len(one.devices)


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
