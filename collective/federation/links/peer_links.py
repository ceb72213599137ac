"""The connections to all peers, kept in step with who is one, and the exchange that keeps them alive.

A peer that was not heard of for EXCHANGE_S is asked, all at the same time and each within
EXCHANGE_TIMEOUT_S: so a peer that dies is known within five seconds, and no peer's silence delays another's
turn.  An exchange that the peer began tells both ends as much as an own one, so the own one is put off by it; but
each end asks every OWN_MOST_S, and as soon as a call of its own had no answer, whatever the other does: only
that shows whether its own calls arrive.  One that is away is asked less and less often, at most every PROBE_MOST_S.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final

import structlog

from collective.core.backoff import Backoff
from collective.core.clock import Clock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    RejectedError,
    ShutOutError,
)
from collective.core.ids import Domain
from collective.core.log_rate import LogRate
from collective.core.work import Periodic, Worker
from collective.core.world import World
from collective.federation.exchange.exchanging import PeerWords
from collective.federation.links.peer_link import CONNECT_TIMEOUT_S, PeerLink
from collective.federation.links.tallies import PeerTallies
from collective.federation.peers import peer_warnings
from collective.federation.peers.peer_book import Known, PeerBook
from collective.model.grants import Grant
from collective.model.nodes import NodeStatus, ShownState
from collective.model.peers import PeerFacts, PeerFigures, PeerState
from collective.model.status import PeerStatus
from collective.pki.bundle import fingerprint
from collective.pki.invite_code import CODE_ID_BYTES
from collective.rpc.links import Links, OwnCredentials
from collective.rpc.peer_word import PeerWord
from collective.rpc.remote.peering import RemoteIntroduction, exchange_over, grants_over
from collective.rpc.tls.unverified_gate import UnverifiedGate

EXCHANGE_S: Final = 2.5
EXCHANGE_TIMEOUT_S: Final = 2.0
OWN_MOST_S: Final = 10.0
"""Between two exchanges that this end begins with a peer that is there."""
GRANTS_TIMEOUT_S: Final = 5.0
PROBE_MOST_S: Final = 30.0
SETTLED_AFTER_S: Final = 60.0
"""Between two that peer anew one is ready before the other, which still says farewell to it."""
TICK_S: Final = 0.5


class PeerLinks:
    """One :class:`PeerLink` for each peer that counts."""

    def __init__(
        self,
        book: PeerBook,
        words: PeerWords,
        credentials: OwnCredentials,
        links: Links,
        world: World,
        tallies: PeerTallies,
    ) -> None:
        """Reach the peers of ``book`` as ``credentials``, and exchange ``words``."""
        self._book = book
        self._words = words
        self._credentials = credentials
        self._links = links
        self._tallies = tallies
        self._clock: Clock = world.clock
        self._randomness = world.randomness
        self._backoff = Backoff(EXCHANGE_S, PROBE_MOST_S)
        self._open: dict[Domain, PeerLink] = {}
        self._due_s: dict[Domain, float] = {}
        self._own_s: dict[Domain, float] = {}
        """When the last exchange with each peer ended that this end began."""
        self._under_way: dict[Domain, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()
        self._lines = LogRate()
        self._own_failures: dict[Domain, str] = {}
        """Why the own part of an exchange fails, where the last one did."""
        self._log = structlog.get_logger("coordinator.peers")
        credentials.attach(self)
        book.watch(self._follow)

    @property
    def all(self) -> Mapping[Domain, PeerLink]:
        """The links, by domain and in its order; read only."""
        return MappingProxyType(dict(sorted(self._open.items())))

    def to(self, domain: Domain) -> PeerLink:
        """Return the link to a peer; NotFoundError where ``domain`` is none."""
        self._book.require(domain)
        return self._open[domain]

    def worker(self) -> Worker:
        """Return the worker that exchanges; without a peer it sleeps."""
        return Periodic(
            "peers", TICK_S, self._begin_due, wake=self._wake, has_work=lambda: bool(self._open)
        )

    # --- what is known of them -------------------------------------------------------------------

    async def granted(self) -> Mapping[Domain, int]:
        """Return how many grants there are here to each other member and its people."""
        return await self._book.granted()

    def statuses(self, granted: Mapping[Domain, int] | None = None) -> Sequence[PeerStatus]:
        """Return how every peer that counts is, in order of domain.

        ``granted``: the grants here, for figures; None: without them.
        """
        found = []
        for known in self._book.active():
            link = self._open.get(known.bundle.domain)
            if link is None:
                continue  # taken up a moment ago
            health = link.health
            found.append(
                PeerStatus(
                    member=known.bundle.member,
                    domain=known.bundle.domain,
                    address=str(link.addresses[0]) if link.addresses else "",
                    is_healthy=health.is_healthy,
                    last_seen_ms=health.last_seen_ms,
                    latency_ms=round(health.latency_ms, 3),
                    version=known.bundle.version,
                    taken_ms=known.peer.taken_ms,
                    figures=None if granted is None else self._figures(link.domain, granted),
                )
            )
        return found

    def _figures(self, domain: Domain, granted: Mapping[Domain, int]) -> PeerFigures:
        tally = self._tallies.of(domain)
        return PeerFigures(
            granted=granted.get(domain, 0),
            granted_there=self._words.granted_there(domain) if domain in self._open else 0,
            sent_bytes=tally.sent_bytes,
            received_bytes=tally.received_bytes,
            refused=tally.refused,
        )

    @property
    def waiting(self) -> int:
        """How many wait to be confirmed."""
        return sum(one.peer.state is PeerState.WAITING for one in self._book.all.values())

    def nodes(self) -> Sequence[NodeStatus]:
        """Return the nodes of peers, as each told of them last; of one that is away none is healthy."""
        found: list[NodeStatus] = []
        for domain, record in self._words.records():
            link = self._open.get(domain)
            is_there = link is not None and link.health.is_healthy
            found += [
                node if is_there else replace(node, is_healthy=False, state=ShownState.AWAY)
                for node in record.nodes
            ]
        return found

    async def warnings(self) -> Sequence[str]:
        """Return what the operator should know of peers, one sentence each."""
        new = [
            domain
            for domain, known in self._book.all.items()
            if not known.peer.is_seen and known.peer.state is not PeerState.REMOVED
        ]
        names = await self._book.names_given_out(new)
        told = [*self._words.about_own()]
        told += [
            one
            for domain, known in self._book.all.items()
            for one in peer_warnings.of_peering(known, names.get(domain, ()))
        ]
        for domain, link in self._open.items():
            told += peer_warnings.of_absence(link.health)
            told += [
                one
                for one in self._words.not_taken(domain)
                if not link.health.why or link.health.why not in one
            ]
        return told

    def describe(self, known: Known, granted: Mapping[Domain, int]) -> PeerFacts:
        """Return what an admin is told of a peer; ``granted``: the grants here, by domain."""
        link = self._open.get(known.bundle.domain)
        health = None if link is None else link.health
        return PeerFacts(
            member=known.bundle.member,
            domain=known.bundle.domain,
            state=known.peer.state,
            addresses=known.bundle.addresses,
            fingerprint=fingerprint(known.bundle.authority_digest),
            sequence=known.peer.sequence,
            version=known.bundle.version,
            since_ms=known.peer.since_ms,
            is_seen=known.peer.is_seen,
            is_healthy=health is not None and health.is_healthy,
            last_seen_ms=0 if health is None else health.last_seen_ms,
            latency_ms=0.0 if health is None else round(health.latency_ms, 3),
            why_away="" if health is None or health.away_since_s is None else health.why,
            taken_ms=known.peer.taken_ms,
            figures=self._figures(known.bundle.domain, granted),
            not_taken=() if link is None else tuple(self._words.not_taken(link.domain)),
            reach=None if link is None else link.reach_told,
        )

    async def grants_there(self, domain: Domain) -> Sequence[Grant]:
        """Ask a peer which grants there are to this member and its people; raises as :meth:`PeerLink.call`."""
        async with self.to(domain).call(GRANTS_TIMEOUT_S) as (channel, left_s):
            return await grants_over(channel, domain, left_s)

    async def grants_of(self, domain: Domain) -> Sequence[Grant]:
        """Return for a peer which grants there are here to it and its people."""
        return await self._book.grants_to(domain)

    # --- exchanges -------------------------------------------------------------------------------

    def not_understood(self, domain: Domain, error: CollectiveError) -> None:
        """Take into account that what a peer tells cannot be read."""
        self._words.not_understood(domain, error)

    async def answer(self, domain: Domain, told: PeerWord) -> PeerWord:
        """Answer the exchange of a peer; raises as what it tells is refused."""
        await self._words.take(domain, told)
        link = self._open.get(domain)
        word = await self._words.to(domain)
        if link is None:
            return word
        link.reach_told = told.reach
        if link.may_be_asked_early(self._clock.monotonic_s()):
            self._due_s[domain] = 0.0  # it is there: ask it now
            self._wake.set()
        self._put_off(link)
        return replace(word, reach=link.reach)

    def _put_off(self, link: PeerLink) -> None:
        """Put off the next own exchange: the peer has begun one, and what is new goes with its answer.

        Not where the own connection is down: what the peer can do shows nothing about that.
        """
        due_s, own_s = self._due_s.get(link.domain), self._own_s.get(link.domain)
        if not due_s or own_s is None or not (link.health.is_healthy and link.is_connected):
            return
        later_s = min(self._clock.monotonic_s() + EXCHANGE_S, own_s + OWN_MOST_S)
        self._due_s[link.domain] = max(due_s, later_s)
        link.health.heard(self._clock.wall_s())

    def exchange_soon(self) -> None:
        """Begin the next exchange with every peer that is there at once: something changed."""
        for domain, link in self._open.items():
            if link.health.away_since_s is None:
                self._due_s[domain] = 0.0
        self._wake.set()

    async def _begin_due(self) -> None:
        """Begin the exchanges whose time has come, each a task of its own."""
        now_s = self._clock.monotonic_s()
        for domain, link in tuple(self._open.items()):
            is_due = link.is_in_doubt or self._due_s.get(domain, 0.0) <= now_s
            if domain in self._under_way or not is_due:
                continue
            task = asyncio.get_running_loop().create_task(self._exchange(link))
            self._under_way[domain] = task
            task.add_done_callback(partial(self._ended, domain))

    def _ended(self, domain: Domain, _: asyncio.Task[None]) -> None:
        self._under_way.pop(domain, None)

    async def _exchange(self, link: PeerLink) -> None:
        """Tell a peer what is new, and take up what it answers.

        A peer answers for what passes over the network and for what it says.  What fails before or after,
        at this member's own disk or catalogue, is no trouble of the peer's: it is logged, and tried again.
        """
        try:
            word = replace(await self._words.to(link.domain), reach=link.reach)
            answer = await self._asked(link, word)
            if answer is not None:
                await self._take(link, answer)
                self._own_failures.pop(link.domain, None)
        except Exception as error:  # noqa: BLE001 - the edge of a task
            self._own_failed(link, error)
            self._due_again(link)

    def _own_failed(self, link: PeerLink, error: Exception) -> None:
        """Log that this member's own part failed, when that begins, and when the reason changes."""
        reason = f"{type(error).__name__}: {error}"
        if self._open.get(link.domain) is not link or self._own_failures.get(link.domain) == reason:
            return
        self._own_failures[link.domain] = reason
        line = self._lines.take(f"own part, {link.domain}", self._clock.monotonic_s())
        if line is not None:
            is_known = isinstance(error, CollectiveError | TimeoutError)
            self._log.error(
                "own part of an exchange failed",
                domain=link.domain,
                reason=reason,
                exc_info=not is_known,
                **line,
            )

    def _note(self, domain: Domain, level: int, event: str, **facts: str) -> None:
        """Log what a peer causes, which may be as often as it likes: within a rate."""
        line = self._lines.take(domain, self._clock.monotonic_s())
        if line is not None:
            self._log.log(level, event, domain=domain, **facts, **line)

    async def _asked(self, link: PeerLink, word: PeerWord) -> PeerWord | None:
        """Return what a peer answers to ``word``; None where it does not, which its link then knows."""
        began_s = self._clock.monotonic_s()
        try:
            with link.exchange() as channel:
                answer = await exchange_over(channel, word, EXCHANGE_TIMEOUT_S)
        except BusyError:  # it is there
            self._due_again(link)
            return None
        except CollectiveError as error:
            await self._failed(link, error)
            return None
        if link.health.away_since_s is not None:
            self._note(link.domain, logging.INFO, "peer is back")
        link.answered(began_s)
        self._due_again(link)
        return answer

    async def _take(self, link: PeerLink, answer: PeerWord) -> None:
        try:
            await self._words.take(link.domain, answer)
            link.reach_told = answer.reach
        except RejectedError as error:  # it is not to be believed
            await self._failed(link, error)

    def _due_again(self, link: PeerLink) -> None:
        """Have the next exchange follow in its time, unless the peering ended meanwhile."""
        if self._open.get(link.domain) is link:
            self._own_s[link.domain] = self._clock.monotonic_s()
            self._due_s[link.domain] = self._own_s[link.domain] + EXCHANGE_S

    async def _failed(self, link: PeerLink, error: CollectiveError) -> None:
        if self._open.get(link.domain) is not link:
            return  # the peering ended meanwhile, or another began: nothing of this one counts there
        if link.failed(error):
            self._note(link.domain, logging.WARNING, "peer is away", reason=error.message)
        delay_s = self._backoff.delay_s(link.health.failures, self._randomness.uniform())
        self._due_s[link.domain] = self._clock.monotonic_s() + delay_s
        if isinstance(error, ShutOutError) and self._is_settled(link):
            # said over a connection whose other end is verified
            await self._end(link.domain)
            return
        if isinstance(error, RejectedError):  # it may have another CA by now
            await self._ask_bootstrap(link.domain)

    async def _end(self, domain: Domain) -> None:
        try:
            await self._book.ended(domain)
        except CollectiveError as error:  # asked again at the next exchange
            self._log.error("peering not ended", domain=domain, reason=error.message)

    def _is_settled(self, link: PeerLink) -> bool:
        """Whether the other end has had time to take the peering up: until then its tombstone may answer."""
        known = self._book.all.get(link.domain)
        if known is None:
            return False
        age_s = self._clock.wall_s() - known.peer.since_ms / 1000
        return link.health.last_seen_ms > 0 or age_s > SETTLED_AFTER_S

    async def _ask_bootstrap(self, domain: Domain) -> None:
        """Fetch the bundle of a peer whose certificate does not count here; it counts by its signature.

        A peer that was away while another replaced its CA meets one that it does not know.
        """
        known = self._book.all.get(domain)
        if known is None or not known.bundle.bootstraps:
            return
        try:
            async with self._links.channel(
                known.bundle.bootstraps,
                credentials=None,
                gate=UnverifiedGate(),
                expect=lambda _: True,
                connect_timeout_s=CONNECT_TIMEOUT_S,
            ) as channel:
                asking = RemoteIntroduction.over(channel, EXCHANGE_TIMEOUT_S)
                code_id = self._randomness.token(CODE_ID_BYTES).hex()
                _, signed = await asking.begin(code_id)
            await self._words.take_bundle(domain, signed, domain)
        except CollectiveError as error:
            self._note(domain, logging.INFO, "no newer bundle", reason=error.message)

    # --- who is a peer ---------------------------------------------------------------------------

    def _follow(self) -> None:
        """Open and close links as peers come and go."""
        active = {known.bundle.domain: known.bundle for known in self._book.active()}
        for domain in self._open.keys() - active.keys():
            self._open.pop(domain).close()
            self._due_s.pop(domain, None)
            self._own_s.pop(domain, None)
            self._own_failures.pop(domain, None)
        for domain, bundle in active.items():
            link = self._open.get(domain)
            if link is None:
                self._open[domain] = PeerLink(
                    domain,
                    bundle.addresses,
                    self._credentials,
                    self._links,
                    self._clock,
                    self._tallies,
                )
                self._wake.set()
            else:
                link.move(bundle.addresses)

    def retire(self) -> None:
        """Show the renewed certificate in what comes next; calls that are under way end as they began."""
        for link in self._open.values():
            link.retire()

    async def close(self) -> None:
        """Close every connection."""
        for task in tuple(self._under_way.values()):
            task.cancel()
        await asyncio.gather(*self._under_way.values(), return_exceptions=True)
        for link in self._open.values():
            link.close()
