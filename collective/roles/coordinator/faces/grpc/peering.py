"""The Peers service, for the member's own people, and PeerLink, for coordinators of peers."""

from __future__ import annotations

from collective.core.errors import CollectiveError
from collective.core.ids import parse_domain
from collective.federation.links.peer_links import PeerLinks
from collective.federation.peers.accepting import Accepting
from collective.federation.peers.inviting import Inviting
from collective.federation.peers.managing import Managing
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.conversions.peering import (
    facts_message,
    inviter_message,
    shown_message,
    told_grants_message,
    word_from,
    word_message,
)
from collective.rpc.conversions.people import made_message
from collective.rpc.gen.collective.v1 import peering as pb
from collective.rpc.gen.collective.v1 import people as people_pb


class PeersService(pb.PeersBase):
    """Adapts the affairs of peers."""

    def __init__(
        self, inviting: Inviting, accepting: Accepting, managing: Managing, admission: Admission
    ) -> None:
        """Serve by these."""
        self._inviting = inviting
        self._accepting = accepting
        self._managing = managing
        self._admission = admission

    async def invite_peer(self, message: pb.InvitePeerRequest) -> people_pb.GenerateInviteResponse:
        """Make a code for one member."""
        async with self._admission.call("invite_peer", message.domain) as call:
            made = await self._inviting.invite(
                call,
                parse_domain(message.domain),
                validity_s=message.validity_s,
                confirms=message.confirm,
            )
            return made_message(made)

    async def look_at_code(self, message: pb.LookAtCodeRequest) -> pb.Inviter:
        """Say who made a code."""
        async with self._admission.call("look_at_code", "") as call:
            return inviter_message(await self._accepting.look_at(call, message.code))

    async def accept_peer(self, message: pb.AcceptPeerRequest) -> pb.AcceptPeerResponse:
        """Peer by a code."""
        async with self._admission.call("accept_peer", message.domain) as call:
            domain = parse_domain(message.domain) if message.domain else None
            peer, is_waiting = await self._accepting.accept(
                call, message.code, domain, replaces=message.replace
            )
            facts = facts_message(await self._managing.one(peer.domain))
            return pb.AcceptPeerResponse(peer=facts, is_waiting=is_waiting)

    async def confirm_peer(self, message: pb.ConfirmPeerRequest) -> pb.PeerFacts:
        """Let a peer count that waits."""
        async with self._admission.call("confirm_peer", message.domain) as call:
            return facts_message(await self._managing.confirm(call, parse_domain(message.domain)))

    async def list_peers(self, message: pb.ListPeersRequest) -> pb.ListPeersResponse:
        """Return every peer."""
        async with self._admission.call("list_peers", "") as call:
            found = await self._managing.all(
                call, with_removed=message.with_removed, shown=message.shown
            )
            return pb.ListPeersResponse(
                peers=[facts_message(one) for one in found],
                own_fingerprint=self._managing.own_fingerprint,
            )

    async def show_peer(self, message: pb.ShowPeerRequest) -> pb.ShowPeerResponse:
        """Return one peer, and what is granted in both directions."""
        async with self._admission.call("show_peer", message.domain) as call:
            return shown_message(*await self._managing.show(call, parse_domain(message.domain)))

    async def get_authorities(self, message: pb.GetAuthoritiesRequest) -> pb.GetAuthoritiesResponse:
        """Return the CAs of a peer."""
        async with self._admission.call("peer_authorities", message.domain):
            found = self._managing.authorities(parse_domain(message.domain))
            return pb.GetAuthoritiesResponse(ca_ders=list(found))

    async def remove_peer(self, message: pb.RemovePeerRequest) -> pb.PeerFacts:
        """End a peering."""
        async with self._admission.call("remove_peer", message.domain) as call:
            return facts_message(await self._managing.remove(call, parse_domain(message.domain)))


class PeerLinkService(pb.PeerLinkBase):
    """Adapts what coordinators of peers say to each other."""

    def __init__(self, links: PeerLinks, admission: Admission) -> None:
        """Serve by ``links``."""
        self._links = links
        self._admission = admission

    async def exchange(self, message: pb.PeerWord) -> pb.PeerWord:
        """Take what a peer tells, and tell it what is new."""
        domain = self._admission.peer("exchange")
        try:
            word = word_from(message)
        except CollectiveError as error:
            self._links.not_understood(domain, error)
            raise
        return word_message(await self._links.answer(domain, word))

    async def list_grants_to_you(
        self,
        message: pb.ListGrantsToYouRequest,  # noqa: ARG002 - the caller is who it is about
    ) -> pb.ListGrantsToYouResponse:
        """Return what is granted here to the caller's member and its people."""
        domain = self._admission.peer("list_grants_to_you")
        return told_grants_message(await self._links.grants_of(domain))
