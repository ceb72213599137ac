"""A call: who is judged, whose connection carries it, through which member it came."""

from __future__ import annotations

from typing import NamedTuple, Self

from collective.core.ids import Domain, SpiffeId


class Call(NamedTuple):
    """What a face makes of what arrives at it, whatever its wire; everything above takes this."""

    principal: SpiffeId
    """Who is judged."""
    is_operator: bool
    """The member's own coordinator certificate: admin everywhere."""
    request_id: str = ""
    key_digest: bytes = b""
    """SHA-256 of the key that the principal proved to have; empty for what the coordinator does itself."""
    carrier: SpiffeId | None = None
    """Whose connections carry its bytes, where that is not the principal."""
    via: Domain | None = None
    """The peer that vouches for the principal; None: the call came to this member directly."""

    @property
    def holder(self) -> SpiffeId:
        """The identity that tickets of this call are made for."""
        return self.principal if self.carrier is None else self.carrier

    @property
    def accountable(self) -> SpiffeId:
        """Who what the call takes up is counted for: a peer as a whole, whoever its people are."""
        return self.principal if self.via is None else SpiffeId.coordinator(self.via)

    def holder_by(self, *, relay: bool) -> SpiffeId:
        """Return the identity that tickets are made for, of routes straight to nodes or by ``relay``.

        A person of a peer goes to nodes by itself, and through the coordinators by its own one.
        """
        if self.via is not None and not relay:
            return self.principal
        return self.holder

    @classmethod
    def of_client(cls, who: SpiffeId) -> Self:
        """Return the call that ``who`` makes to its own member: the other end judges it anew."""
        return cls(who, is_operator=who.role == "coordinator")

    @classmethod
    def own(cls, domain: Domain) -> Self:
        """Return the call of what the coordinator of ``domain`` does by itself."""
        return cls(SpiffeId.coordinator(domain), is_operator=True)
