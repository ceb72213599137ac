"""What every catalogue engine promises; ``tests/contract/catalog`` is this package as a test suite.

A catalogue is its subjects, each a protocol in a module of its own.  What needs one or two of them
takes these, and not the whole.

Semantics common to all methods:

* A method that changes something returns only after its transaction is durable (flushed); the audit
  row is part of the same transaction.  Cancelling a caller withdraws a change that was not begun, and undoes none that was.
* Methods that take a :class:`Call` check its principal's grants inside the transaction, by ``access``: outside
  all grants :class:`PermissionDeniedError`, whatever exists; inside, :class:`NotFoundError`.
* ``now`` comes from the clock that the engine was made with.
* A full disk raises :class:`NoSpaceError` and changes nothing; the engine stays usable.
"""

from __future__ import annotations

from typing import Protocol

from collective.catalog.interface.audit import Audit
from collective.catalog.interface.certificates import Certificates
from collective.catalog.interface.changes import Changes
from collective.catalog.interface.codes import Codes
from collective.catalog.interface.collection import Collection, Quarantine
from collective.catalog.interface.copies import Copies
from collective.catalog.interface.datastores import Datastores
from collective.catalog.interface.figures import Figures
from collective.catalog.interface.grants import Grants
from collective.catalog.interface.identities import Identities
from collective.catalog.interface.names import Names
from collective.catalog.interface.nodes import Nodes
from collective.catalog.interface.peers import Peers
from collective.catalog.interface.reads import Reads
from collective.catalog.interface.repair import GuardedCopies, Repair
from collective.catalog.interface.restores import Restores
from collective.catalog.interface.revocations import Revocations
from collective.catalog.interface.upkeep import Upkeep
from collective.catalog.interface.uploads import Uploads

__all__ = [
    "Audit",
    "Catalog",
    "Certificates",
    "Changes",
    "Codes",
    "Collection",
    "Copies",
    "Datastores",
    "Figures",
    "Grants",
    "GuardedCopies",
    "Identities",
    "Names",
    "Nodes",
    "Peers",
    "Quarantine",
    "Reads",
    "Repair",
    "Restores",
    "Revocations",
    "Upkeep",
    "Uploads",
]


class Catalog(Protocol):
    """The whole catalogue: its subjects, and its end."""

    @property
    def names(self) -> Names:
        """The tree of names."""
        ...

    @property
    def changes(self) -> Changes:
        """The newest changes of names, for those who watch a folder."""
        ...

    @property
    def uploads(self) -> Uploads:
        """Files coming in."""
        ...

    @property
    def reads(self) -> Reads:
        """Files going out."""
        ...

    @property
    def datastores(self) -> Datastores:
        """Top-level paths with owner, copies and quota."""
        ...

    @property
    def nodes(self) -> Nodes:
        """The nodes and their standing."""
        ...

    @property
    def copies(self) -> Copies:
        """The copies on nodes: inventories, complaints, verdicts."""
        ...

    @property
    def repair(self) -> Repair:
        """Chunks that want other copies than they have."""
        ...

    @property
    def guarded(self) -> GuardedCopies:
        """Copies that are given up, until others are confirmed."""
        ...

    @property
    def collection(self) -> Collection:
        """What nothing needs any more."""
        ...

    @property
    def quarantine(self) -> Quarantine:
        """Copies that this catalogue never gave out."""
        ...

    @property
    def figures(self) -> Figures:
        """Counts of files, chunks and copies."""
        ...

    @property
    def codes(self) -> Codes:
        """Codes of invites, and their redemption."""
        ...

    @property
    def identities(self) -> Identities:
        """Who joined, and who is an admin."""
        ...

    @property
    def certificates(self) -> Certificates:
        """Certificates and their keys."""
        ...

    @property
    def revocations(self) -> Revocations:
        """What was revoked."""
        ...

    @property
    def peers(self) -> Peers:
        """Other members with whom trust was exchanged."""
        ...

    @property
    def grants(self) -> Grants:
        """Who may do what where."""
        ...

    @property
    def audit(self) -> Audit:
        """Who did what, and who was refused what."""
        ...

    @property
    def restores(self) -> Restores:
        """Position, lives, lost futures, adoption."""
        ...

    @property
    def upkeep(self) -> Upkeep:
        """Expiry, snapshots, and whether changes get through."""
        ...

    def interrupt(self) -> None:
        """Give up what runs and what waits, before :meth:`close`; nothing of it was acknowledged."""
        ...

    async def close(self) -> None:
        """Finish what was accepted and release the files."""
        ...
