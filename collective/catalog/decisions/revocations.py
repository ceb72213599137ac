"""Who may revoke what: pure.

What is revoked is written ``spiffe://…`` (an identity), ``key:HEX`` (the SHA-256 of a key) or
``serial:HEX`` (a certificate, with its key).
"""

from __future__ import annotations

from typing import Final

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
