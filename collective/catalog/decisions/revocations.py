"""Who may revoke what: pure.

What is revoked is written ``spiffe://…`` (an identity), ``key:HEX`` (the SHA-256 of a key) or
``serial:HEX`` (a certificate, with its key).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, NamedTuple

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.core.errors import ConflictError, PermissionDeniedError, UsageError
from collective.core.ids import SpiffeId

SERIAL: Final = "serial:"
KEY: Final = "key:"
_HEX: Final = set("0123456789abcdef")
_KEY_DIGITS: Final = 64


def require_form(what: str) -> None:
    """Raise UsageError unless ``what`` is written as one of the three."""
    if what.startswith(KEY):
        digits = what.removeprefix(KEY)
        if len(digits) != _KEY_DIGITS or set(digits) - _HEX:
            raise UsageError("A key to revoke is written key: and 64 lower-case hex digits.")
    elif not what.startswith(SERIAL):
        SpiffeId.parse(what)
    elif not what[len(SERIAL) :] or set(what[len(SERIAL) :]) - _HEX:
        raise UsageError("A serial to revoke is written serial: and lower-case hexadecimal digits.")


def identities_in(entries: Iterable[str]) -> frozenset[SpiffeId]:
    """Return the identities among what is revoked."""
    return frozenset(SpiffeId.parse(one) for one in entries if not one.startswith((SERIAL, KEY)))


def keys_in(entries: Iterable[str]) -> frozenset[bytes]:
    """Return the keys (SHA-256) among what is revoked."""
    return frozenset(bytes.fromhex(one.removeprefix(KEY)) for one in entries if one.startswith(KEY))


def with_its_key(what: str, key: bytes | None) -> Sequence[str]:
    """Return what is revoked by revoking ``what``: a certificate goes with its key, where that is known."""
    return [what, KEY + key.hex()] if what.startswith(SERIAL) and key is not None else [what]


def is_out(serial: str, key: bytes, revoked: AbstractSet[str], *, is_revoked: bool) -> bool:
    """Tell whether a certificate counts no more, by what is ``revoked``.

    Args:
        serial: of it; empty: only its key is asked about.
        key: SHA-256 of its key; empty where that is not known.
        revoked: identities, keys and serials, as they are written.
        is_revoked: its identity is.
    """
    return is_revoked or SERIAL + serial in revoked or KEY + key.hex() in revoked


class Ended(NamedTuple):
    """What would end with some identities."""

    grants: frozenset[str]
    """Ids."""
    losers: tuple[SpiffeId, ...]
    """Others who would lose rights that hold now."""


def ended_with(identities: AbstractSet[SpiffeId], book: GrantBook, now_s: float) -> Ended:
    """Return what ends with ``identities``: all that they were given, have given, and what came from that."""
    held = [grant for one in identities for grant in (*book.given_to(one), *book.given_by(one))]
    gone = frozenset(book.removing(grant.id for grant in held)[1])
    ended = (one for one in book.all() if one.id in gone and book.is_live(one, now_s))
    losers = {grant.principal for grant in ended} - identities
    return Ended(gone, tuple(sorted(losers, key=str)))


class MadeCode(NamedTuple):
    """What a code goes back to."""

    maker: SpiffeId
    key: bytes | None
    """That made it; None where that was not kept."""
    sources: Sequence[Sequence[str]]
    """Grants that it passes on, by id."""


def ends_with(
    code: MadeCode,
    identities: AbstractSet[SpiffeId],
    keys: AbstractSet[bytes],
    grants: AbstractSet[str],
) -> bool:
    """Tell whether a code ends with its maker, their key, or a grant that it passes on."""
    if code.maker in identities or code.key in keys:
        return True
    return any(one in grants for some in code.sources for one in some)


def require_revoker(
    decider: Decider, what: str, key: bytes | None, *, is_own: bool, is_ended: bool
) -> None:
    """Let an admin revoke all, anybody else the other keys and certificates of their identity alone.

    Args:
        decider: of the caller.
        what: is to be revoked.
        key: SHA-256 of the key that ends with it; None: none, or it is not known.
        is_own: this key belongs to the caller's identity and to nobody else.
        is_ended: the caller's own key or identity is revoked already.

    Raises:
        ConflictError: it is the key by which the caller calls.
        PermissionDeniedError: they may not.
    """
    caller = decider.caller
    if caller.key_digest and key == caller.key_digest and caller.principal.role == "user":
        raise ConflictError(
            "That is the key of this machine, which would shut itself out; run it on another device"
            " of yours, or ask the operator."
        )
    if decider.is_admin or (is_own and not is_ended):
        return
    if what.startswith((SERIAL, KEY)):
        raise PermissionDeniedError(
            "Only an operator may revoke devices that are not yours; see yours with: collective"
            " identity list"
        )
    decider.require_admin("revoke an identity (a device of yours is key:HEX or serial:HEX)")
