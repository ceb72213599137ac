"""Rights, and on which path."""

from __future__ import annotations

from collections.abc import Iterable

from collective.core.errors import UsageError
from collective.core.paths import FilePath
from collective.model.rights import GrantTerms, Right
from collective.rpc.gen.collective import v1 as pb

_RIGHTS = {
    pb.Right.READ: Right.READ,
    pb.Right.WRITE: Right.WRITE,
    pb.Right.SHARE: Right.SHARE,
}


def rights_from(messages: Iterable[pb.Right]) -> Right:
    """Return the union of ``messages``; none or unknown ones are refused."""
    rights = Right.NONE
    for message in messages:
        if message not in _RIGHTS:
            raise UsageError("Rights are read, write and share.")
        rights |= _RIGHTS[message]
    if rights is Right.NONE:
        raise UsageError("A grant needs at least one of read, write and share.")
    return rights


def rights_told(messages: Iterable[pb.Right]) -> Right:
    """Return the rights that an answer tells of; those that only a newer version knows are left out."""
    return rights_from(message for message in messages if message in _RIGHTS)


def rights_held(messages: Iterable[pb.Right]) -> Right:
    """Return the rights that an answer says somebody has, which may be none; else as :func:`rights_told`."""
    held = Right.NONE
    for message in messages:
        held |= _RIGHTS.get(message, Right.NONE)
    return held


def right_messages(rights: Right) -> list[pb.Right]:
    """Return ``rights`` for the wire."""
    return [message for message, right in _RIGHTS.items() if right in rights]


def terms_message(terms: GrantTerms) -> pb.GrantTerms:
    """Return ``terms`` for the wire."""
    return pb.GrantTerms(path=str(terms.path), rights=right_messages(terms.rights))


def terms_from(message: pb.GrantTerms) -> GrantTerms:
    """Return checked terms of a grant; whose path it is, is not for here."""
    return GrantTerms(FilePath.parse(message.path), rights_from(message.rights))


def terms_told(message: pb.GrantTerms) -> GrantTerms:
    """Return the terms that an answer tells of; see :func:`rights_told`."""
    return GrantTerms(FilePath.parse(message.path), rights_told(message.rights))
