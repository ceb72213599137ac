"""What every catalogue engine promises; ``tests/contract/catalog`` is this package as a test suite.

Semantics common to all methods:

* A method that changes something returns only after its transaction is durable (flushed); the audit
  row is part of the same transaction.  Cancelling a waiting caller does not undo the change.
* Methods that take a :class:`Call` check its principal's grants inside the transaction, by ``access``: outside
  all grants :class:`PermissionDeniedError`, whatever exists; inside, :class:`NotFoundError`.
* ``now`` comes from the clock that the engine was made with.
* A full disk raises :class:`NoSpaceError` and changes nothing; the engine stays usable.
"""

from __future__ import annotations

from typing import Protocol

from collective.catalog.interface.copies import Nodes
from collective.catalog.interface.files import Names, Reads, Uploads
from collective.catalog.interface.member import Datastores, Upkeep
from collective.catalog.interface.peers import Peers
from collective.catalog.interface.trust import Trust

__all__ = [
    "Catalog",
    "Datastores",
    "Names",
    "Nodes",
    "Peers",
    "Reads",
    "Trust",
    "Upkeep",
    "Uploads",
]


class Catalog(Names, Uploads, Reads, Nodes, Trust, Datastores, Upkeep, Protocol):
    """The whole catalogue."""

    @property
    def peers(self) -> Peers:
        """Other members with whom trust was exchanged."""
        ...
