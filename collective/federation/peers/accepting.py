"""The accepter's side of a peering: who made a code is shown before anything is sent to it.

The way of the messages stands in :mod:`~collective.federation.peers.inviting`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import structlog

from collective.catalog.interface import Identities
from collective.core.clock import Clock
from collective.core.errors import RejectedError
from collective.core.ids import Domain
from collective.core.limits import JOIN_CODE_MAX_CHARS
from collective.federation.peers.own_bundle import OwnBundle
from collective.federation.peers.peer_book import PeerBook
from collective.model.calls import Call
from collective.model.peers import Inviter, Peer
from collective.pki import invite_code, proof
from collective.pki.bundle import Bundle, SignedBundle, fingerprint, open_bundle
from collective.pki.invite_code import InviteCode
from collective.rpc.links import Channel, Links
from collective.rpc.remote.peering import RemoteIntroduction
from collective.rpc.tls.pinned_gate import PinnedGate

DIAL_TIMEOUT_S: Final = 10.0


class Accepting:
    """Accepts the codes of other members."""

    def __init__(
        self, identities: Identities, book: PeerBook, own: OwnBundle, links: Links, clock: Clock
    ) -> None:
        """Accept as ``own``; whose code was accepted stands in ``book``."""
        self._identities = identities
        self._book = book
        self._own = own
        self._links = links
        self._clock = clock
        self._log = structlog.get_logger("coordinator.peers")

    async def look_at(self, call: Call, text: str) -> Inviter:
        """Return who made a code; nothing secret is sent, and nothing of this member; admins only."""
        await self._identities.require_admin(call, "peer with another member")
        code = invite_code.parse(text, longest=JOIN_CODE_MAX_CHARS)
        async with self._dialled(code) as (introduction, _):
            _, signed = await introduction.begin(code.code_id)
        bundle = self._checked(signed, code)
        return Inviter(
            bundle.member,
            bundle.domain,
            bundle.addresses,
            fingerprint(bundle.authority_digest),
            self._own.fingerprint,
        )

    async def accept(
        self, call: Call, text: str, domain: Domain | None, *, replaces: bool = False
    ) -> tuple[Peer, bool]:
        """Peer with the maker of a code, who must be ``domain`` if that is given; admins only.

        Return the peer, and whether its operator has to confirm before it lets this member in.  Repeating it is harmless: who is a peer by this code stays one.
        """
        await self._identities.require_admin(call, "peer with another member")
        code = invite_code.parse(text, longest=JOIN_CODE_MAX_CHARS)
        own, _ = await self._own.current()
        async with self._dialled(code) as (introduction, gate):
            nonce, signed = await introduction.begin(code.code_id)
            bundle = self._checked(signed, code)
            if domain is not None and bundle.domain != domain:
                raise RejectedError(
                    f"The code is of {bundle.domain}, not of {domain}; nothing was sent to it."
                )
            self._book.require_acceptable(signed, replaces=replaces)  # before a use is spent
            transcript = proof.PeeringTranscript(
                code.code_id, nonce, gate.leaf_digest, own.body, own.signature
            )
            theirs, is_waiting = await introduction.peer(
                code.code_id, nonce, own, proof.sign_join(code.secret, transcript)
            )
        if self._checked(theirs, code).domain != bundle.domain:
            raise RejectedError(f"The inviter was {bundle.domain}, and answers as another member.")
        peer = await self._book.accept(call, theirs, replaces=replaces)
        self._log.info("peer accepted", domain=peer.domain, waits_for_them=is_waiting)
        return peer, is_waiting

    @asynccontextmanager
    async def _dialled(
        self, code: InviteCode
    ) -> AsyncIterator[tuple[RemoteIntroduction, PinnedGate]]:
        """Connect to the bootstrap that a code names, whose CA must be the one that it pins."""
        gate = PinnedGate(code.authority_digest, self._clock)
        channel: Channel = self._links.channel(
            code.addresses, credentials=None, gate=gate, expect=lambda _: True
        )
        async with channel:
            yield RemoteIntroduction.over(channel, DIAL_TIMEOUT_S), gate

    def _checked(self, signed: SignedBundle, code: InviteCode) -> Bundle:
        """Return the inviter's bundle, whose CA must be the one that the code pins."""
        bundle = open_bundle(signed)
        if bundle.authority_digest != code.authority_digest:
            raise RejectedError(
                "The inviter's bundle is of another CA than the code; ask for a new code."
            )
        return bundle
