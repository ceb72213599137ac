"""Calls that this member's coordinator makes at a peer's in the name of its own people.

The connection says which member calls, and a header says for whom: the owner believes it of that member's own
people alone.  Nothing that came from another member is passed on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from collective.core import limits
from collective.core.clock import Clock
from collective.core.errors import ConflictError, PermissionDeniedError, RejectedError, ShutOutError
from collective.core.paths import FilePath
from collective.federation.links.peer_link import PeerLink
from collective.model.calls import Call
from collective.model.entries import Entry, EntryKind
from collective.model.pages import EntryPage
from collective.rpc import context
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.links import Channel
from collective.rpc.remote.connection import CALL_TIMEOUT_S, Control


class Forwarding:
    """One call after the other, each to the peer's coordinator in the name of who makes it."""

    def __init__(self, link: PeerLink, clock: Clock) -> None:
        """Call over ``link``."""
        self.domain: Final = link.domain
        self.root: Final = FilePath((f"@{link.domain}",))
        self._link = link
        self._clock = clock

    @asynccontextmanager
    async def to_owner(self, call: Call) -> AsyncIterator[tuple[Channel, Control]]:
        """Lend the connection, and who calls over it, for one call.

        The owner gets what is left of the caller's time once the call's turn has come.
        """
        if call.via is not None:
            raise ConflictError("A call is passed on to one other member, and no further.")
        if call.principal.role != "user":
            raise PermissionDeniedError(
                f"An operator's certificate opens nothing at {self.domain}; join your own member by an"
                " invite, and go there as a person."
            )
        async with self._link.call(context.remaining_s(CALL_TIMEOUT_S)) as (channel, left_s):
            control = Control(
                self._clock,
                call_timeout_s=left_s,
                retry_s=0.0,
                metadata={PRINCIPAL_KEY: str(call.principal)},
            )
            try:
                yield channel, control
            except (
                ShutOutError
            ) as error:  # said to this coordinator, or to a person who counts there no more
                raise PermissionDeniedError(
                    f"{self.domain} lets {call.principal.global_id} do nothing any more; ask its operator."
                ) from error

    def at_owner(self, path: FilePath) -> FilePath:
        """Return what the owner calls a path below ``/@DOMAIN``."""
        assert path.starts_with(self.root)
        return FilePath(path.names[1:])

    def answered(self, entry: Entry, path: FilePath) -> Entry:
        """Return the entry that the owner answers for ``path``, as it is called here.

        RejectedError where it is of another path.
        """
        found = self.here(entry)
        if found.path != path:
            raise RejectedError(f"{self.domain} answers with another path than it was asked for.")
        return found

    def listed(self, page: EntryPage, path: FilePath) -> EntryPage:
        """Return a page of a listing of ``path`` as it is called here.

        RejectedError where something lies outside of ``path``, or the token is too long.
        """
        found = [self.here(entry) for entry in page.entries]
        if not all(entry.path.starts_with(path) for entry in found):
            raise RejectedError(f"{self.domain} lists what is not in the folder it was asked for.")
        if len(page.next_token) > limits.PAGE_TOKEN_MAX_CHARS:
            raise RejectedError(f"{self.domain} answers with a page token that is too long.")
        return EntryPage(found, page.next_token)

    def here(self, entry: Entry) -> Entry:
        """Return an entry of the owner's as it is called here."""
        kind = EntryKind.PEER if entry.path.is_root else entry.kind
        return entry._replace(path=self.path_here(entry.path), kind=kind)

    def path_here(self, path: FilePath) -> FilePath:
        """Return a path of the owner's as it is called here."""
        return FilePath((*self.root.names, *path.names))
