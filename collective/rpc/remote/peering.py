"""Peering: for a member's admins at their coordinator, for a member that redeems a code, and between peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from collective.core.ids import Domain
from collective.model.peers import Inviter, PeerFacts
from collective.model.people import MadeInvite
from collective.pki.bundle import SignedBundle
from collective.rpc import deadlines
from collective.rpc.conversions.peering import (
    bundle_from,
    bundle_message,
    facts_from,
    inviter_from,
    word_from,
    word_message,
)
from collective.rpc.conversions.people import made_from
from collective.rpc.gen.collective.v1 import bootstrap as bootstrap_pb
from collective.rpc.gen.collective.v1 import peering as pb
from collective.rpc.links import Channel
from collective.rpc.peer_word import PeerWord
from collective.rpc.remote.answers import taken
from collective.rpc.remote.connection import Control


class RemotePeers:
    """What a member's admins do about peers; the coordinator decides who may."""

    def __init__(self, control: Control, peers: pb.PeersStub) -> None:
        """Call ``peers`` with the deadlines of ``control``."""
        self._control = control
        self._peers = peers

    @classmethod
    def over(cls, channel: Channel, control: Control) -> Self:
        """Return what calls over ``channel``."""
        return cls(control, channel.stub(pb.PeersStub))

    async def invite(
        self, domain: Domain, *, validity_s: float = 0.0, confirms: bool = False
    ) -> MadeInvite:
        """Return a code that the member of ``domain`` alone may redeem, once.

        ``confirms``: who comes counts only after :meth:`confirm`.
        """
        request = pb.InvitePeerRequest(domain=domain, validity_s=validity_s, confirm=confirms)
        return taken(made_from, await self._control.call(self._peers.invite_peer, request))

    async def look_at(self, code: str) -> Inviter:
        """Return who made ``code``, as their own bootstrap says; nothing secret is sent there."""
        request = pb.LookAtCodeRequest(code=code)
        return taken(inviter_from, await self._control.call(self._peers.look_at_code, request))

    async def accept(self, code: str, domain: Domain, *, replaces: bool = False) -> PeerFacts:
        """Peer with the member of ``domain`` by its code."""
        request = pb.AcceptPeerRequest(code=code, domain=domain, replace=replaces)
        return taken(facts_from, await self._control.call(self._peers.accept_peer, request))

    async def confirm(self, domain: Domain) -> PeerFacts:
        """Let a peer count that waits."""
        request = pb.ConfirmPeerRequest(domain=domain)
        return taken(facts_from, await self._control.call(self._peers.confirm_peer, request))

    async def all(self) -> tuple[Sequence[PeerFacts], str]:
        """Return every peer, and the fingerprint of the member's own CA."""
        answer = await self._control.call(self._peers.list_peers, pb.ListPeersRequest())
        return [taken(facts_from, one) for one in answer.peers], answer.own_fingerprint

    async def authorities(self, domain: Domain) -> Sequence[bytes]:
        """Return the CAs (DER) of a peer; NotFoundError where it is none."""
        request = pb.GetAuthoritiesRequest(domain=domain)
        answer = await self._control.call(self._peers.get_authorities, request)
        return [bytes(one) for one in answer.ca_ders]

    async def remove(self, domain: Domain) -> PeerFacts:
        """End a peering."""
        request = pb.RemovePeerRequest(domain=domain)
        return taken(facts_from, await self._control.call(self._peers.remove_peer, request))


class RemoteIntroduction:
    """A bootstrap of a member that invited this one to peer; what it answers is for the caller to check."""

    def __init__(self, bootstrap: bootstrap_pb.BootstrapStub, timeout_s: float) -> None:
        """Call ``bootstrap``, each call within ``timeout_s``."""
        self._bootstrap = bootstrap
        self._timeout_s = timeout_s

    @classmethod
    def over(cls, channel: Channel, timeout_s: float) -> Self:
        """Return what calls over ``channel``."""
        return cls(channel.stub(bootstrap_pb.BootstrapStub), timeout_s)

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
