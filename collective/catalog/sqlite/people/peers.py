"""Peers, their tombstones, and the number of the own bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import apsw

from collective.access.grant_book import GrantBook
from collective.catalog.decisions.codes import require_open
from collective.catalog.decisions.peers import (
    STEP_BYTES,
    confirmed,
    ends_grants,
    introduced,
    is_of_domain,
    is_repeat,
    next_sequence,
    removed,
    renewed,
    require_peer_code,
    state_by,
    step_of,
    surplus,
    taken_up,
)
from collective.catalog.interface.peers import NAMES_MAX
from collective.catalog.sqlite.people.code_rows import SELECT as SELECT_CODE
from collective.catalog.sqlite.people.code_rows import code_value
from collective.catalog.sqlite.people.grants import drop_grants
from collective.catalog.sqlite.store import rows
from collective.catalog.sqlite.store.engine import Engine
from collective.catalog.sqlite.store.writer import Transaction
from collective.core.ids import Domain, MemberId, SpiffeId
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.peers import Peer, PeerState

_SELECT = (
    "SELECT domain, member, state, authority_digest, sequence, body, signature, since_ms, came_by,"
    " seen, taken_ms FROM peers"
)


class SqlitePeers:
    """:class:`~collective.catalog.interface.peers.Peers` in SQLite."""

    def __init__(self, engine: Engine) -> None:
        """Keep them by ``engine``."""
        self._engine = engine
        self._counted: tuple[GrantBook, Mapping[Domain, int]] | None = None
        """What was counted of a book, which never changes; those that end meanwhile are not left out."""

    async def all(self) -> Sequence[Peer]:
        """Return every peer and tombstone, in order of domain."""
        return await self._engine.read(
            lambda db: [_peer(row) for row in db.execute(f"{_SELECT} ORDER BY domain")]
        )

    async def redeem(self, code_id: str, peer: Peer, *, request_id: str = "") -> Peer:
        """Take ``peer`` up by a code, and count the use."""

        def work(tx: Transaction) -> Peer:
            code = code_value(tx.one(f"{SELECT_CODE} WHERE id = ?", code_id), tx.book, tx.now_s)
            require_peer_code(code, peer.domain)
            known = _known(tx.db, peer.domain)
            if known is not None and is_repeat(known, code_id, peer):
                return known
            require_open(code, tx.now_s)
            came = replace(
                peer,
                state=state_by(code),
                since_ms=tx.now_ms,
                came_by=code_id,
                is_seen=False,
                taken_ms=tx.now_ms,
            )
            stored = taken_up(known, came, _count_others(tx.db, peer.domain), replaces=False)
            _put(tx, stored)
            tx.run("UPDATE codes SET uses_left = uses_left - 1 WHERE id = ?", code_id)
            who = f"spiffe://{peer.domain}/coordinator"
            detail = f"peer invite of {code.created_by}, {stored.state.value}"
            tx.audit_of(who, "peer", code_id, detail, request_id)
            return stored

        return await self._engine.change(work)

    async def accept(self, actor: Call, peer: Peer, *, replaces: bool = False) -> Peer:
        """Take ``peer`` up, whose code the operator accepted."""

        def work(tx: Transaction) -> Peer:
            tx.decider(actor).require_admin("peer with another member")
            known = _known(tx.db, peer.domain)
            named = _named(tx.db, tx.book, actor.principal.trust_domain, [peer.domain])[peer.domain]
            came = replace(peer, since_ms=tx.now_ms, is_seen=not named, taken_ms=tx.now_ms)
            stored = taken_up(known, came, _count_others(tx.db, peer.domain), replaces=replaces)
            if ends_grants(known, stored):
                _drop_grants_of(tx, peer.domain)
            _put(tx, stored)
            tx.audit(actor, "peer", str(peer.domain), f"accepted, {stored.state.value}")
            return stored

        return await self._change(work, actor, "peer", peer.domain)

    async def introduce(self, peer: Peer) -> Peer:
        """Take ``peer`` up, which the introductions folder tells of."""

        def work(tx: Transaction) -> Peer:
            known = _known(tx.db, peer.domain)
            came = replace(peer, since_ms=tx.now_ms, is_seen=False, taken_ms=tx.now_ms)
            stored = introduced(known, came, _count_others(tx.db, peer.domain))
            if stored != known:
                _put(tx, stored)
                who = f"spiffe://{peer.domain}/coordinator"
                tx.audit_of(who, "peer", str(peer.domain), "by the introductions folder")
            return stored

        return await self._engine.change(work)

    async def confirm(self, actor: Call, domain: Domain) -> Peer:
        """Let a peer count that waits for it."""

        def work(tx: Transaction) -> Peer:
            tx.decider(actor).require_admin("confirm a peer")
            stored = confirmed(_known(tx.db, domain), domain, tx.now_ms)
            _put(tx, stored)
            tx.audit(actor, "peer-confirm", str(domain))
            return stored

        return await self._change(work, actor, "peer-confirm", domain)

    async def renew(self, newer: Peer) -> Peer | None:
        """Keep a newer bundle of a peer."""

        def work(tx: Transaction) -> Peer | None:
            came = replace(newer, taken_ms=tx.now_ms)
            stored = renewed(_known(tx.db, newer.domain), came)
            if stored is not None:
                _put(tx, stored)
            return stored

        return await self._engine.change(work)

    async def remove(self, actor: Call, domain: Domain, *, by_them: bool = False) -> Peer:
        """End a peering, and all grants to and by its people."""

        def work(tx: Transaction) -> Peer:
            tx.decider(actor).require_admin("remove a peer")
            stored = removed(_known(tx.db, domain), domain, tx.now_ms, by_them=by_them)
            ended = _drop_grants_of(tx, domain)
            _put(tx, stored)
            tombstones = [
                _peer(row) for row in tx.all(f"{_SELECT} WHERE state = ?", PeerState.REMOVED.value)
            ]
            for one in surplus(tombstones):
                tx.run("DELETE FROM peers WHERE domain = ?", one)
            who = "by the peer, " if by_them else ""
            tx.audit(actor, "peer-remove", str(domain), f"{who}{ended} grants ended")
            return stored

        return await self._change(work, actor, "peer-remove", domain)

    async def granted(self) -> Mapping[Domain, int]:
        """Return how many live grants there are to the people of each domain."""
        book, now_s = self._engine.writer.book, self._engine.clock.wall_s()
        if self._counted is None or self._counted[0] is not book:

            def work(_: apsw.Connection) -> Mapping[Domain, int]:
                return Counter(grant.principal.trust_domain for grant in book.live(now_s))

            self._counted = (book, await self._engine.read(work))  # off the loop: there may be many
        return self._counted[1]

    async def grants_to(self, domain: Domain, most: int) -> Sequence[Grant]:
        """Return the first live grants to another member and its people."""
        book, now_s = self._engine.writer.book, self._engine.clock.wall_s()

        def work(_: apsw.Connection) -> Sequence[Grant]:
            found = [one for one in book.live(now_s) if one.principal.trust_domain == domain]
            return sorted(found, key=lambda one: (str(one.path), one.id))[:most]

        return await self._engine.read(work)

    async def names_given_out(
        self, own: Domain, domains: Collection[Domain]
    ) -> Mapping[Domain, Sequence[SpiffeId]]:
        """Return people of this member by the other member's domain that their name is in."""
        book = self._engine.writer.book
        return await self._engine.read(lambda db: _named(db, book, own, domains))

    async def note_seen(self, actor: Call, domains: Collection[Domain]) -> None:
        """Note that an admin was told of these peers."""

        def work(tx: Transaction) -> None:
            tx.decider(actor).require_admin("see peers")
            for domain in domains:
                tx.run("UPDATE peers SET seen = 1 WHERE domain = ? AND seen = 0", str(domain))

        await self._engine.write(work, caller=actor, action="peer", target="peers")

    async def own_sequence(self, digest: bytes, *, echoed: int = 0) -> int:
        """Return the number of this member's bundle."""

        def work(tx: Transaction) -> int:
            stored_digest, stored = tx.one("SELECT digest, sequence FROM own_bundle")
            step = step_of(self._engine.randomness.token(STEP_BYTES))
            is_same = stored_digest == digest
            sequence = next_sequence(stored, is_same=is_same, echoed=echoed, step=step)
            if sequence != stored:
                tx.run("UPDATE own_bundle SET digest = ?, sequence = ?", digest, sequence)
            return sequence

        return await self._engine.change(work)

    async def _change(
        self, work: Callable[[Transaction], Peer], actor: Call, action: str, domain: Domain
    ) -> Peer:
        return await self._engine.write(work, caller=actor, action=action, target=str(domain))


def _drop_grants_of(tx: Transaction, domain: Domain) -> int:
    """End every grant to or by the people of a peer."""
    named = [grant.id for grant in tx.book.all() if is_of_domain(grant, domain)]
    drop_grants(tx, named)
    return len(named)


def _named(
    db: apsw.Connection, book: GrantBook, own: Domain, domains: Collection[Domain]
) -> Mapping[Domain, Sequence[SpiffeId]]:
    """Return people of ``own`` by the domain, one of ``domains``, that their name is in."""
    given = book.receivers_named(own, domains)
    found = {}
    for domain in domains:
        names = set(_joined_under(db, own, domain, book))
        names.update(one for one in given.get(domain, ()) if not book.is_revoked(one))
        found[domain] = sorted(names, key=str)[:NAMES_MAX]
    return found


def _joined_under(
    db: apsw.Connection, own: Domain, domain: Domain, book: GrantBook
) -> Iterator[SpiffeId]:
    """Yield the first NAMES_MAX of each table who are not shut out, by its index."""
    begin = f"spiffe://{own}/user/{domain}/"
    for sql in (
        "SELECT principal FROM identities WHERE principal >= ? AND principal < ?",
        "SELECT DISTINCT identity FROM issued WHERE identity >= ? AND identity < ?",
    ):
        rows_of = db.execute(sql, (begin, f"{begin[:-1]}0"))  # what follows the slash
        there = (SpiffeId.parse(str(row[0])) for row in rows_of)
        yield from islice((one for one in there if not book.is_revoked(one)), NAMES_MAX)


def _known(db: apsw.Connection, domain: Domain) -> Peer | None:
    row = rows.fetch(db, f"{_SELECT} WHERE domain = ?", domain)
    return None if row is None else _peer(row)


def _count_others(db: apsw.Connection, domain: Domain) -> int:
    count: int = rows.fetch(
        db,
        "SELECT count(*) FROM peers WHERE state <> ? AND domain <> ?",
        PeerState.REMOVED.value,
        domain,
    )[0]
    return count


def _put(tx: Transaction, peer: Peer) -> None:
    tx.run(
        "INSERT OR REPLACE INTO peers (domain, member, state, authority_digest, sequence, body,"
        " signature, since_ms, came_by, seen, taken_ms) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
        peer.domain,
        peer.member,
        peer.state.value,
        peer.authority_digest,
        peer.sequence,
        peer.body,
        peer.signature,
        peer.since_ms,
        peer.came_by,
        int(peer.is_seen),
        peer.taken_ms,
    )


def _peer(row: Iterable[Any]) -> Peer:
    domain, member, state, digest, sequence, body, signature, since_ms, came_by, seen, taken_ms = (
        row
    )
    return Peer(
        Domain(domain),
        MemberId(member),
        PeerState(state),
        bytes(digest),
        sequence,
        bytes(body),
        bytes(signature),
        since_ms,
        came_by,
        bool(seen),
        taken_ms,
    )
