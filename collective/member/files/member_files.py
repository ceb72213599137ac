"""The files of this member: names, uploads and reads."""

from __future__ import annotations

from typing import Final

from collective.catalog.interface import Catalog
from collective.core.ids import SpiffeId
from collective.member.files.changes import MemberChanges
from collective.member.files.interface import Names, TakesComplaints
from collective.member.files.reads import MemberReads
from collective.member.files.receipts import ReceiptChecker
from collective.member.files.routes import RouteMaker
from collective.member.files.uploads import MemberUploads
from collective.member.nodes.live_nodes import LiveNodes
from collective.placement.shortage import Policy


class MemberFiles:
    """The :class:`~collective.member.files.interface.Files` of this member; names are the catalogue's own."""

    def __init__(
        self,
        own: SpiffeId,
        catalog: Catalog,
        table: LiveNodes,
        routes: RouteMaker,
        receipts: ReceiptChecker,
        policy: Policy,
        complaints: TakesComplaints,
    ) -> None:
        """Serve the member of the coordinator ``own``."""
        domain = own.trust_domain
        self.names: Final[Names] = catalog.names
        self.changes: Final = MemberChanges(catalog.changes)
        self.uploads: Final = MemberUploads(domain, catalog, table, routes, receipts, policy)
        self.reads: Final = MemberReads(domain, catalog.reads, routes, complaints)
