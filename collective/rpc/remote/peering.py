"""Peering: for a member's admins at their coordinator, for a member that redeems a code, and between peers."""

from __future__ import annotations

from collections.abc import Sequence

from collective.core.errors import RejectedError
from collective.core.ids import Domain
from collective.model.grants import Grant
from collective.model.peers import AcceptedPeer, Inviter, PeerFacts, PeerGrants
from collective.model.people import MadeInvite
from collective.pki.bundle import SignedBundle
from collective.rpc import deadlines
from collective.rpc.conversions.peering import (
    bundle_from,
    bundle_message,
    facts_from,
    grants_there_from,
    inviter_from,
    shown_from,
    word_from,
    word_message,
)
from collective.rpc.conversions.people import made_from
from collective.rpc.gen.collective.v1 import bootstrap as bootstrap_pb
from collective.rpc.gen.collective.v1 import peering as pb
from collective.rpc.links import Channel
from collective.rpc.peer_word import PeerWord
from collective.rpc.remote.answers import taken
from collective.rpc.remote.bootstrap import BootstrapCalls
from collective.rpc.remote.connection import Remote


class RemotePeers(Remote[pb.PeersStub]):
    """What a member's admins do about peers; the coordinator decides who may."""

    SERVICE = pb.PeersStub

    async def invite(
        self, domain: Domain, *, validity_s: float = 0.0, confirms: bool = False
    ) -> MadeInvite:
        """Return a code that the member of ``domain`` alone may redeem, once.

        ``confirms``: who comes counts only after :meth:`confirm`.
        """
        request = pb.InvitePeerRequest(domain=domain, validity_s=validity_s, confirm=confirms)
        return taken(made_from, await self._control.call(self._stub.invite_peer, request))

    async def look_at(self, code: str) -> Inviter:
        """Return who made ``code``, as their own bootstrap says; nothing secret is sent there."""
        request = pb.LookAtCodeRequest(code=code)
        return taken(inviter_from, await self._control.call(self._stub.look_at_code, request))

    async def accept(self, code: str, domain: Domain, *, replaces: bool = False) -> AcceptedPeer:
        """Peer with the member of ``domain`` by its code."""
        request = pb.AcceptPeerRequest(code=code, domain=domain, replace=replaces)
        answer = await self._control.call(self._stub.accept_peer, request)
        if answer.peer is None:
            raise RejectedError("The coordinator answers without a peer.")
        return AcceptedPeer(taken(facts_from, answer.peer), answer.is_waiting)

    async def confirm(self, domain: Domain) -> PeerFacts:
        """Let a peer count that waits."""
        request = pb.ConfirmPeerRequest(domain=domain)
        return taken(facts_from, await self._control.call(self._stub.confirm_peer, request))

    async def all(
        self, *, with_removed: bool = True, shown: bool = False
    ) -> tuple[Sequence[PeerFacts], str]:
        """Return every peer, and the fingerprint of the member's own CA.

        ``shown``: to an admin, so those returned count as seen, and ``status`` warns of them no more.
        """
        request = pb.ListPeersRequest(with_removed=with_removed, shown=shown)
        answer = await self._control.call(self._stub.list_peers, request)
        return [taken(facts_from, one) for one in answer.peers], answer.own_fingerprint

    async def show(self, domain: Domain) -> tuple[PeerFacts, PeerGrants]:
        """Return a peer, or a tombstone, and what is granted in both directions."""
        request = pb.ShowPeerRequest(domain=domain)
        return taken(shown_from, await self._control.call(self._stub.show_peer, request))

    async def authorities(self, domain: Domain) -> Sequence[bytes]:
        """Return the CAs (DER) of a peer; NotFoundError where it is none.

        A transfer asks in its middle, so it is tried again while the coordinator restarts.
        """
        request = pb.GetAuthoritiesRequest(domain=domain)
        answer = await self._control.begin(self._stub.get_authorities, request)
        return [bytes(one) for one in answer.ca_ders]

    async def remove(self, domain: Domain) -> PeerFacts:
        """End a peering."""
        request = pb.RemovePeerRequest(domain=domain)
        return taken(facts_from, await self._control.call(self._stub.remove_peer, request))


class RemoteIntroduction(BootstrapCalls):
    """A bootstrap of a member that invited this one to peer; what it answers is for the caller to check."""

    async def begin(self, code_id: str) -> tuple[bytes, SignedBundle]:
        """Return a nonce for a peering by a code, and the bundle of the member that serves."""
        request = bootstrap_pb.BeginPeeringRequest(code_id=code_id)
        answer = await deadlines.call(
            lambda t: self._bootstrap.begin_peering(request, timeout=t), self._timeout_s
        )
        return bytes(answer.nonce), taken(bundle_from, answer.bundle)

    async def peer(
        self, code_id: str, nonce: bytes, own: SignedBundle, proof: bytes
    ) -> tuple[SignedBundle, bool]:
        """Redeem the code with the bundle ``own``; return theirs, and whether they are to confirm first."""
        request = bootstrap_pb.PeerRequest(
            code_id=code_id, nonce=nonce, bundle=bundle_message(own), proof=proof
        )
        answer = await deadlines.call(
            lambda t: self._bootstrap.peer(request, timeout=t), self._timeout_s
        )
        return taken(bundle_from, answer.bundle), answer.is_waiting


async def exchange_over(channel: Channel, told: PeerWord, timeout_s: float) -> PeerWord:
    """Tell a peer's coordinator, and return what it tells."""
    stub = channel.stub(pb.PeerLinkStub)
    request = word_message(told)
    answer = await deadlines.call(lambda t: stub.exchange(request, timeout=t), timeout_s)
    return taken(word_from, answer)


async def grants_over(channel: Channel, domain: Domain, timeout_s: float) -> Sequence[Grant]:
    """Return what the coordinator of ``domain`` says it grants to this member and its people."""
    stub, request = channel.stub(pb.PeerLinkStub), pb.ListGrantsToYouRequest()
    answer = await deadlines.call(lambda t: stub.list_grants_to_you(request, timeout=t), timeout_s)
    return taken(lambda message: grants_there_from(message, domain), answer)
