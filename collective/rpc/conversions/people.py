"""Rights and grants."""

from __future__ import annotations

from collections.abc import Iterable

from collective.core.errors import UsageError
from collective.model.grants import Grant
from collective.model.rights import Right
from collective.rpc.gen.collective import v1 as pb
from collective.rpc.gen.collective.v1 import cluster as cluster_pb

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


def right_messages(rights: int) -> list[pb.Right]:
    """Return ``rights`` (a Right, as an integer) for the wire."""
    return [message for message, right in _RIGHTS.items() if right in Right(rights)]


def grant_message(grant: Grant) -> cluster_pb.Grant:
    """Return ``grant`` for the wire."""
    return cluster_pb.Grant(
        id=grant.id,
        path=str(grant.path),
        rights=right_messages(grant.rights),
        principal=str(grant.principal),
        expires_ms=0 if grant.expires_s is None else int(grant.expires_s * 1000),
        granted_by=str(grant.granted_by),
        sources=list(grant.sources),
    )
