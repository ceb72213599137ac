"""Datastores."""

from __future__ import annotations

from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.model.datastores import Datastore
from collective.rpc.gen.collective.v1 import datastores as pb


def datastore_message(datastore: Datastore, domain: Domain) -> pb.Datastore:
    """Return ``datastore`` of the member of ``domain`` for the wire."""
    return pb.Datastore(
        path=str(datastore.path),
        owner=str(datastore.owner or SpiffeId.coordinator(domain)),
        copies=datastore.copies,
        quota_bytes=datastore.quota_bytes,
        used_bytes=datastore.used_bytes,
        files=datastore.files,
        catalog_bytes=datastore.catalog_bytes,
        reserved_bytes=datastore.reserved_bytes,
    )


def datastore_from(message: pb.Datastore) -> Datastore:
    """Return a checked datastore."""
    owner = SpiffeId.parse(message.owner)
    return Datastore(
        path=FilePath.parse(message.path),
        owner=None if owner.role == "coordinator" else owner,
        copies=message.copies,
        quota_bytes=message.quota_bytes,
        used_bytes=message.used_bytes,
        files=message.files,
        catalog_bytes=message.catalog_bytes,
        reserved_bytes=message.reserved_bytes,
    )
