"""All grants of a member, and the time until which each really holds.

A book never changes: :meth:`GrantBook.adding`, :meth:`GrantBook.removing` and :meth:`GrantBook.revoking`
return the next one, which shares all that they do not touch, so that one grant more costs no reading of all
the others.

Invariant: what was passed on (granted by anyone but a coordinator) holds only while every grant that
it came from holds; where none is recorded (an older catalogue), while its giver holds ``share`` and
every right in it there.  Those have no order in which they could be worked out one by one, so a book
with any of them is worked out as a whole at each change.
"""

# ruff: noqa: SLF001 - a book fills the next one

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.model.grants import Grant
from collective.model.rights import Right

Key = TypeVar("Key")


class GrantBook:
    """Grants by id, receiver, giver and source."""

    def __init__(
        self,
        grants: Iterable[Grant],
        revoked: frozenset[SpiffeId] = frozenset(),
        revoked_keys: frozenset[bytes] = frozenset(),
    ) -> None:
        """Work out the chains of passed-on grants.

        Args:
            grants: every grant there is.
            revoked: identities that are shut out, with all that they passed on.
            revoked_keys: SHA-256 of keys that are shut out, with the open codes that they made.
        """
        self._grants: dict[str, Grant] = {}
        self._until: dict[str, float] = {}
        self._by_principal: dict[SpiffeId, tuple[str, ...]] = {}
        self._by_giver: dict[SpiffeId, tuple[str, ...]] = {}
        self._came_from: dict[str, tuple[str, ...]] = {}
        """For each source the grants that came from it."""
        self._sourceless = 0
        """Passed-on grants of which no source is recorded."""
        self._revoked = revoked
        self._revoked_keys = revoked_keys
        by_principal: dict[SpiffeId, list[str]] = {}
        by_giver: dict[SpiffeId, list[str]] = {}
        came_from: dict[str, list[str]] = {}
        for grant in grants:
            self._grants[grant.id] = grant
            by_principal.setdefault(grant.principal, []).append(grant.id)
            by_giver.setdefault(grant.granted_by, []).append(grant.id)
            for source in grant.sources:
                came_from.setdefault(source, []).append(grant.id)
            self._sourceless += _is_sourceless(grant)
        self._by_principal = {who: tuple(ids) for who, ids in by_principal.items()}
        self._by_giver = {who: tuple(ids) for who, ids in by_giver.items()}
        self._came_from = {source: tuple(ids) for source, ids in came_from.items()}
        self._settle()

    # --- the next book ---------------------------------------------------------------------------

    def adding(self, grants: Sequence[Grant]) -> GrantBook:
        """Return the book with ``grants`` too; each after those that it came from."""
        if self._sourceless or any(_is_sourceless(grant) for grant in grants):
            return GrantBook([*self.all(), *grants], self._revoked, self._revoked_keys)
        book = self._copy()
        for grant in grants:
            book._grants[grant.id] = grant
            _put(book._by_principal, grant.principal, grant.id)
            _put(book._by_giver, grant.granted_by, grant.id)
            for source in grant.sources:
                _put(book._came_from, source, grant.id)
            book._until[grant.id] = book._holds_until(grant)
        return book

    def removing(
        self, ids: Iterable[str], most: int | None = None
    ) -> tuple[GrantBook, Sequence[str]]:
        """Return the book without these grants and what came from them, and the ids that went.

        ``most``: grants beyond these ``ids`` that go; the others stay in the book and hold no more.
        """
        named = dict.fromkeys(one for one in ids if one in self._grants)
        gone = self._with_what_came(named)
        if self._sourceless:
            return self._removing_with_sourceless(gone)
        book = self._copy()
        if most is not None:
            for one in list(gone)[len(named) + most :]:
                book._until[one] = -math.inf
                del gone[one]
        receivers, givers, sources = set(), set(), set(gone)
        for one in gone:
            grant = book._grants.pop(one)
            del book._until[one]
            receivers.add(grant.principal)
            givers.add(grant.granted_by)
            sources.update(grant.sources)
        for who in receivers:
            _strike(book._by_principal, who, gone)
        for who in givers:
            _strike(book._by_giver, who, gone)
        for source in sources:
            _strike(book._came_from, source, gone)
        return book, list(gone)

    def revoking(self, identities: Iterable[SpiffeId], keys: Iterable[bytes] = ()) -> GrantBook:
        """Return the book in which these are shut out too, with all that they passed on."""
        new = frozenset(identities)
        revoked, revoked_keys = self._revoked | new, self._revoked_keys | frozenset(keys)
        if self._sourceless:
            return GrantBook(self.all(), revoked, revoked_keys)
        book = self._copy()
        book._revoked, book._revoked_keys = revoked, revoked_keys
        pending = [grant.id for one in new for grant in (*self.given_to(one), *self.given_by(one))]
        while pending:
            one = pending.pop()
            if book._until[one] > -math.inf:
                book._until[one] = -math.inf
                pending += self._came_from.get(one, ())
        return book

    def _with_what_came(self, named: dict[str, None]) -> dict[str, None]:
        """Return these grants and all that came from them, each after one that it came from."""
        found = named.copy()
        pending = deque(named)
        while pending:
            for below in self._came_from.get(pending.popleft(), ()):
                if below in self._grants and below not in found:
                    found[below] = None
                    pending.append(below)
        return found

    def _removing_with_sourceless(self, gone: dict[str, None]) -> tuple[GrantBook, Sequence[str]]:
        while True:
            kept = [grant for grant in self.all() if grant.id not in gone]
            book = GrantBook(kept, self._revoked, self._revoked_keys)
            unsupported = [grant.id for grant in kept if not book.has_support(grant)]
            if not unsupported:
                return book, list(gone)
            gone.update(dict.fromkeys(unsupported))

    def _copy(self) -> GrantBook:
        book = GrantBook((), self._revoked, self._revoked_keys)
        book._grants = self._grants.copy()
        book._until = self._until.copy()
        book._by_principal = self._by_principal.copy()
        book._by_giver = self._by_giver.copy()
        book._came_from = self._came_from.copy()
        return book

    # --- how long grants hold --------------------------------------------------------------------

    def _settle(self) -> None:
        """Work out every grant: those with sources once all of these are, the others by rounds."""
        waiting: dict[str, int] = {}
        ready: list[str] = []
        for grant in self._grants.values():
            self._until[grant.id] = -math.inf
            known = sum(source in self._grants for source in grant.sources)
            if known:
                waiting[grant.id] = known
            else:
                ready.append(grant.id)
        while ready:
            one = ready.pop()
            self._until[one] = self._holds_until(self._grants[one])
            for below in self._came_from.get(one, ()):
                waiting[below] -= 1
                if not waiting[below]:
                    ready.append(below)
        changed = bool(self._sourceless)
        while changed:
            changed = False
            for grant in self._grants.values():
                until = self._holds_until(grant)
                if until > self._until[grant.id]:
                    self._until[grant.id] = until
                    changed = True

    def _holds_until(self, grant: Grant) -> float:
        if grant.principal in self._revoked or grant.granted_by in self._revoked:
            return -math.inf
        if grant.granted_by.role == "coordinator":
            return _own_expiry(grant)
        origin = self.until(grant.sources) if grant.sources else self._support(grant)
        return min(_own_expiry(grant), origin)

    def _support(self, grant: Grant) -> float:
        """Return until when the giver holds share and each right of ``grant`` at its path."""
        held = [
            given
            for given in self._given_to(grant.granted_by)
            if grant.path.starts_with(given.path)
        ]
        return min(
            max((self._until[given.id] for given in held if bit in given.rights), default=-math.inf)
            for bit in Right
            if bit and bit in (grant.rights | Right.SHARE)
        )

    # --- questions -------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many grants there are, live or not."""
        return len(self._grants)

    def get(self, grant_id: str) -> Grant | None:
        """Return a grant, live or not, by its id."""
        return self._grants.get(grant_id)

    def all(self) -> Sequence[Grant]:
        """Return every grant, live or not."""
        return list(self._grants.values())

    def is_live(self, grant: Grant, now_s: float) -> bool:
        """Tell whether ``grant`` holds at ``now_s`` (Unix seconds)."""
        return self._until[grant.id] > now_s

    def has_support(self, grant: Grant) -> bool:
        """Tell whether the right that ``grant`` came from still exists (whatever the time)."""
        return self._until[grant.id] > -math.inf

    def until(self, grants: Iterable[str]) -> float:
        """Return until when all of ``grants`` (ids) hold; -inf if one is no more, inf for none."""
        return min((self._until.get(grant, -math.inf) for grant in grants), default=math.inf)

    def is_revoked(self, principal: SpiffeId) -> bool:
        """Tell whether ``principal`` is shut out."""
        return principal in self._revoked

    def is_revoked_key(self, key_digest: bytes | None) -> bool:
        """Tell whether the key of that SHA-256 is shut out; None is no key."""
        return key_digest in self._revoked_keys

    def given_to(self, principal: SpiffeId) -> Sequence[Grant]:
        """Return the grants of ``principal``, live or not."""
        return self._given_to(principal)

    def given_by(self, principal: SpiffeId) -> Sequence[Grant]:
        """Return the grants that ``principal`` gave, live or not."""
        return [self._grants[one] for one in self._by_giver.get(principal, ())]

    def receivers_named(
        self, own: Domain, domains: Collection[Domain]
    ) -> Mapping[Domain, Sequence[SpiffeId]]:
        """Return who was given anything, is vouched for by ``own``, and has a name in one of ``domains``."""
        wanted, found = set(domains), defaultdict[Domain, list[SpiffeId]](list)
        for one in self._by_principal:
            if one.trust_domain == own and one.global_id and one.global_id.domain in wanted:
                found[one.global_id.domain].append(one)
        return found

    def given_by_member(self, domain: Domain) -> Sequence[Grant]:
        """Return the grants that users gave whom the member of ``domain`` vouches for, live or not."""
        return [
            self._grants[one]
            for giver, given in self._by_giver.items()
            if giver.trust_domain == domain and giver.role == "user"
            for one in given
        ]

    def _given_to(self, principal: SpiffeId) -> list[Grant]:
        return [self._grants[one] for one in self._by_principal.get(principal, ())]

    def sources(
        self, principal: SpiffeId, path: FilePath, rights: Right, now_s: float
    ) -> tuple[str, ...] | None:
        """Return the grants from which ``principal`` passes ``rights`` on ``path`` on; None if they may not.

        One grant that gives all of it (and ``share``) where there is one, the longest-lived; else
        the longest-lived for each right.
        """
        held = [grant for grant in self.of(principal, now_s) if path.starts_with(grant.path)]
        held.sort(key=lambda grant: (-self._until[grant.id], grant.id))
        wanted = rights | Right.SHARE
        for grant in held:
            if wanted in grant.rights:
                return (grant.id,)
        chosen: dict[str, None] = {}
        for bit in (bit for bit in Right if bit and bit in wanted):
            found = next((grant.id for grant in held if bit in grant.rights), None)
            if found is None:
                return None
            chosen[found] = None
        return tuple(chosen)

    def below(self, principal: SpiffeId, now_s: float) -> Sequence[Grant]:
        """Return the live grants of ``principal``, and all that came from what it alone was given or gave.

        Of a grant to everybody of a member, what others passed on is not its affair.
        """
        found = {grant.id: grant for grant in self.of(principal, now_s)}
        seen: set[str] = set()
        pending = [*self._by_principal.get(principal, ()), *self._by_giver.get(principal, ())]
        while pending:
            one = pending.pop()
            if one not in seen and self._until.get(one, -math.inf) > now_s:
                seen.add(one)
                found[one] = self._grants[one]
                pending += self._came_from.get(one, ())
        return list(found.values())

    def of(self, principal: SpiffeId, now_s: float) -> Sequence[Grant]:
        """Return the live grants of ``principal``: its own, and those of everybody its member vouches for."""
        found = self._given_to(principal)
        if principal.role == "user":
            found += self._given_to(SpiffeId.coordinator(principal.trust_domain))
        return [grant for grant in found if self._until[grant.id] > now_s]

    def live(self, now_s: float) -> Sequence[Grant]:
        """Return all live grants."""
        return [grant for one, grant in self._grants.items() if self._until[one] > now_s]

    def ended(self, by_s: float) -> Sequence[str]:
        """Return the ids of grants that hold no more at ``by_s``."""
        return [one for one, until_s in self._until.items() if until_s <= by_s]


def _own_expiry(grant: Grant) -> float:
    return math.inf if grant.expires_s is None else grant.expires_s


def _is_sourceless(grant: Grant) -> bool:
    return grant.granted_by.role != "coordinator" and not grant.sources


def _put(index: dict[Key, tuple[str, ...]], key: Key, grant_id: str) -> None:
    index[key] = (*index.get(key, ()), grant_id)


def _strike(index: dict[Key, tuple[str, ...]], key: Key, gone: dict[str, None]) -> None:
    left = tuple(one for one in index.get(key, ()) if one not in gone)
    if left:
        index[key] = left
    else:
        index.pop(key, None)
