"""The Files service: its four parts, as one class that the listener can serve."""

from __future__ import annotations

from collective.catalog.interface import Catalog
from collective.roles.coordinator.calls import Calls
from collective.roles.coordinator.name_calls import NameCalls
from collective.roles.coordinator.read_calls import CopyDoubts, ReadCalls
from collective.roles.coordinator.routes import RouteMaker
from collective.roles.coordinator.stream_calls import StreamCalls
from collective.roles.coordinator.streams import StreamDesk
from collective.roles.coordinator.upload_calls import UploadCalls
from collective.roles.coordinator.uploads import UploadDesk


class FilesService(NameCalls, UploadCalls, ReadCalls, StreamCalls):
    """Names, uploads, reads, and whole files as a stream."""

    def __init__(
        self,
        *,
        catalog: Catalog,
        uploads: UploadDesk,
        routes: RouteMaker,
        streams: StreamDesk,
        doubts: CopyDoubts,
        calls: Calls,
    ) -> None:
        """Give each part what it needs."""
        NameCalls.__init__(self, catalog, calls)
        UploadCalls.__init__(self, uploads, calls)
        ReadCalls.__init__(self, catalog, routes, doubts, calls)
        StreamCalls.__init__(self, streams, calls)
