"""Grants."""

from __future__ import annotations

from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.rpc.conversions.rights import right_messages, rights_told
from collective.rpc.gen.collective import v1 as pb


def grant_message(grant: Grant) -> pb.Grant:
    """Return ``grant`` for the wire."""
    return pb.Grant(
        id=grant.id,
        path=str(grant.path),
        rights=right_messages(grant.rights),
        principal=str(grant.principal),
        expires_ms=0 if grant.expires_s is None else int(grant.expires_s * 1000),
        granted_by=str(grant.granted_by),
        sources=list(grant.sources),
    )


def grant_from(message: pb.Grant) -> Grant:
    """Return a checked grant of an answer."""
    return Grant(
        id=message.id,
        path=FilePath.parse(message.path),
        rights=rights_told(message.rights),
        principal=SpiffeId.parse(message.principal),
        granted_by=SpiffeId.parse(message.granted_by),
        expires_s=message.expires_ms / 1000 if message.expires_ms else None,
        sources=tuple(message.sources),
    )
