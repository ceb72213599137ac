"""Bugs that are put into the product, to show that the rules find them.

Each is a patch of product functions; ``python -m tests.model.federation.faults`` runs seeds with each until
one diverges, and fails itself where none does.  To add one: write a function that takes an ``ExitStack``, and
name it in ``FAULTS``.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
from asyncio import Runner
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from unittest import mock

import structlog

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.sqlite.people import peers
from collective.core.ids import Domain, SpiffeId
from collective.core.paths import FilePath
from collective.federation.links.peer_call_limits import PeerCallLimits
from collective.member.files.copying import MemberCopying
from collective.member.files.interrupted_copying import InterruptedCopying
from collective.member.files.member_directory import MemberDirectory
from collective.member.people import receivers
from collective.member.people.member_people import MemberPeople
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.rights import Right
from collective.roles.coordinator.faces.grpc.admission import Admission
from collective.rpc.headers import PRINCIPAL_KEY
from tests.model.federation.driver import DivergenceError, Driver
from tests.simulation.mutants import everywhere
from tests.virtual_time import VirtualTimeLoop

SEEDS_MOST: Final = 30
STEPS: Final = 1300
_MEMORY: Final = "/dev/shm"


def _patch(stack: ExitStack, owner: object, name: str, new: object) -> None:
    stack.enter_context(mock.patch.object(owner, name, new))


# --- whom a grant counts for -------------------------------------------------------------------------


def same_name_counts(stack: ExitStack) -> None:
    """A grant to somebody for whom another member vouches counts for the own identity of that name."""
    of = GrantBook.of

    def by_name(self: GrantBook, principal: SpiffeId, now_s: float) -> Sequence[Grant]:
        found = list(of(self, principal, now_s))
        for grant in self.live(now_s):
            same = grant.principal.role == "user" and grant.principal != principal
            if same and grant.principal.global_id == principal.global_id:
                found.append(grant)
        return found

    _patch(stack, GrantBook, "of", by_name)


def whole_member_is_everybody(stack: ExitStack) -> None:
    """A grant to everybody of one member counts for the people of others too."""
    of = GrantBook.of

    def wider(self: GrantBook, principal: SpiffeId, now_s: float) -> Sequence[Grant]:
        found = list(of(self, principal, now_s))
        known = {grant.id for grant in found}
        if principal.role == "user":
            found += [
                grant
                for grant in self.live(now_s)
                if grant.principal.role == "coordinator" and grant.id not in known
            ]
        return found

    _patch(stack, GrantBook, "of", wider)


def domain_of_name_ignored(stack: ExitStack) -> None:
    """``name@D`` is one of this member's own, also where D is a peer."""
    receiver_of = receivers.receiver_of

    def own(text: str, own: Domain, known: receivers.PeerDomains) -> SpiffeId:
        found = receiver_of(text, own, known)
        is_plain = " via " not in text and not text.startswith(("@", "spiffe:"))
        if is_plain and found.global_id is not None:
            return SpiffeId.user(own, found.global_id)
        return found

    everywhere(stack, receivers, "receiver_of", own)


# --- what is passed on -------------------------------------------------------------------------------


def share_gives_more(stack: ExitStack) -> None:
    """Whoever may share a path gives more rights on it than they have."""

    def only_share(self: Decider, path: FilePath, rights: Right) -> None:
        del rights
        if not self.is_admin:
            self.require(Right.SHARE, path)

    _patch(stack, Decider, "require_share", only_share)
    sources = GrantBook.sources

    def some(
        self: GrantBook, principal: SpiffeId, path: FilePath, rights: Right, now_s: float
    ) -> tuple[str, ...] | None:
        found = sources(self, principal, path, rights, now_s)
        return found or sources(self, principal, path, Right.SHARE, now_s)

    _patch(stack, GrantBook, "sources", some)


def chain_outlives_its_root(stack: ExitStack) -> None:
    """What was passed on stays when the right that it came from is ended."""
    _patch(stack, GrantBook, "_with_what_came", lambda _, named: dict(named))


def chain_outlives_its_expiry(stack: ExitStack) -> None:
    """What was passed on does not end with the expiry of what it came from."""
    _patch(stack, GrantBook, "until", lambda *_: math.inf)


def revoked_giver_counts(stack: ExitStack) -> None:
    """What somebody passed on stays when they are revoked."""

    def revoking(self: GrantBook, identities: Any, keys: Any = ()) -> GrantBook:
        book = self._copy()
        book._revoked = self._revoked | frozenset(identities)
        del keys
        for one in book._revoked:
            for grant in book.given_to(one):
                book._until[grant.id] = -math.inf
        return book

    _patch(stack, GrantBook, "revoking", revoking)


def move_lets_in(stack: ExitStack) -> None:
    """A move that gives others access needs no share."""
    _patch(stack, Decider, "_anyone_gains", lambda *_: False)


# --- peers -------------------------------------------------------------------------------------------


def grants_of_removed_peer_kept(stack: ExitStack) -> None:
    """The grants to and by people of a peer stay when it is removed."""
    _patch(stack, peers, "_drop_grants_of", lambda *_: 0)


def removed_peer_let_in(stack: ExitStack) -> None:
    """A peer that was removed still calls."""
    _patch(stack, PeerCallLimits, "require_peer", lambda *_: None)


def peers_shown_to_peers(stack: ExitStack) -> None:
    """A call that came from a peer is shown this member's other peers."""
    _patch(stack, MemberDirectory, "peers", lambda self, _: self._others.domains())


def peer_speaks_for_all(stack: ExitStack) -> None:
    """A peer is believed for whom it says that it calls."""
    forwarded = Admission._forwarded

    def believe(self: Admission, current: Any) -> Call:
        text = str(current.metadata[PRINCIPAL_KEY])
        told = SpiffeId.parse(text) if text.startswith("spiffe:") else None
        if told is None or told.global_id is None:
            return forwarded(self, current)
        own = SpiffeId.user(current.peer.identity.trust_domain, told.global_id)
        current.metadata[PRINCIPAL_KEY] = str(own)
        return forwarded(self, current)._replace(principal=told)

    _patch(stack, Admission, "_forwarded", believe)


def header_believed_at_home(stack: ExitStack) -> None:
    """One's own people are taken for whom they say they are."""
    call_of = Admission._call_of

    def believe(self: Admission, current: Any) -> Call:
        call = call_of(self, current)
        told = current.metadata.get(PRINCIPAL_KEY)
        if told is None or SpiffeId.parse(told).trust_domain != self._domain:
            return call
        return call._replace(principal=SpiffeId.parse(told), is_operator=True)

    _patch(stack, Admission, "_call_of", believe)


def peers_told_to_strangers(stack: ExitStack) -> None:
    """Who may give nothing is told who is a peer."""

    async def add(self: Any, call: Call, path: Any, rights: Any, who: str, until: Any) -> Grant:
        receiver = receivers.receiver_of(who, self._domain, self._peers)
        made: Grant = await self._catalog.grants.add(call, path, rights, receiver, until)
        return made

    _patch(stack, MemberPeople, "add_grant", add)


def grants_to_all_not_listed(stack: ExitStack) -> None:
    """What everybody of a member has is not listed to them."""
    below = GrantBook.below

    def alone(self: GrantBook, principal: SpiffeId, now_s: float) -> Sequence[Grant]:
        found = below(self, principal, now_s)
        return [one for one in found if one.principal.role == "user"]

    _patch(stack, GrantBook, "below", alone)


# --- copies ------------------------------------------------------------------------------------------


class _AsOwner:
    """Reads or uploads whose owner asks for them, whoever does."""

    def __init__(self, inner: Any, domain: Domain) -> None:
        self._inner = inner
        self._own = Call.own(domain)

    def __getattr__(self, name: str) -> Any:
        def ask(call: Call, *args: Any, **named: Any) -> Any:
            own = self._own._replace(carrier=call.carrier)
            return getattr(self._inner, name)(own, *args, **named)

        return ask


class _HalfJudged:
    """Where the members are, of which one part is not judged where the files are the own member's."""

    def __init__(self, directory: MemberDirectory, part: str) -> None:
        self._directory = directory
        self._part = part

    def of_path(self, call: Call, path: FilePath) -> Any:
        files = self._directory.of_path(call, path)
        parts = {"reads": files.reads, "uploads": files.uploads}
        if path.peer_domain is None:
            parts[self._part] = _AsOwner(parts[self._part], self._directory.domain)
        return SimpleNamespace(**parts)


def _copy_without(stack: ExitStack, part: str) -> None:
    made = MemberCopying.__init__

    def make(
        self: MemberCopying,
        own: SpiffeId,
        engines: Any,
        owners: MemberDirectory,
        interrupted: InterruptedCopying,
    ) -> None:
        judged: Any = _HalfJudged(owners, part)
        made(self, own, engines, judged, interrupted)

    _patch(stack, MemberCopying, "__init__", make)


def copy_needs_only_the_source(stack: ExitStack) -> None:
    """A copy is judged where it is read, and not where it is written."""
    _copy_without(stack, "uploads")


def copy_needs_only_the_target(stack: ExitStack) -> None:
    """A copy is judged where it is written, and not where it is read."""
    _copy_without(stack, "reads")


FAULTS: Final[dict[str, Callable[[ExitStack], None]]] = {
    fault.__name__: fault
    for fault in (
        same_name_counts,
        whole_member_is_everybody,
        domain_of_name_ignored,
        share_gives_more,
        chain_outlives_its_root,
        chain_outlives_its_expiry,
        revoked_giver_counts,
        move_lets_in,
        grants_of_removed_peer_kept,
        removed_peer_let_in,
        peers_shown_to_peers,
        peer_speaks_for_all,
        header_believed_at_home,
        peers_told_to_strangers,
        grants_to_all_not_listed,
        copy_needs_only_the_source,
        copy_needs_only_the_target,
    )
}


def hunt(name: str, seeds: int = SEEDS_MOST) -> tuple[int, str]:
    """Return after how many steps the fault of that name (empty: none) is found, and by what: nothing where it is not."""
    steps = 0
    memory = _MEMORY if os.path.isdir(_MEMORY) else None
    with ExitStack() as stack:
        if name:
            FAULTS[name](stack)
        for seed in range(1, seeds + 1):
            driver = Driver(seed)
            with (
                Runner(loop_factory=VirtualTimeLoop) as runner,
                tempfile.TemporaryDirectory(dir=memory) as folder,
            ):
                try:
                    runner.run(driver.run(Path(folder), STEPS))
                except DivergenceError as error:
                    if not isinstance(error.__cause__, AssertionError | None):
                        raise  # a failure of the test's own finds nothing
                    return steps + driver.steps, str(error).partition("\n")[0]
            steps += driver.steps
    return steps, ""


def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    missed = 0
    for name in sys.argv[1:] or FAULTS:
        steps, why = hunt(name)
        missed += not why
        sys.stdout.write(f"{name}: {f'{steps} steps: {why}' if why else 'NOT FOUND'}\n")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
