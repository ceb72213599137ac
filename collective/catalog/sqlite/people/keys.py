"""Keys: to which identity each is bound, and which certificates were issued for it.

A key comes to a user's identity in three ways: by an invite, as its first; by a device code of one
that it has; by a certificate that the operator signed offline, when that is first seen here.  The
last two go back to somebody; so each key is *vouched* for by the operator, or goes back to an
invite.  Invariant: an identity whose keys go back to an invite gets no vouched key beside them
until they are revoked, and none by an invite once it has any: no two parties have it silently.
"""

from __future__ import annotations

from typing import Any, Final

import apsw

from collective.catalog.decisions.grants import is_admin
from collective.catalog.decisions.keys import (
    Keys,
    is_new_from_outside,
    is_vouched_device,
    require_claimable,
)
from collective.catalog.sqlite.people.grants import drop_grants
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import SpiffeId
from collective.model.calls import Call
from collective.model.people import Invite, InviteKind

_NO_CODE: Final = ""
"""What stands for the code of a key that came with a certificate issued offline."""


def key_of_serial(db: apsw.Connection, serial: str) -> bytes | None:
    """Return the SHA-256 of the key of a certificate, or None where that is not known."""
    found: Any = rows.fetch(db, "SELECT key_digest FROM issued WHERE serial = ?", serial)
    return None if found is None or found[0] is None else bytes(found[0])


def store_issued(
    tx: Transaction, identity: SpiffeId, serial: str, expires_ms: int, key_digest: bytes
) -> None:
    """Keep a certificate and the key of it; one that is known without its key learns it."""
    tx.run(
        "INSERT INTO issued (serial, identity, expires_ms, key_digest) VALUES (?,?,?,?)"
        " ON CONFLICT (serial) DO UPDATE SET key_digest = coalesce(key_digest, excluded.key_digest)",
        serial,
        str(identity),
        expires_ms,
        key_digest,
    )


def keep_renewal(
    tx: Transaction, identity: SpiffeId, serial: str, key_digest: bytes, certificate_der: bytes
) -> None:
    """Keep a certificate itself, in place of the one before it of the same identity and key."""
    tx.run(
        "UPDATE issued SET certificate = iif(serial = ?1, ?2, NULL) WHERE key_digest = ?3"
        " AND identity = ?4 AND (serial = ?1 OR certificate IS NOT NULL)",
        serial,
        certificate_der or None,
        key_digest,
        str(identity),
    )


def bind_by_code(
    tx: Transaction,
    code: Invite,
    identity: SpiffeId,
    key_digest: bytes,
    display_name: str,
    *,
    created_key: bytes | None,
) -> None:
    """Bind the key to the identity; a USER code never adds a key to one that has another.

    Args:
        tx: the redemption's.
        code: that is redeemed.
        identity: that it gives.
        key_digest: SHA-256 of the redeemer's key.
        display_name: as they wish it.
        created_key: SHA-256 of the key by which the code was made, where known.

    """
    keys = _keys_of(tx, identity)
    has_rights = (
        code.kind is InviteKind.USER
        and not keys
        and any(is_admin(tx.book, one.granted_by, tx.now_s) for one in tx.book.given_to(identity))
    )
    require_claimable(identity, keys, key_digest, code.kind, has_rights=has_rights)
    if code.kind is InviteKind.USER and not keys:
        _drop_given_before(tx, code, identity)
    is_vouched = is_vouched_device(keys, code.kind, created_key)
    _bind(tx, identity, key_digest, code.id, code.created_by, display_name, vouched=is_vouched)


def _drop_given_before(tx: Transaction, code: Invite, identity: SpiffeId) -> None:
    """End what others than admins gave to a name that nobody had: they gave it to nobody."""
    given = tx.book.given_to(identity)
    drop_grants(tx, [grant.id for grant in given])
    for grant in given:
        tx.audit(
            Call(identity, is_operator=False),
            "ungrant",
            str(grant.path),
            f"from {identity}, given by {grant.granted_by} before it was claimed by {code.id}",
        )


def bind_seen(tx: Transaction, issuer: SpiffeId, identity: SpiffeId, key_digest: bytes) -> None:
    """Bind the key of a certificate that came from outside; ConflictError where others have it."""
    if is_new_from_outside(identity, _keys_of(tx, identity), key_digest, tx.book.is_revoked_key):
        _bind(tx, identity, key_digest, _NO_CODE, issuer, "", vouched=True)


def _keys_of(tx: Transaction, identity: SpiffeId) -> Keys:
    found = tx.all(
        "SELECT key_digest, vouched FROM identity_keys WHERE principal = ?", str(identity)
    )
    return {bytes(digest): bool(is_vouched) for digest, is_vouched in found}


def _bind(
    tx: Transaction,
    identity: SpiffeId,
    key_digest: bytes,
    code_id: str,
    by: SpiffeId,
    display_name: str,
    *,
    vouched: bool,
) -> None:
    tx.run(
        "INSERT INTO identities (principal, display_name, invited_by, joined_ms) VALUES (?,?,?,?)"
        " ON CONFLICT (principal) DO UPDATE SET"
        " display_name = iif(excluded.display_name = '', display_name, excluded.display_name)",
        str(identity),
        display_name,
        str(by),
        tx.now_ms,
    )
    tx.run(
        "INSERT OR IGNORE INTO identity_keys (principal, key_digest, code, added_ms, vouched)"
        " VALUES (?,?,?,?,?)",
        str(identity),
        key_digest,
        code_id,
        tx.now_ms,
        int(vouched),
    )
