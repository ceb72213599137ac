"""What is deleted some time after its end: grants, codes with their redemptions, certificates.

Each sort has a sweep of its own, which takes a bounded number of rows, so that it holds up nobody.  A code by which nodes joined
stays as long as the catalogue: a node that comes back with its key is known by its redemption.
"""

from __future__ import annotations

from typing import Final

from collective.catalog.sqlite.people.grants import drop_grants
from collective.catalog.sqlite.store.writer import Transaction
from collective.core import limits

_GRANTS: Final = 500
_CODES: Final = 200
_REDEMPTIONS: Final = 500
_CERTIFICATES: Final = 500
_CERTIFICATE_KEPT_MS: Final = int((limits.EXPIRED_RENEWAL_S + 86400) * 1000)
"""As long as it may renew itself, its key must be known, to be revoked by its serial."""


def _sweep_grants(tx: Transaction) -> None:
    ended = tx.book.ended(tx.now_s - limits.GRANT_KEPT_S)
    if ended:
        drop_grants(tx, ended[:_GRANTS])


def _sweep_certificates(tx: Transaction) -> None:
    tx.run(
        "DELETE FROM issued WHERE serial IN"
        " (SELECT serial FROM issued WHERE expires_ms <= ? LIMIT ?)",
        tx.now_ms - _CERTIFICATE_KEPT_MS,
        _CERTIFICATES,
    )


def _sweep_codes(tx: Transaction) -> None:
    tx.run(
        "UPDATE codes SET ended_s = ?1 WHERE id IN (SELECT id FROM codes WHERE ended_s IS NULL"
        " AND (revoked = 1 OR uses_left <= 0 OR expires_s <= ?1) LIMIT ?2)",
        tx.now_s,
        _CODES,
    )
    left = _REDEMPTIONS
    for (code,) in tx.all(
        "SELECT id FROM codes WHERE ended_s <= ? AND NOT (kind = 'node' AND EXISTS"
        " (SELECT 1 FROM redemptions WHERE code = codes.id)) ORDER BY ended_s LIMIT ?",
        tx.now_s - limits.CODE_KEPT_S,
        _CODES,
    ):
        tx.run(
            "DELETE FROM redemptions WHERE (code, key_digest) IN"
            " (SELECT code, key_digest FROM redemptions WHERE code = ? LIMIT ?)",
            code,
            left,
        )
        left -= tx.db.changes()
        if left <= 0:
            return  # this one may have more; it goes on in the next sweep
        tx.run("DELETE FROM codes WHERE id = ?", code)


SWEEPS: Final = (_sweep_grants, _sweep_codes, _sweep_certificates)
"""Each deletes, in a transaction of its own, what ended long enough ago."""
