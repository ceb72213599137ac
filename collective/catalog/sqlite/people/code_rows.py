"""The rows of codes as values."""

from __future__ import annotations

import json
from typing import Any

import apsw

from collective.access.grant_book import GrantBook
from collective.catalog.decisions.codes import is_void, no_such_code
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.people import Invite, InviteKind, InviteUse
from collective.model.rights import GrantTerms, Right

SELECT = (
    "SELECT id, kind, verifier, uses_left, uses_total, expires_s, created_by, description, grants,"
    " revoked, created_s, bound, grants_expire_s, sources, created_key, approves FROM codes"
)


def code_value(row: Any, book: GrantBook, now_s: float) -> Invite:
    """Return the code in a row of SELECT, judged by ``book``; NotFoundError for None."""
    if row is None:
        raise no_such_code()
    maker = SpiffeId.parse(row[6])
    return Invite(
        row[0],
        InviteKind(row[1]),
        row[2],
        row[3],
        row[4],
        row[5],
        maker,
        row[7],
        tuple(
            GrantTerms(FilePath.parse(path), Right(rights)) for path, rights in json.loads(row[8])
        ),
        bool(row[9]),
        row[10],
        None if row[11] is None else SpiffeId.parse(row[11]),
        row[12],
        void=is_void(maker, row[14], json.loads(row[13]), book, now_s),
        approves=bool(row[15]),
    )


def uses_of(db: apsw.Connection, code_id: str) -> tuple[InviteUse, ...]:
    """Return who redeemed a code, in order of time."""
    found: Any = db.execute(
        "SELECT identity, at_ms FROM redemptions WHERE code = ? ORDER BY at_ms LIMIT 1000",
        (code_id,),
    ).fetchall()
    return tuple(InviteUse(SpiffeId.parse(identity), at_ms) for identity, at_ms in found)
