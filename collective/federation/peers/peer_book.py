"""Who is a peer now: the catalogue's peers in memory, with their CAs where certificates are judged.

Everything that asks whether a domain is a peer asks here; whatever changes a peer goes through here, so
that trust follows at once.

A member's bundle changes at a rate, whichever way it comes: each change is written, and told to nodes and peers.  One
that says the same as the known one, under a higher number, is known here alone and never written: after a restart
the lower number counts, of what said the same.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import structlog
from cryptography import x509

from collective.catalog.decisions.peers import introduced, renewed, taken_up
from collective.catalog.interface import Peers
from collective.core.buckets import Bucket
from collective.core.errors import (
    BusyError,
    CollectiveError,
    NotFoundError,
    RejectedError,
    UsageError,
)
from collective.core.ids import Domain, SpiffeId
from collective.core.tasks import TaskScope
from collective.core.work import Periodic, Worker
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.peers import Peer, PeerState
from collective.pki.bundle import Bundle, SignedBundle, open_bundle, says_the_same
from collective.pki.certificates import certificate_der
from collective.pki.trust import TrustStore

_T = TypeVar("_T")
BUNDLES_PER_S: Final = 1 / 30
"""How often a member's bundle is replaced in the long run."""
BUNDLES_BURST: Final = 8.0
CATCH_UP_S: Final = 60.0
"""How often the worker looks without being woken; a failed attempt is repeated by its own back-off."""
_CLOSE_GRACE_S: Final = 5.0
GRANTS_SHOWN_MAX: Final = 500
"""Grants to one peer that are listed with it."""


class ShownTrust(Protocol):
    """Where certificates are judged."""

    @property
    def own_trust(self) -> TrustStore:
        """The member's own CAs."""
        ...

    def trust_peers(
        self, authorities: Mapping[Domain, Sequence[x509.Certificate]], shut_out: frozenset[Domain]
    ) -> None:
        """Let the CAs of peers count, and no others beside the own; end what counts no longer.

        ``shut_out``: of these a certificate is recognised, and its holder is told that it counts no more.
        """
        ...


@dataclass(frozen=True, slots=True)
class Known:
    """A peer, and its bundle as it was read."""

    peer: Peer
    bundle: Bundle


class PeerBook:
    """The peers of one member."""

    def __init__(self, own: Domain, kept: Peers, shown: ShownTrust) -> None:
        """Keep the peers of ``own``; their CAs count at ``shown``."""
        self._own = own
        self._kept = kept
        self._shown = shown
        self._known: dict[Domain, Known] = {}
        self._digest = b""
        self._revoked: dict[Domain, Sequence[str]] = {}
        self._renewals: dict[Domain, Bucket] = {}
        """How often the bundle of each may change; one that comes too early is told again, and taken later."""
        self._changing = asyncio.Lock()
        self._acts = TaskScope()
        self._watchers: list[Callable[[], None]] = []
        self._is_behind = False
        """The catalogue has a change that trust and the watchers do not have yet."""
        self._fell_behind = asyncio.Event()
        self._log = structlog.get_logger("coordinator.peers")

    async def load(self) -> None:
        """Take up what the catalogue has; one that cannot be read any more is left out, and logged."""
        async with self._changing:
            await self._reload()

    async def close(self) -> None:
        """Wait for what was begun; call it before the catalogue is closed."""
        await self._acts.close(_CLOSE_GRACE_S)

    def worker(self) -> Worker:
        """Return the worker that takes up changes which could not be taken up when they were made."""
        return Periodic("peer book", CATCH_UP_S, self._catch_up, wake=self._fell_behind)

    async def _catch_up(self) -> None:
        if self._is_behind:
            await self.load()

    def watch(self, changed: Callable[[], None]) -> None:
        """Have ``changed`` called after every change; each watcher enters itself when it is made."""
        self._watchers.append(changed)

    @property
    def all(self) -> Mapping[Domain, Known]:
        """Every peer and tombstone, by domain; read only."""
        return MappingProxyType(self._known)

    def active(self) -> Sequence[Known]:
        """Return the peers that count, in order of domain."""
        return [one for one in self._known.values() if one.peer.state is PeerState.ACTIVE]

    def is_peer(self, domain: Domain) -> bool:
        """Tell whether ``domain`` is a peer that counts."""
        known = self._known.get(domain)
        return known is not None and known.peer.state is PeerState.ACTIVE

    @property
    def digest(self) -> bytes:
        """What tells one set of peers that count, with their CAs, from another; empty for none."""
        return self._digest

    def told_to_nodes(self) -> Sequence[tuple[Domain, Sequence[bytes], Sequence[str]]]:
        """Return of each peer that counts its CAs (DER), and what it has revoked of its own."""
        return [
            (
                known.bundle.domain,
                [certificate_der(one) for one in known.bundle.authorities],
                self._revoked.get(known.bundle.domain, ()),
            )
            for known in self.active()
        ]

    def revoked_of(self, domain: Domain) -> Sequence[str]:
        """Return what a peer has revoked of its own, as nodes are told."""
        return self._revoked.get(domain, ())

    def revoked_changed(self, domain: Domain, revoked: Sequence[str]) -> None:
        """Take up what a peer has revoked of its own people: nodes are told, for those with tickets."""
        told = tuple(revoked)
        if self._revoked.get(domain, ()) != told:
            self._revoked[domain] = told
            self._settle_digest()

    def _settle_digest(self) -> None:
        told = self.told_to_nodes()
        self._digest = hashlib.sha256(repr(told).encode()).digest() if told else b""

    def require(self, domain: Domain) -> Known:
        """Return the peer of ``domain``; NotFoundError where it is none that counts."""
        known = self._known.get(domain)
        if known is None or known.peer.state is not PeerState.ACTIVE:
            raise NotFoundError(
                f"No peer {domain} is known here; ask the operator to peer with it first."
            )
        return known

    async def granted(self) -> Mapping[Domain, int]:
        """Return how many grants there are here to each other member and its people."""
        return await self._kept.granted()

    async def grants_to(self, domain: Domain) -> Sequence[Grant]:
        """Return the first GRANTS_SHOWN_MAX grants here to another member and its people."""
        return await self._kept.grants_to(domain, GRANTS_SHOWN_MAX)

    async def names_given_out(
        self, domains: Collection[Domain]
    ) -> Mapping[Domain, Sequence[SpiffeId]]:
        """Return people of this member whose name is in one of ``domains``, given out before it was a peer."""
        return await self._kept.names_given_out(self._own, domains) if domains else {}

    # --- changes ---------------------------------------------------------------------------------

    async def redeem(self, code_id: str, signed: SignedBundle, *, request_id: str) -> Peer:
        """Take up who redeemed a code and proved its secret; raises as the catalogue, and RejectedError."""
        bundle = self._read(signed)
        wanted = peer_of(signed, bundle, PeerState.WAITING)
        return await self._change(
            bundle, lambda: self._kept.redeem(code_id, wanted, request_id=request_id)
        )

    def require_acceptable(self, signed: SignedBundle, *, replaces: bool) -> None:
        """Raise as :meth:`accept` would by what is known now; nothing is changed."""
        bundle = self._read(signed)
        known = self._known.get(bundle.domain)
        others = self._others(bundle.domain)
        wanted = peer_of(signed, bundle, PeerState.ACTIVE)
        taken_up(None if known is None else known.peer, wanted, others, replaces=replaces)
        self._require_apart(bundle)

    def _others(self, domain: Domain) -> int:
        """Return how many peers of other domains are not removed."""
        return sum(
            one.peer.state is not PeerState.REMOVED
            for other, one in self._known.items()
            if other != domain
        )

    async def accept(self, actor: Call, signed: SignedBundle, *, replaces: bool) -> Peer:
        """Take up whose code the operator accepted; raises as the catalogue, and RejectedError."""
        bundle = self._read(signed)
        wanted = peer_of(signed, bundle, PeerState.ACTIVE)
        return await self._change(
            bundle, lambda: self._kept.accept(actor, wanted, replaces=replaces)
        )

    async def introduce(self, signed: SignedBundle) -> Peer:
        """Take up a member that the introductions folder tells of; raises as the catalogue, and RejectedError."""
        bundle = self._read(signed)
        wanted = peer_of(signed, bundle, PeerState.ACTIVE)
        known = self._known.get(bundle.domain)
        introduced(None if known is None else known.peer, wanted, self._others(bundle.domain))
        return await self._change(bundle, lambda: self._kept.introduce(wanted))

    async def renew(self, signed: SignedBundle, bundle: Bundle, now_s: float) -> None:
        """Keep a newer bundle of a peer, which was checked; raises as the catalogue.

        What is refused anyway uses up nothing of the rate.

        Args:
            signed: it.
            bundle: what it says.
            now_s: monotonic, seconds.

        Raises:
            ConflictError: also where a CA that it names has the name or key of another domain's.
            BusyError: it comes too soon after others.
        """
        newer = peer_of(signed, bundle, PeerState.ACTIVE)
        await self._acts.see_through(self._take_newer(newer, bundle, now_s))

    async def _take_newer(self, newer: Peer, bundle: Bundle, now_s: float) -> None:
        domain = bundle.domain
        async with self._changing:
            known = self._known.get(domain)
            if renewed(None if known is None else known.peer, newer) is None or known is None:
                return
            if says_the_same(known.bundle, bundle):
                self._require_seldom(domain, now_s)
                self._known[domain] = _under(known, newer, bundle)
                return
            self._require_apart(bundle)
            self._require_seldom(domain, now_s)
            await self._kept.renew(newer)
            await self._follow(None)

    def _require_seldom(self, domain: Domain, now_s: float) -> None:
        """Count a change of a bundle; raise BusyError for one that comes too soon after others."""
        bucket = self._renewals.setdefault(domain, Bucket(BUNDLES_BURST, BUNDLES_PER_S))
        if not bucket.take(now_s):
            raise BusyError(
                f"{domain} changes it too often; it is taken within {1 / BUNDLES_PER_S:g} s. If that goes"
                " on, ask its operator why its addresses or CAs keep changing."
            )

    async def confirm(self, actor: Call, domain: Domain) -> Peer:
        """Let a peer count that waits."""
        return await self._change(None, lambda: self._kept.confirm(actor, domain))

    async def remove(self, actor: Call, domain: Domain) -> Peer:
        """End a peering; connections of the peer end at once."""
        return await self._change(None, lambda: self._kept.remove(actor, domain), ends=domain)

    async def ended(self, domain: Domain) -> None:
        """Take up that a peer has ended the peering: it ends here as well, and an admin is told."""
        self._log.warning("peer has ended the peering", domain=domain)
        own = Call.own(self._own)
        await self._change(None, lambda: self._kept.remove(own, domain, by_them=True), ends=domain)

    async def _change(
        self,
        bundle: Bundle | None,
        change: Callable[[], Awaitable[_T]],
        *,
        ends: Domain | None = None,
    ) -> _T:
        """Make a change, and have trust follow it also where the one who asked for it is gone by then.

        ``ends``: the peer that counts no more from then on, whatever else fails.
        """
        return await self._acts.see_through(self._made(bundle, change, ends))

    async def _made(
        self, bundle: Bundle | None, change: Callable[[], Awaitable[_T]], ends: Domain | None
    ) -> _T:
        async with self._changing:
            if bundle is not None:
                self._require_apart(bundle)
            stored = await change()
            await self._follow(ends)
            return stored

    async def _follow(self, ends: Domain | None) -> None:
        """Have trust and the watchers follow a change that was made; the worker does, where that fails."""
        try:
            await self._reload()
        except (CollectiveError, OSError) as error:  # the change itself stands
            self._is_behind = True
            self._fell_behind.set()
            self._log.error("change of a peer not taken up yet", reason=str(error))
            if ends in self._known:
                known = self._known[ends]
                ended = replace(known, peer=replace(known.peer, state=PeerState.REMOVED))
                self._take_up({**self._known, ends: ended})

    def _read(self, signed: SignedBundle) -> Bundle:
        bundle = open_bundle(signed)
        if bundle.domain == self._own:
            raise UsageError(
                f"This is the code of {bundle.domain} itself; give it to the other member."
            )
        require_address(bundle)
        return bundle

    def _require_apart(self, bundle: Bundle) -> None:
        """Refuse CAs whose name or key belongs to another domain here."""
        others = {
            domain: known.bundle.authorities
            for domain, known in self._known.items()
            if domain != bundle.domain
        }
        trust = TrustStore({**self._shown.own_trust.authorities, **others})
        trust.with_domain(bundle.domain, bundle.authorities)

    def _opened(self, peer: Peer) -> Bundle:
        """Return the bundle of a peer, read anew only where it is another one."""
        known = self._known.get(peer.domain)
        if known is not None and known.peer.body == peer.body:
            return known.bundle
        return open_bundle(SignedBundle(peer.body, peer.signature))

    def _as_told(self, stored: Known) -> Known:
        """Return a peer under the highest number that it told what is stored of it."""
        known = self._known.get(stored.peer.domain)
        if known is None or known.peer.sequence <= stored.peer.sequence:
            return stored
        if not says_the_same(stored.bundle, known.bundle):
            return stored
        return _under(stored, known.peer, known.bundle)

    async def _reload(self) -> None:
        found: dict[Domain, Known] = {}
        for peer in await self._kept.all():
            try:
                bundle = self._opened(peer)
            except CollectiveError as error:
                self._log.error("peer cannot be read", domain=peer.domain, reason=error.message)
                continue
            found[peer.domain] = self._as_told(Known(peer, bundle))
        self._take_up(found)
        self._is_behind = False

    def _take_up(self, found: dict[Domain, Known]) -> None:
        """Have these peers, and no others, count from now on."""
        trusted = {
            domain: known.bundle.authorities
            for domain, known in found.items()
            if known.peer.state is not PeerState.WAITING
        }
        shut_out = frozenset(
            domain for domain, known in found.items() if known.peer.state is PeerState.REMOVED
        )
        self._shown.trust_peers(trusted, shut_out)
        self._known = found
        self._renewals = {one: rate for one, rate in self._renewals.items() if one in found}
        self._revoked = {
            domain: revoked for domain, revoked in self._revoked.items() if self.is_peer(domain)
        }
        self._settle_digest()
        for changed in self._watchers:
            changed()


def peer_of(signed: SignedBundle, bundle: Bundle, state: PeerState) -> Peer:
    """Return what the catalogue keeps of a peer with this bundle; since when is for it to say."""
    return Peer(
        domain=bundle.domain,
        member=bundle.member,
        state=state,
        authority_digest=bundle.authority_digest,
        sequence=bundle.sequence,
        body=signed.body,
        signature=signed.signature,
        since_ms=0,
    )


def _under(known: Known, told: Peer, bundle: Bundle) -> Known:
    """Return a peer under the number of ``told``, which says the same in ``bundle``."""
    peer = replace(known.peer, sequence=told.sequence, body=told.body, signature=told.signature)
    return Known(peer, bundle)


def require_address(bundle: Bundle) -> None:
    """Raise RejectedError where a bundle says of no address."""
    if not bundle.addresses:
        raise RejectedError(
            f"{bundle.domain} names no address of its coordinator; ask its operator to set"
            " COLLECTIVE_ADVERTISE_ADDRESS."
        )
