"""Grants."""

from __future__ import annotations

from collective.model.grants import Grant
from collective.rpc.conversions.rights import right_messages
from collective.rpc.gen.collective.v1 import cluster as cluster_pb


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
