"""Redemption: use, certificate, identity, key, grants and audit in one transaction."""

from __future__ import annotations

import json

import apsw

from collective.access.grant_book import GrantBook
from collective.catalog.decisions.codes import (
    passed_on,
    require_admissible,
    require_admissible_key,
    require_open,
)
from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.catalog.sqlite.nodes.standing import record_enrolment
from collective.catalog.sqlite.people.code_rows import SELECT, code_value
from collective.catalog.sqlite.people.grant_places import require_places
from collective.catalog.sqlite.people.grants import insert_grants
from collective.catalog.sqlite.people.keys import bind_by_code, store_issued
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import SpiffeId
from collective.core.randomness import Randomness, hex_id
from collective.model.calls import Call
from collective.model.people import InviteKind


def redeem(
    tx: Transaction,
    randomness: Randomness,
    code_id: str,
    key_digest: bytes,
    made: IssuedCertificate,
    display_name: str,
    request_id: str,
) -> Redemption:
    """Count one use of a code and store all that comes of it, or return what was stored before."""
    row = tx.one(f"{SELECT} WHERE id = ?", code_id)
    code = code_value(row, tx.book, tx.now_s)
    require_admissible_key(key_digest, tx.book)
    before = stored_answer(tx.db, tx.book, code_id, key_digest)
    if before is not None:
        return before
    require_open(code, tx.now_s)
    require_admissible(made.identity, tx.book)
    if made.identity.role == "user":
        bind_by_code(tx, code, made.identity, key_digest, display_name, created_key=row[14])
    tx.run("UPDATE codes SET uses_left = uses_left - 1 WHERE id = ?", code_id)
    tx.run(
        "INSERT INTO redemptions (code, key_digest, identity, certificate, at_ms)"
        " VALUES (?,?,?,?,?)",
        code_id,
        key_digest,
        str(made.identity),
        made.der,
        tx.now_ms,
    )
    store_issued(tx, made.identity, made.serial, made.expires_ms, key_digest)
    if made.identity.role == "node":
        # In this transaction: a crash leaves no node with a certificate and no record.
        record_enrolment(tx, made.identity.node_id, made.serial, made.expires_ms, code)
    if code.kind is InviteKind.USER:
        require_places(
            tx, Call(code.created_by, is_operator=False), made.identity, len(code.grants)
        )
        ids = [hex_id(randomness) for _ in code.grants]
        insert_grants(tx, passed_on(code, json.loads(row[13]), made.identity, ids, tx.book))
    caller = Call(made.identity, is_operator=False, request_id=request_id)
    tx.audit(
        caller,
        "redeem",
        code_id,
        f"{code.kind.value} invite of {code.created_by}, serial {made.serial}",
    )
    return Redemption(code_id, key_digest, made.identity, made.der)


def stored_answer(
    db: apsw.Connection, book: GrantBook, code_id: str, key_digest: bytes
) -> Redemption | None:
    """Return what the same key was answered before."""
    before = rows.fetch(
        db,
        "SELECT identity, certificate FROM redemptions WHERE code = ? AND key_digest = ?",
        code_id,
        key_digest,
    )
    if before is None:
        return None
    identity = SpiffeId.parse(before[0])
    require_admissible(identity, book)
    return Redemption(code_id, key_digest, identity, before[1])
