"""Three members and the rules beside them: random acts by a seed, each compared.

People call their own coordinator, which passes on what is a peer's.  Some calls are inventions: of a peer that
speaks for others, of people who come without their coordinator, of names that only claim to be somebody.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path as Folder
from typing import Any, Final, TypeVar

from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError
from collective.core.ids import Domain, GlobalId, SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.grants import Grant
from collective.model.rights import Right as Bits
from collective.model.writing import Precondition, Removed
from collective.rpc.gen.collective.v1.people import ListIdentitiesRequest, PeopleStub
from collective.rpc.gen.collective.v1.streams import (
    ReadRequest,
    StreamsStub,
    WriteHeader,
    WriteRequest,
)
from collective.rpc.headers import PRINCIPAL_KEY
from collective.rpc.remote.connection import Control
from collective.rpc.remote.copying import RemoteCopying
from collective.rpc.remote.names import RemoteNames
from collective.rpc.remote.people import RemotePeople
from tests.model.federation.houses import House
from tests.model.federation.rules import (
    ABSENT,
    CONFLICT,
    DENIED,
    DONE,
    IMPOSSIBLE,
    NEVER,
    USAGE,
    Federation,
    Path,
    Right,
    Rights,
    Rules,
    Who,
)
from tests.model.federation.wire import Exchange, Wire
from tests.virtual_time import LoopClock

T = TypeVar("T")

ALICE, BOB, CAROL = "home.alice", "garage.bob", "attic.carol"
DOMAINS: Final = (ALICE, BOB, CAROL)
PEOPLE: Final = {
    ALICE: ("una@home.alice", "ned@home.alice", "you@else.net", "ben@garage.bob"),
    BOB: ("ben@garage.bob", "you@else.net", "una@home.alice"),
    CAROL: ("cy@attic.carol", "you@else.net", "una@home.alice"),
}
"""Names that one member gave out and others vouch for as well are different people."""
EVERYBODY: Final = tuple(Who(domain, name) for domain in DOMAINS for name in PEOPLE[domain])
NAMES: Final = sorted({name for names in PEOPLE.values() for name in names})
PATHS: Final[tuple[Path, ...]] = (
    *(path for depth in range(4) for path in itertools.product("ab", repeat=depth)),
    ("c",),
    ("c", "a"),
)
RIGHTS: Final = [frozenset(some) for some in ("r", "w", "rw", "rw", "rs", "rws", "rws", "s", "ws")]
LIVES_S: Final = (None, None, None, 30.0, 300.0)
STEP_S: Final = 0.1
GRANTS_MOST: Final = 24
AUDIT_EVERY: Final = 50
KEYS_EVERY_S: Final = 600.0
SHUT_OUT_MOST: Final = 2
TRACE_LINES: Final = 80
ANY: Final = Precondition()


class DivergenceError(AssertionError):
    """The members do not do what the rules say."""


def id_of(who: Who) -> SpiffeId:
    domain = Domain(who.voucher)
    if who.is_operator:
        return SpiffeId.coordinator(domain)
    return SpiffeId.user(domain, GlobalId.parse(who.name))


def who_of(identity: SpiffeId) -> Who:
    if identity.role == "coordinator":
        return Who(identity.trust_domain)
    return Who(identity.trust_domain, str(identity.global_id))


def bits(rights: Rights) -> Bits:
    return Bits(sum({"r": Bits.READ, "w": Bits.WRITE, "s": Bits.SHARE}[one] for one in rights))


def letters(rights: Bits) -> Rights:
    known = {"r": Bits.READ, "w": Bits.WRITE, "s": Bits.SHARE}
    return frozenset(letter for letter, bit in known.items() if bit in rights)


class Driver:
    """One federation, and what it should be."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.clock = ManualClock()
        self.exchange = Exchange()
        self.houses = {
            Domain(domain): House(Domain(domain), number, self.clock, seed, self.exchange)
            for number, domain in enumerate(DOMAINS)
        }
        self.rules = Federation({domain: Rules(domain) for domain in DOMAINS})
        self.trace: list[str] = []
        self.steps = 0
        self.outcomes: Counter[tuple[str, str, int]] = Counter()
        self._texts = itertools.count(1)
        self._keys_s = 0.0
        self._acts: Sequence[tuple[int, Callable[[], Awaitable[None]]]] = (
            (10, self.stat),
            (10, self.list),
            (8, self.read),
            (12, self.write),
            (8, self.mkdir),
            (4, self.remove),
            (8, self.move),
            (12, self.copy),
            (14, self.give),
            (5, self.end),
            (5, self.list_grants),
            (4, self.invent),
            (2, self.wait),
            (1, self.change_peering),
            (1, self.shut_out),
        )

    # --- running ---------------------------------------------------------------------------------

    async def run(self, folder: Folder, steps: int) -> None:
        """Do so many acts; DivergenceError with seed and trace."""
        async with self.opened(folder):
            try:
                await self._run(steps)
            except DivergenceError:
                raise
            except Exception as error:
                raise self.divergence(f"{type(error).__name__}: {error}") from error

    @asynccontextmanager
    async def opened(self, folder: Folder) -> AsyncIterator[None]:
        """Have three members that are peered with one another, and some folders."""
        async with AsyncExitStack() as stack:
            for house in self.houses.values():
                await house.open(folder, self.houses)
                stack.push_async_callback(house.close)
            self._tick(0.0)
            for one, other in itertools.permutations(DOMAINS, 2):
                await self.accept(one, other)
            for domain in DOMAINS:
                for path in (("a",), ("b",), ("a", "a")):
                    await self.mkdir_at(Who(domain), domain, path)
            yield

    async def _run(self, steps: int) -> None:
        for domain in DOMAINS:
            await self.write_at(Who(domain), domain, ("a", "a", "b"))
            for _ in range(8):
                await self.grant(
                    Who(domain), domain, self._path(), self._rights(), self._receiver()
                )
        weights = [weight for weight, _ in self._acts]
        acts = [act for _, act in self._acts]
        while self.steps < steps:
            self.steps += 1
            self._tick(STEP_S)
            (act,) = self.chance.choices(acts, weights)
            await act()
            if self.steps % AUDIT_EVERY == 0:
                await self.audit()
        await self.audit()

    def divergence(self, what: str) -> DivergenceError:
        told = "\n".join(self.trace[-TRACE_LINES:])
        return DivergenceError(f"seed {self.seed}, step {self.steps}: {what}\n{told}")

    def require(self, holds: object, what: str) -> None:
        if not holds:
            raise self.divergence(what)

    def _tick(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for rules in self.rules.members.values():
            rules.now_s = self.clock.wall_s()
        if self.clock.monotonic_s() - self._keys_s > KEYS_EVERY_S:
            self._keys_s = self.clock.monotonic_s()
            for house in self.houses.values():
                house.keep_keys()

    # --- what is drawn ---------------------------------------------------------------------------

    def _who(self) -> Who:
        if self.chance.random() < 0.2:
            return Who(self.chance.choice(DOMAINS))
        return self.chance.choice(EVERYBODY)

    def _owner(self, who: Who) -> str:
        return who.voucher if self.chance.random() < 0.35 else self.chance.choice(DOMAINS)

    def _path(self) -> Path:
        return self.chance.choice(PATHS)

    def _rights(self) -> Rights:
        return self.chance.choice(RIGHTS)

    def _receiver(self) -> str:
        domain, name = self.chance.choice((*DOMAINS, "no.peer")), self.chance.choice(NAMES)
        return self.chance.choices((name, f"{name} via {domain}", f"@{domain}"), weights=(5, 5, 3))[
            0
        ]

    def _here(self, owner: str, path: Path) -> Path:
        """Return a path that the owner very likely has."""
        known = [one for one in self.rules.members[owner].names if len(one) > 1]
        return self.chance.choice(known) if known and self.chance.random() < 0.6 else path

    def _draw(self, right: str = "", *, there: bool = False) -> tuple[Who, str, Path]:
        """Return who asks whom for what: often somebody who has a right there; ``there``: what is there."""
        owner = self.chance.choice(DOMAINS)
        rules = self.rules.members[owner]
        held = [one for one in rules.grants if rules.holds(one) and right in {"", *one.rights}]
        if not held or self.chance.random() < 0.4:
            who = self._who()
            owner = self._owner(who)
            path = self._path()
            return who, owner, self._here(owner, path) if there else path
        grant = self.chance.choice(held)
        foreign = [one for one in held if one.whose.voucher != owner]
        if foreign and self.chance.random() < 0.6:
            grant = self.chance.choice(foreign)
        who = grant.whose if grant.whose.name else self._of_member(grant.whose.voucher)
        some = rules.names if there and self.chance.random() < 0.8 else PATHS
        below = [one for one in some if one[: len(grant.path)] == grant.path]
        return who, owner, self.chance.choice(below or [grant.path])

    # --- calls -----------------------------------------------------------------------------------

    def _wire(self, who: Who) -> Wire:
        wire = Wire(self.exchange.served[SpiffeId.coordinator(Domain(who.voucher))], id_of(who))
        if self.chance.random() < 0.1:  # what people say of themselves counts for nothing
            wire.headers = {PRINCIPAL_KEY: str(id_of(Who(self.chance.choice(DOMAINS))))}
        return wire

    def _control(self) -> Control:
        return Control(LoopClock(), retry_s=0.0)

    def _names(self, who: Who) -> RemoteNames:
        return RemoteNames.over(self._wire(who), self._control())

    def _people(self, who: Who) -> RemotePeople:
        return RemotePeople.over(self._wire(who), self._control())

    @staticmethod
    def _at(who: Who, owner: str, path: Path) -> FilePath:
        """Return a path as it is called at home."""
        return FilePath(path if owner == who.voucher else (f"@{owner}", *path))

    async def _compare(
        self, act: str, who: Who, owner: str, told: str, expected: int, work: Awaitable[T]
    ) -> T | None:
        """Await ``work``; return its result if it is done, and fail if that is not what was expected."""
        result: T | None = None
        try:
            result = await work
            found, why = DONE, ""
        except CollectiveError as error:
            found, why = int(error.exit_code), f": {error.message}"
        where = "home" if owner == who.voucher else "peer"
        line = f"{self.steps} {who.name or 'operator'} by {who.voucher}: {act} {told} -> {found}"
        self.trace.append(line)
        self.outcomes[act, where, expected] += 1
        is_same = (
            found in {USAGE, ABSENT, CONFLICT} if expected == IMPOSSIBLE else found == expected
        )
        self.require(is_same, f"{line}{why}; expected {expected}")
        return result

    def _expected(self, who: Who, owner: str, decide: Callable[[Rules], int]) -> int:
        found = self.rules.way(who, owner)
        return decide(self.rules.members[owner]) if found == DONE else found

    # --- looking ---------------------------------------------------------------------------------

    async def stat(self) -> None:
        who, owner, path = self._draw(there=True)
        expected = self._expected(who, owner, lambda rules: rules.stat(who, path))
        at = self._at(who, owner, path)
        if owner == who.voucher and self.chance.random() < 0.05:
            at, expected = FilePath((f"@{owner}", *path)), self._not_by_its_name(who)
        entry = await self._compare(
            "stat", who, owner, str(at), expected, self._names(who).stat(_call(who), at)
        )
        if entry is not None:
            self._require_shown(who, owner, path, entry)

    def _not_by_its_name(self, who: Who) -> int:
        return CONFLICT if who in self.rules.members[who.voucher].shut_out else ABSENT

    def _require_shown(
        self, who: Who, owner: str, path: Path, entry: Entry, *, is_known: bool = False
    ) -> None:
        """No more is said of an entry than may be known; ``is_known``: it was read where it comes from."""
        self.require(entry.path == self._at(who, owner, path), f"told of {entry.path}")
        if path and not is_known:
            may_read = "r" in self.rules.members[owner].rights(who, path)
            is_whole = entry.modified_ns is not None
            self.require(is_whole == may_read, f"of {entry.path}, whole is {is_whole}")

    async def list(self) -> None:
        who, owner, path = self._draw(there=True)
        path = () if self.chance.random() < 0.2 else path
        await self._list(who, owner, path, deep=self.chance.random() < 0.4)

    async def _list(self, who: Who, owner: str, path: Path, *, deep: bool) -> None:
        rules = self.rules.members[owner]
        at = self._at(who, owner, path)
        expected = self._expected(who, owner, lambda rules: rules.list(who, path))
        size = self.chance.choice((0, 2))
        told = f"{'-R ' if deep else ''}{at}"
        entries = await self._compare(
            "ls", who, owner, told, expected, _pages(self._names(who), who, at, size, deep=deep)
        )
        if entries is None:
            return
        below = {str(self._at(who, owner, one)) for one in rules.seen_in(who, path, deep=deep)}
        if owner == who.voucher and not path:
            below |= {f"/@{domain}" for domain in rules.peers}
        found = [str(entry.path) for entry in entries]
        self.require(sorted(found) == sorted(below), f"ls {at} shows {found}, not {sorted(below)}")

    async def read(self) -> None:
        await self.read_at(*self._draw("r", there=True))

    async def read_at(self, who: Who, owner: str, path: Path) -> None:
        at = self._at(who, owner, path)
        expected = self._expected(who, owner, lambda rules: rules.read(who, path))
        data = await self._compare(
            "read", who, owner, str(at), expected, _read(self._wire(who), at)
        )
        if data is not None:
            text = self.rules.members[owner].names[path]
            self.require(data == text.encode(), f"{at} has {data!r}, not {text}")

    # --- changing --------------------------------------------------------------------------------

    async def write(self) -> None:
        await self.write_at(*self._draw("w"))

    async def write_at(self, who: Who, owner: str, path: Path) -> None:
        number = next(self._texts)
        text = f"text {number if self.chance.random() < 0.5 else number % 5}"
        at = self._at(who, owner, path)
        expected = self._expected(who, owner, lambda rules: rules.write(who, path))
        await self._compare(
            "write", who, owner, str(at), expected, _write(self._wire(who), at, text)
        )
        if expected == DONE:
            self.rules.members[owner].names[path] = text

    async def mkdir(self) -> None:
        await self.mkdir_at(*self._draw("w"))

    async def mkdir_at(self, who: Who, owner: str, path: Path) -> None:
        at = self._at(who, owner, path)
        expected = self._expected(who, owner, lambda rules: rules.mkdir(who, path))
        made = self._names(who).make_directory(_call(who), at, parents=False)
        entry = await self._compare("mkdir", who, owner, str(at), expected, made)
        if entry is not None:
            self.rules.members[owner].names[path] = ""
            self._require_shown(who, owner, path, entry)

    async def remove(self) -> None:
        who, owner, path = self._draw("w", there=True)
        deep = self.chance.random() < 0.4
        at = self._at(who, owner, path)
        expected = self._expected(who, owner, lambda rules: rules.remove(who, path, deep=deep))
        removed = self._names(who).remove(_call(who), at, recursive=deep, condition=ANY)
        told = f"{'-r ' if deep else ''}{at}"
        gone = await self._compare("rm", who, owner, told, expected, removed)
        if gone is not None:
            names = self.rules.members[owner].names
            below = self.rules.members[owner].below(path)
            self.require(gone == Removed(len(below), is_all=True), f"{gone} are gone, not {below}")
            for one in below:
                del names[one]

    async def move(self) -> None:
        who = self._who()
        owner = self._owner(who)
        source, target = self._here(owner, self._path()), self._path()
        if self.chance.random() < 0.5:
            who, owner, source, target = self._likely_move() or (who, owner, source, target)
        to = owner if self.chance.random() < 0.95 else self.chance.choice(DOMAINS)
        old, new = self._at(who, owner, source), self._at(who, to, target)
        expected = self._expected(who, owner, lambda rules: rules.move(who, source, target))
        if to != owner:
            expected = self._not_moved(who, owner, to)
        moving = self._names(who).move(_call(who), old, new, condition=ANY)
        entry = await self._compare("mv", who, owner, f"{old} {new}", expected, moving)
        if entry is not None:
            if source != target:
                self.rules.members[owner].moved(source, target)
            self._require_shown(who, owner, target, entry, is_known=True)

    def _not_moved(self, who: Who, source: str, target: str) -> int:
        """Nothing is moved from one member to another, whoever asks."""
        home = self.rules.members[who.voucher]
        if who in home.shut_out:
            return CONFLICT
        known = {home.domain, *home.peers}
        return CONFLICT if {source, target} <= known else ABSENT

    def _likely_move(self) -> tuple[Who, str, Path, Path] | None:
        """Return a move of what is there, by somebody who may write to both ends."""
        owner = self.chance.choice(DOMAINS)
        rules = self.rules.members[owner]
        free = [one for one in PATHS[1:] if one not in rules.names and rules.is_folder(one[:-1])]
        possible = [
            (who, owner, source, target)
            for who in EVERYBODY
            for source in rules.names
            if source and {"r", "w"} <= rules.rights(who, source)
            for target in free
            if "w" in rules.rights(who, target)
        ]
        return self.chance.choice(possible) if possible else None

    async def copy(self) -> None:
        who, *_ = self._draw()
        one, other = self._owner(who), self._owner(who)
        source, target = self._here(one, self._path()), self._path()
        if self.chance.random() < 0.5:
            who, one, source, other, target = self._likely_copy(who) or (
                who, one, source, other, target,
            )  # fmt: skip
        await self.copy_at(who, (one, source), (other, target))

    async def copy_at(self, who: Who, old: tuple[str, Path], new: tuple[str, Path]) -> None:
        (one, source), (other, target) = old, new
        source_at, target_at = self._at(who, one, source), self._at(who, other, target)
        unless_same = old != new and self.chance.random() < 0.3
        is_same = unless_same and self.rules.is_same(who, old, new)
        expected = DONE if is_same else self.rules.copy(who, old, new)
        remote = RemoteCopying.over(self._wire(who), LoopClock())
        copying = remote.copy(source_at, target_at, ANY, unless_same=unless_same)
        where = one if one == other else f"{one}+{other}"
        told = f"{source_at} {target_at}"
        done = await self._compare("cp", who, where, told, expected, copying)
        if done is not None:
            self.require(done[1] == is_same, f"the same is {done[1]}")
            text = self.rules.members[one].names[source]
            self.rules.members[other].names[target] = text
            self._require_shown(who, other, target, done[0], is_known=True)

    def _likely_copy(self, who: Who) -> tuple[Who, str, Path, str, Path] | None:
        """Return a copy of a file to where a file may lie, by somebody with a right to one of both."""
        possible = []
        for one, other in itertools.product(DOMAINS, repeat=2):
            here, there = self.rules.members[one], self.rules.members[other]
            files = [path for path, text in here.names.items() if text]
            places = [path for path in PATHS if len(path) > 1 and there.is_folder(path[:-1])]
            for source, target in itertools.product(files, places):
                may = ("r" in here.rights(who, source)) + ("w" in there.rights(who, target))
                possible += [(who, one, source, other, target)] * (0, 1, 8)[may]
        return self.chance.choice(possible) if possible else None

    # --- grants ----------------------------------------------------------------------------------

    async def give(self) -> None:
        who = self._who()
        owner = self._owner(who)
        path, rights = self._path(), self._rights()
        rules = self.rules.members[owner]
        held = [one for one in rules.grants if rules.holds(one)]
        if len(held) >= GRANTS_MOST:
            await self.ungrant(Who(owner), owner, self.chance.choice(held))
            return
        sharing = [one for one in held if "s" in one.rights and one.path]
        if sharing and self.chance.random() < 0.4:
            one = self.chance.choice(sharing)
            owner, path = rules.domain, one.path
            who = one.whose if one.whose.name else self._of_member(one.whose.voucher)
            rights = one.rights if self.chance.random() < 0.7 else rights
        await self.grant(who, owner, path, rights, self._receiver())

    def _of_member(self, domain: str) -> Who:
        return Who(domain, self.chance.choice(PEOPLE[domain]))

    async def grant(self, who: Who, owner: str, path: Path, rights: Rights, text: str) -> None:
        rules = self.rules.members[owner]
        at = self._at(who, owner, path)
        life_s = self.chance.choice(LIVES_S)
        until_s = NEVER if life_s is None else round(rules.now_s + life_s, 3)
        expected = self._expected(who, owner, lambda rules: rules.to_give(who, path, rights, text))
        adding = self._people(who).add_grant(
            at, bits(rights), text, expires_ms=0 if life_s is None else round(until_s * 1000)
        )
        told = f"add {at} {''.join(sorted(rights))} {text} for {life_s}"
        made = await self._compare("grant", who, owner, told, expected, adding)
        if made is not None:
            self._keep(who, owner, path, rights, text, until_s, made)

    def _keep(
        self,
        who: Who,
        owner: str,
        path: Path,
        rights: Rights,
        text: str,
        until_s: float,
        made: Grant,
    ) -> None:
        rules = self.rules.members[owner]
        receiver = rules.receiver(text)
        assert receiver is not None
        self.require(who_of(made.principal) == receiver, f"given to {made.principal}")
        self.require(who_of(made.granted_by) == who, f"given by {made.granted_by}")
        self.require(made.path == self._at(who, owner, path), f"given on {made.path}")
        self.require(letters(made.rights) == rights, f"given {made.rights!r}")
        named = [self._id_at_owner(who, owner, one) for one in made.sources]
        came_from = rules.comes_from(who, path, rights, named)
        ends_s = min([until_s, *(one.ends_s for one in came_from)])
        found_s = NEVER if made.expires_s is None else made.expires_s
        self.require(
            found_s == ends_s or abs(found_s - ends_s) < 0.002,
            f"ends at {found_s}, not {ends_s}",
        )
        given_id = self._id_at_owner(who, owner, made.id)
        self.trace[-1] += f" {given_id[:6]} from {[one[:6] for one in named]}"
        rules.grants.append(Right(given_id, path, rights, receiver, who, found_s, came_from))

    def _id_at_owner(self, who: Who, owner: str, text: str) -> str:
        if owner == who.voucher:
            return text
        self.require(text.endswith(f"@{owner}"), f"{text} is not called by {owner}")
        return text.partition("@")[0]

    async def end(self) -> None:
        who = self._who()
        owner = self._owner(who)
        rules = self.rules.members[owner]
        held = [one for one in rules.grants if rules.holds(one)]
        gone = [one for one in rules.grants if one.is_gone]
        some = self.chance.choices((held, gone, []), weights=(8, 1, 1))[0]
        grant = self.chance.choice(some) if some else None
        if grant is not None and self.chance.random() < 0.5:
            who = self.chance.choice((grant.giver, grant.whose))
        await self.ungrant(who, owner, grant)

    async def ungrant(self, who: Who, owner: str, grant: Right | None) -> None:
        named = "0" * 32 if grant is None else grant.id
        text = named if owner == who.voucher else f"{named}@{owner}"
        expected = self._expected(who, owner, lambda rules: rules.to_end(who, grant))
        removing = self._people(who).remove_grant(text)
        told = f"remove {named[:6]} at {owner}"
        await self._compare("ungrant", who, owner, told, expected, removing)
        if expected == DONE and grant is not None:
            self.rules.members[owner].end(grant)

    async def list_grants(self) -> None:
        who, owner, _ = self._draw()
        await self.list_grants_at(who, owner)

    async def list_grants_at(self, who: Who, owner: str) -> None:
        def decide(rules: Rules) -> int:
            return rules.refusal(who) if who in rules.shut_out else DONE

        domain = "" if owner == who.voucher else owner
        expected = self._expected(who, owner, decide)
        listing = self._people(who).grants(domain=domain)
        found = await self._compare("grants", who, owner, f"list {owner}", expected, listing)
        if found is not None:
            shown = {self._id_at_owner(who, owner, one.id) for one in found}
            wanted = self.rules.members[owner].shown(who)
            more, less = shown - wanted, wanted - shown
            self.require(not more | less, f"shown {more} too much, {less} not")

    # --- what changes around them ----------------------------------------------------------------

    async def wait(self) -> None:
        seconds = self.chance.choice((1.0, 29.0, 31.0, 200.0, 301.0))
        self.trace.append(f"{self.steps} {seconds} s pass")
        self._tick(seconds)

    async def change_peering(self) -> None:
        one, other = self.chance.sample(DOMAINS, 2)
        here, there = self.rules.members[one], self.rules.members[other]
        if other not in here.peers:
            await self.accept(one, other)
            if self.chance.random() < 0.7:
                await self.accept(other, one)
        elif one not in there.peers:
            if self.chance.random() < 0.5:
                await self.remove_peer(one, other, by_them=True)
        elif self.chance.random() < 0.4:
            await self.remove_peer(one, other, by_them=False)

    async def accept(self, one: str, other: str) -> None:
        self.trace.append(f"{self.steps} {one} peers with {other}")
        await self.houses[Domain(one)].peer_with(self.houses[Domain(other)])
        self.rules.members[one].peers.add(other)

    async def remove_peer(self, one: str, other: str, *, by_them: bool) -> None:
        how = "hears that it is no peer any more of" if by_them else "removes its peer"
        self.trace.append(f"{self.steps} {one} {how} {other}")
        await self.houses[Domain(one)].remove_peer(Domain(other), by_them=by_them)
        self.rules.members[one].drop_peer(other)

    async def shut_out(self) -> None:
        """Revoke somebody of a member's own, or now and then of another's, for good."""
        owner = self.chance.choice(DOMAINS)
        rules = self.rules.members[owner]
        givers = [one.giver for one in rules.grants if rules.holds(one) and one.giver.name]
        who = self.chance.choice(givers if givers and self.chance.random() < 0.5 else EVERYBODY)
        is_own = who.voucher == owner
        most = SHUT_OUT_MOST if is_own else 1
        before = [one for one in rules.shut_out if (one.voucher == owner) == is_own]
        if who in rules.shut_out or len(before) >= most or self.chance.random() < 0.7:
            return
        await self.revoke(owner, who)

    async def revoke(self, owner: str, who: Who) -> None:
        self.trace.append(f"{self.steps} {owner} revokes {who}")
        await self.houses[Domain(owner)].revoke(id_of(who))
        self.rules.members[owner].shut_out.add(who)

    # --- inventions ------------------------------------------------------------------------------

    async def invent(self) -> None:
        """Call as a peer's coordinator, or as its people without one, for what must not be had."""
        owner, peer = self.chance.sample(DOMAINS, 2)
        served = self.exchange.served[SpiffeId.coordinator(Domain(owner))]
        coordinator = Who(peer)
        somebody = self.chance.choice([one for one in EVERYBODY if one.voucher == peer])
        third = next(one for one in DOMAINS if one not in {owner, peer})
        claimed = self.chance.choice(
            [
                "",
                "nobody",
                str(id_of(Who(owner))),
                str(id_of(coordinator)),
                f"spiffe://{peer}/node/n1",
                *(str(id_of(one)) for one in EVERYBODY if one.voucher != peer),
            ]
        )
        how = self.chance.choice(("claim", "claim", "alone", "further", "method"))
        wire = Wire(served, id_of(somebody if how == "alone" else coordinator))
        wire.headers = {PRINCIPAL_KEY: claimed if how == "claim" else str(id_of(somebody))}
        expected, path = DENIED, FilePath(self._path())
        work: Awaitable[Any]
        if how == "further":
            path = FilePath((f"@{self.chance.choice((owner, peer, third))}", *path.names))
            expected = CONFLICT if peer in self.rules.members[owner].peers else DENIED
        if how == "alone" and somebody in self.rules.members[owner].shut_out:
            expected = CONFLICT
        if how == "method":
            work = self._not_for_peers(wire)
        elif self.chance.random() < 0.3 and how != "further":
            work = RemotePeople.over(wire, self._control()).grants()
        else:
            work = RemoteNames.over(wire, self._control()).stat(_call(coordinator), path)
        told = f"{how} {wire.headers[PRINCIPAL_KEY]} {path} at {owner}"
        await self._compare("invent", coordinator, owner, told, expected, work)

    def _not_for_peers(self, wire: Wire) -> Awaitable[Any]:
        people = RemotePeople.over(wire, self._control())
        at = FilePath(("a",))
        return self.chance.choice(
            (
                people.add_device,
                people.invites,
                lambda: PeopleStub(wire).list_identities(ListIdentitiesRequest()),  # type: ignore[arg-type]
                lambda: _read(wire, at),
                lambda: _write(wire, at, "x"),
                lambda: RemoteCopying.over(wire, LoopClock()).copy(at, at.child("b"), ANY),
            )
        )()

    # --- all of it -------------------------------------------------------------------------------

    async def audit(self) -> None:
        """Compare all that each member has, as its operator sees it."""
        for domain in DOMAINS:
            await self._list(Who(domain), domain, (), deep=True)
            await self.list_grants_at(Who(domain), domain)


def _call(who: Who) -> Call:
    return Call.of_client(id_of(who))


async def _pages(
    names: RemoteNames, who: Who, at: FilePath, size: int, *, deep: bool
) -> list[Entry]:
    found: list[Entry] = []
    token = ""
    while True:
        page = await names.list(_call(who), at, recursive=deep, page_size=size, token=token)
        found += page.entries
        token = page.next_token
        if not token:
            return found


async def _read(wire: Wire, at: FilePath) -> bytes:
    answers = wire.stub(StreamsStub).read(ReadRequest(path=str(at)))
    return b"".join([answer.data async for answer in answers])


async def _write(wire: Wire, at: FilePath, text: str) -> object:
    async def messages() -> AsyncIterator[WriteRequest]:
        yield WriteRequest(header=WriteHeader(path=str(at)))
        yield WriteRequest(data=text.encode())

    return await wire.stub(StreamsStub).write(messages())
