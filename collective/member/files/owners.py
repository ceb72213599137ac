"""Whose a thing is: an upload or a lease by its id.

Today everything is of this member; what names another is not found, before anything is looked up.
"""

from __future__ import annotations

from collective.core.errors import NotFoundError
from collective.core.ids import Domain, LeaseId, LeaseKey, UploadId, UploadKey


def own_upload(domain: Domain, upload: UploadId) -> UploadKey:
    """Return the key of an upload of the member of ``domain``; NotFoundError for another's."""
    _check(domain, upload.domain)
    return upload.key


def own_lease(domain: Domain, lease: LeaseId) -> LeaseKey:
    """Return the key of a lease of the member of ``domain``; NotFoundError for another's."""
    _check(domain, lease.domain)
    return lease.key


def _check(domain: Domain, named: Domain) -> None:
    if named != domain:
        raise NotFoundError(
            f"No peer {named} is known here; ask the operator to peer with it first."
        )
