"""Calls that this member's coordinator makes at a peer's in the name of its own people.

The connection says which member calls, and a header says for whom: the owner believes it of that member's own
people alone.  Nothing that came from another member is passed on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from collective.core.clock import Clock
from collective.core.errors import ConflictError, PermissionDeniedError, ShutOutError
from collective.federation.links.peer_link import PeerLink
from collective.model.calls import Call
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.links import Channel
from collective.rpc.remote.connection import CALL_TIMEOUT_S, Control
from collective.rpc.remote.owner_paths import OwnerPaths
from collective.rpc.server import context


class Forwarding:
    """One call after the other, each to the peer's coordinator in the name of who makes it."""

    def __init__(self, link: PeerLink, clock: Clock) -> None:
        """Call over ``link``."""
        self.paths: Final = OwnerPaths(link.domain)
        self._link = link
        self._clock = clock

    @asynccontextmanager
    async def to_owner(
        self, call: Call, *, waits_s: float = 0.0
    ) -> AsyncIterator[tuple[Channel, Control]]:
        """Lend the connection, and who calls over it, for one call.

        The owner gets what is left of the caller's time once the call's turn has come.  A call that only
        waits there for up to ``waits_s`` seconds takes no other's turn.
        """
        if call.via is not None:
            raise ConflictError("A call is passed on to one other member, and no further.")
        if call.principal.role != "user":
            raise PermissionDeniedError(
                f"An operator's certificate opens nothing at {self.paths.domain}; join your own member by an"
                " invite, and go there as a person."
            )
        within_s = context.remaining_s(CALL_TIMEOUT_S)
        lent = self._link.wait(within_s) if waits_s else self._link.call(within_s)
        async with lent as (channel, left_s):
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
                    f"{self.paths.domain} lets {call.principal.global_id} do nothing any more; ask its operator."
                ) from error
