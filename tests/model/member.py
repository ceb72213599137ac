"""What a member's catalogue must know and answer, in plain dictionaries and the words of its contract.

Slow and plain on purpose: no batches, no steps, no row numbers, and no rule of the product is imported.
Where the contract leaves a choice (which nodes, when something unneeded goes), the model is told what was
chosen and checks it; :class:`Mismatch` says what was wrong with it.

Who may do what is ``permission_model``, as plain as this.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn, TypeVar

from tests.contract.catalog.permission_model import OPERATOR, Path, Policy
from tests.contract.catalog.permission_model import Held as Grant
from tests.contract.catalog.permission_model import Model as People

T = TypeVar("T")

LIFE_S: Final = 7 * 24 * 3600
"""An upload lives so long from its last progress."""
IDLE_S: Final = 600
"""After so long without progress it gives way to who needs its room."""
ANSWER_S: Final = 3600
"""So long a commit that is repeated has its answer."""
QUIET_S: Final = 120
"""For so long after a start nothing that was replaced or removed goes: readers may come back."""
NAME, EXTENT, HOLE = 1024, 512, 64
"""What rows count for in a quota (docs/operations.md)."""
LATE_S: Final = 900
"""What was given up no longer ago stays noted though its node does not tell of it: it may have come since."""
ATTRIBUTES: Final = 2
"""The metadata of a file that has none, as it is kept."""


GONE: Final = "gone"
"""Absent, or denied where the right went too: what is remembered of an ended upload is nobody's word."""


class Refusal(Exception):  # noqa: N818 - an answer, no fault
    """The act is refused; the argument is the kind of refusal, in a word."""

    told_of_pieces = False
    """It was a commit whose pieces are safe; the file is refused."""


class Mismatch(AssertionError):  # noqa: N818 - as above
    """The catalogue did what it may not do."""


def refuse(kind: str) -> NoReturn:
    """Refuse an act."""
    raise Refusal(kind)


def require(is_fine: object, *told: object) -> None:
    """Raise Mismatch unless ``is_fine``."""
    if not is_fine:
        raise Mismatch(*told)


@dataclass
class Node:
    """A node that was enrolled."""

    standing: str = "approved"
    before: str = ""
    """Its standing before it was doubted."""
    draining: bool = False
    removed: bool = False

    @property
    def trusted(self) -> bool:
        return not self.removed and self.standing != "doubted"


@dataclass
class Held:
    """A copy of a chunk."""

    generation: int
    state: str
    """intent, stored, missing, doubted"""


@dataclass
class Chunk:
    """What is known of a chunk."""

    copies: dict[str, Held] = field(default_factory=dict)
    given_up: dict[tuple[str, int], bool] = field(default_factory=dict)
    """By node and generation; True: it is corrupt."""
    since_s: dict[tuple[str, int], int] = field(default_factory=dict)
    """When each was given up."""
    wanted: int = 0
    """As the catalogue said last."""
    pinned_most: int = 0
    """The most that an upload asked for that named it."""

    def give_up(self, node: str, generation: int, now_s: int, *, is_corrupt: bool = False) -> None:
        """Note that a copy counts no more, and is kept until others are confirmed."""
        self.given_up[node, generation] = is_corrupt
        self.since_s.setdefault((node, generation), now_s)

    def forget(self, node: str, generation: int) -> None:
        """Note that a copy that was given up is gone, or back."""
        del self.given_up[node, generation]
        del self.since_s[node, generation]


@dataclass(frozen=True)
class File:
    """One version of a file."""

    version: int
    size: int
    extents: tuple[tuple[int, int, str], ...]
    """Offset, length, chunk."""
    holes: tuple[tuple[int, int], ...]

    @property
    def data(self) -> int:
        return sum(length for _, length, _ in self.extents)

    @property
    def rows(self) -> int:
        return NAME + ATTRIBUTES + EXTENT * len(self.extents) + HOLE * len(self.holes)

    def holds(self, chunk: str) -> bool:
        return any(one == chunk for _, _, one in self.extents)


@dataclass
class Name:
    """What a path names; it stays itself where it is moved."""

    file: File | None = None


@dataclass
class Old:
    """A version that was replaced or removed, and lay at ``place``."""

    file: File
    place: Path
    since_s: int


@dataclass
class Upload:
    """A file coming in."""

    who: str
    path: Path
    copies: int
    if_version: int
    if_absent: bool
    datastore: Name
    """The one in which it began."""
    touched_s: int
    state: str = "open"
    """open, ended, committed"""
    pins: dict[str, bool] = field(default_factory=dict)
    """The chunks that it named; True: what is stored counts for it."""
    sent: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    """By chunk and node: the generation, and whether a receipt was shown."""
    extents: dict[int, tuple[int, str]] = field(default_factory=dict)
    holes: dict[int, int] = field(default_factory=dict)
    reach: int = 0
    reserved: int = 0
    credit: int = 0
    may_be_behind: bool = False
    """Some copy stopped counting since its extents were looked at."""
    answer: File | None = None

    @property
    def recorded(self) -> int:
        return sum(length for length, _ in self.extents.values())

    @property
    def adds(self) -> int:
        return max(0, self.reserved - self.credit)

    def received(self, chunk: str) -> list[str]:
        return [node for (one, node), (_, shown) in self.sent.items() if one == chunk and shown]


@dataclass(frozen=True)
class Receipt:
    """A node's word that it stored a copy."""

    upload: str
    chunk: str
    node: str
    generation: int
    length: int
    """Of the chunk, stored."""


@dataclass(frozen=True)
class Batch:
    """What one call about an upload names."""

    intents: tuple[tuple[int, int, str], ...] = ()
    holes: tuple[tuple[int, int], ...] = ()
    offers: tuple[str, ...] = ()
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Given:
    """What the catalogue answered for one chunk of a batch."""

    chunk: str
    stored: bool
    held: frozenset[str]
    targets: tuple[tuple[str, int], ...]
    """Node and generation."""
    quorum: int


def counts(standings: Iterable[str]) -> int:
    """Return how many copies count on nodes of these standings: those on probation as a minority."""
    found = list(standings)
    approved = found.count("approved")
    return approved + min(found.count("probation"), max(0, approved - 1))


def quorum_of(copies: int) -> int:
    return copies // 2 + 1


class Member:
    """The model: what it is told to do, it does or refuses."""

    def __init__(
        self, now_s: int, default_copies: int, stored_length: Callable[[int], int]
    ) -> None:
        """Begin empty, at ``now_s``; ``stored_length`` is that of a chunk with so many bytes."""
        self.now_s = self.started_s = now_s
        self.default_copies = default_copies
        self.stored_length = stored_length
        self.people = People(float(now_s))
        self.names: dict[Path, Name] = {(): Name()}
        self.nodes: dict[str, Node] = {}
        self.chunks: dict[str, Chunk] = {}
        self.lengths: dict[str, int] = {}
        self.uploads: dict[str, Upload] = {}
        self.old: list[Old] = []
        self.last_version = 0
        self.given = 0
        self.unsure = ""
        """An upload of which nobody can tell what a refused commit has kept."""
        self.generations: dict[tuple[str, str], set[int]] = {}
        """Every generation that was given out, by chunk and node."""

    # --- whole or not at all -----------------------------------------------------------------------

    def attempt(self, work: Callable[[], T]) -> T:
        """Do ``work``; refused, nothing has changed."""
        kept = copy.deepcopy(self.__dict__)
        try:
            return work()
        except Refusal:
            self.__dict__.clear()
            self.__dict__.update(kept)
            raise

    def wait(self, seconds: int) -> None:
        self.now_s += seconds
        self.people.now_s = float(self.now_s)

    # --- names -------------------------------------------------------------------------------------

    def kind(self, path: Path) -> str | None:
        found = self.names.get(path)
        return None if found is None else "dir" if found.file is None else "file"

    def below(self, path: Path) -> list[Path]:
        return [other for other in self.names if other[: len(path)] == path]

    def may(self, who: str, letters: str, path: Path) -> None:
        if not set(letters) <= self.people.rights(who, path):
            refuse("denied")

    def admin(self, who: str) -> None:
        if not self.people.is_admin(who):
            refuse("denied")

    def make(self, who: str, path: Path, *, parents: bool) -> str:
        self.may(who, "w", path)
        if not path:
            return "dir" if parents else refuse("conflict")
        new: list[Path] = []
        for depth in range(1, len(path) + 1):
            at = path[:depth]
            kind = self.kind(at)
            if kind == "file" or (kind == "dir" and at == path and not parents):
                refuse("conflict")
            if kind is None:
                if at != path and not parents:
                    refuse("absent")
                self.may(who, "w", at)
                new.append(at)
        self.room(self.top(path), NAME * sum(len(at) > 1 for at in new))
        for at in new:
            self.names[at] = Name()
        return "dir"

    def remove(self, who: str, path: Path, *, recursive: bool, if_absent: bool) -> int:
        self.may(who, "w", path)
        if not path:
            refuse("usage")
        if path not in self.names:
            refuse("absent")
        self._may_dispose(who, path)
        if if_absent:
            refuse("conflict")
        gone = self.below(path)
        if len(gone) > 1 and not recursive:
            refuse("conflict")
        for one in gone:
            self._retire(one)
            del self.names[one]
        self._disown(path)
        return len(gone)

    def move(
        self, who: str, source: Path, target: Path, users: Sequence[str], *, if_absent: bool
    ) -> str:
        if not self.people.may_move(who, source, target, users):
            refuse("denied")
        if source in self.names:
            self._may_dispose(who, source)
        kind = self._require_movable(source, target)
        if source == target:
            return kind
        if target in self.names:
            if if_absent or kind != "file" or self.kind(target) != "file":
                refuse("conflict")
            self._retire(target)
            del self.names[target]
        before, after = self.top(source), self.top(target)
        tree = self.below(source)
        charge = sum(self.charge(self.names[one]) for one in tree)
        self._move_policy(who, source, target)
        moving = {one: self.names.pop(one) for one in tree}
        if len(target) > 1 and after is not before:
            self.room(after, charge)
        for one, name in moving.items():
            self.names[target + one[len(source) :]] = name
        return kind

    def _require_movable(self, source: Path, target: Path) -> str:
        """Return what is at ``source``, if it may go to ``target`` as far as names are concerned."""
        if not source or not target:
            refuse("usage")
        kind = self.kind(source)
        if kind is None:
            return refuse("absent")
        if source != target and target[: len(source)] == source:
            refuse("conflict")
        parent = self.kind(target[:-1])
        if parent is None:
            refuse("absent")
        if parent == "file" or (kind == "file" and len(target) == 1):
            refuse("conflict")
        return kind

    def _move_policy(self, who: str, source: Path, target: Path) -> None:
        """A datastore that is renamed keeps its policy; its owner goes with it where an admin moves it."""
        policy = self._disown(source)
        if policy is None or len(target) > 1:
            return
        self.people.policies[target] = policy
        owner, policy.owner = policy.owner, None
        if owner is not None and self.people.keeps_owner(who):
            self._own(target, policy, owner.whose)

    def _own(self, path: Path, policy: Policy, who: str) -> None:
        self.given += 1
        policy.owner = Grant(
            f"owner{self.given}", path, frozenset("rws"), who, OPERATOR, math.inf, []
        )  # fmt: skip
        self.people.grants.append(policy.owner)

    def give(self, who: str, path: Path, letters: str) -> None:
        self.given += 1
        self.people.grants.append(
            Grant(f"given{self.given}", path, frozenset(letters), who, OPERATOR, math.inf, [])
        )

    def _may_dispose(self, who: str, path: Path) -> None:
        if not self.people.may_take_away(who, path):
            refuse("denied")

    def _disown(self, path: Path) -> Policy | None:
        policy = self.people.policies.pop(path, None)
        if policy is not None and policy.owner is not None:
            policy.owner.ended = True
        return policy

    def _retire(self, path: Path) -> None:
        file = self.names[path].file
        if file is not None:
            self.old.append(Old(file, path, self.now_s))

    def files(self) -> dict[Path, File]:
        return {path: name.file for path, name in self.names.items() if name.file is not None}

    # --- datastores and quotas -----------------------------------------------------------------------

    def top(self, path: Path) -> Name | None:
        """Return the datastore that ``path`` lies in."""
        return self.names.get(path[:1]) if path else None

    def policy(self, path: Path) -> Policy:
        return self.people.policies.get(path[:1], Policy())

    def copies_at(self, path: Path) -> int:
        return self.policy(path).copies or self.default_copies

    def set_policy(
        self,
        who: str,
        path: Path,
        copies: int | None,
        quota: int | None,
        owner: str | None,
        *,
        create: bool,
    ) -> tuple[int, int, str | None]:
        self.admin(who)
        if create:
            if path in self.names:
                refuse("conflict")
            self.names[path] = Name()
        elif path not in self.names:
            refuse("absent")
        policy = self.people.policies.setdefault(path, Policy())
        policy.copies = policy.copies if copies is None else copies
        policy.quota = policy.quota if quota is None else quota
        had = None if policy.owner is None else policy.owner.whose
        if owner is not None and owner != (had or "member"):
            if policy.owner is not None:
                policy.owner.ended = True
                policy.owner = None
            if owner != "member":
                self._own(path, policy, owner)
        return policy.copies, policy.quota, None if policy.owner is None else policy.owner.whose

    @staticmethod
    def charge(name: Name) -> int:
        return NAME if name.file is None else name.file.data + name.file.rows

    def used(self, datastore: Name) -> int:
        return sum(
            self.charge(name)
            for path, name in self.names.items()
            if len(path) > 1 and self.top(path) is datastore
        )

    def room(
        self,
        datastore: Name | None,
        more: int,
        but: Upload | None = None,
        *,
        also_open: bool = True,
    ) -> None:
        """Refuse what would pass the quota; uploads that stand still give way, if that is enough."""
        path = next(
            (p for p, name in self.names.items() if len(p) == 1 and name is datastore), None
        )
        if path is None or datastore is None or more <= 0 or not self.policy(path).quota:
            return None
        lacking = self.used(datastore) + more - self.policy(path).quota
        if lacking > 0 or not also_open:
            return refuse("no space") if lacking > 0 else None
        others = [
            one for one in self.uploads.values()
            if one.datastore is datastore and self.is_live(one) and one is not but
        ]  # fmt: skip
        lacking += sum(one.adds for one in others)
        idle = [one for one in others if one.touched_s <= self.now_s - IDLE_S and one.adds]
        idle.sort(key=lambda one: one.touched_s)
        if lacking > sum(one.adds for one in idle):
            refuse("no space")
        for one in idle:
            if lacking <= 0:
                return None
            one.state = "ended"
            lacking -= one.adds
        return None

    def figures(self) -> dict[Path, tuple[int, int, int, int]]:
        """Return copies, quota, and what files and their rows count for, of each datastore."""
        found: dict[Path, tuple[int, int, int, int]] = {}
        for path, name in self.names.items():
            if len(path) == 1:
                policy = self.policy(path)
                inside = [f for at, f in self.files().items() if at[:1] == path]
                data = sum(file.data for file in inside)
                found[path] = (policy.copies, policy.quota, data, self.used(name) - data)
        return found

    # --- nodes ---------------------------------------------------------------------------------------

    def node(self, name: str) -> Node:
        node = self.nodes.get(name)
        if node is None or node.removed:
            refuse("absent")
        return node

    def drain(self, who: str, name: str, *, draining: bool) -> None:
        self.admin(who)
        self.node(name).draining = draining

    def approve(
        self, who: str, names: Sequence[str], *, even_doubted: bool
    ) -> list[tuple[str, str]]:
        self.admin(who)
        told = []
        for name in names:
            node = self.node(name)
            if node.standing == "doubted" and not even_doubted:
                refuse("conflict")
            told.append((name, node.standing))
            node.standing, node.before = "approved", ""
        return told

    def doubt(self, name: str) -> bool:
        node = self.nodes[name]
        if node.removed or node.standing == "doubted":
            return False
        node.before, node.standing = node.standing, "doubted"
        self._something_went()
        return True

    def clear(self, name: str) -> bool:
        node = self.nodes[name]
        if node.standing != "doubted":
            return False
        node.standing, node.before = node.before, ""
        return True

    def remove_node(self, name: str, *, force: bool) -> None:
        node = self.node(name)
        if not force:
            for text, chunk in self.chunks.items():
                here = chunk.copies.get(name)
                if here is not None and here.state != "intent" and self.is_in_use(text):
                    is_short = counts(self.standings(text, but=name)) < quorum_of(chunk.wanted)
                    if is_short or (here.state == "stored" and node.standing != "doubted"):
                        refuse("conflict")
                if any(at == name and not corrupt for (at, _), corrupt in chunk.given_up.items()):
                    refuse("conflict")
        node.removed = True
        for chunk in self.chunks.values():
            chunk.copies.pop(name, None)
            for key in [key for key in chunk.given_up if key[0] == name]:
                chunk.forget(*key)
        self._something_went()

    def _something_went(self) -> None:
        for upload in self.uploads.values():
            upload.may_be_behind = True

    # --- copies --------------------------------------------------------------------------------------

    def standings(self, chunk: str, *, but: str = "") -> list[str]:
        """Return the standing of each trusted node that has a stored copy."""
        return [
            self.nodes[node].standing
            for node, held in self.chunks[chunk].copies.items()
            if held.state == "stored" and self.nodes[node].trusted and node != but
        ]

    def is_live(self, upload: Upload) -> bool:
        return upload.state == "open" and upload.touched_s + LIFE_S > self.now_s

    def of_files(self, chunk: str) -> list[Path]:
        """Return where files lie, or lay that are kept, with the chunk."""
        now = [path for path, file in self.files().items() if file.holds(chunk)]
        return now + [one.place for one in self.old if one.file.holds(chunk)]

    def is_in_use(self, chunk: str) -> bool:
        """Whether a file, an old version that is kept, or an open upload has it."""
        return bool(self.of_files(chunk)) or any(
            one.state == "open" and chunk in one.pins and (one.pins[chunk] or one.received(chunk))
            for one in self.uploads.values()
        )

    def is_named(self, chunk: str) -> bool:
        """Whether it must not be forgotten: something uses it, or is to."""
        return bool(self.of_files(chunk)) or any(
            one.state == "open" and chunk in one.pins for one in self.uploads.values()
        )

    def is_sent(self, chunk: str, node: str, generation: int) -> bool:
        return any(
            one.state == "open" and one.sent.get((chunk, node), (0, False))[0] == generation
            for one in self.uploads.values()
        )

    def inventory(
        self, name: str, told: Mapping[tuple[str, int], int], invented: frozenset[tuple[str, int]]
    ) -> None:
        """Hear what a node says that it has, by chunk and generation, with the length of each.

        ``invented``: those of generations that were never given out.
        """
        self._something_went()
        for text, chunk in self.chunks.items():
            held = chunk.copies.get(name)
            if held is None or held.state == "intent":
                continue
            length = told.get((text, held.generation))
            if length is None:
                held.state = "missing"
            elif (length != self.stored_length(self.lengths[text]) and held.state == "stored") or (
                length == self.stored_length(self.lengths[text]) and held.state == "missing"
            ):
                held.state = "doubted"
        for text, generation in sorted(invented):
            self._take_in(name, text, generation, told[text, generation])
        for text, chunk in self.chunks.items():
            gone = [
                (node, generation)
                for node, generation in chunk.given_up
                if node == name
                and (text, generation) not in told
                and self._is_gone(chunk, node, generation)
            ]
            for absent in gone:
                chunk.forget(*absent)

    def _is_gone(self, chunk: Chunk, node: str, generation: int) -> bool:
        """Tell whether a copy that was given up, and that is not there, will not come any more."""
        since_s = chunk.since_s.get((node, generation))
        return since_s is not None and abs(self.now_s - since_s) >= LATE_S

    def _take_in(self, name: str, text: str, generation: int, length: int) -> None:
        """Take a copy in that the catalogue never gave out, where it is of use."""
        if text not in self.chunks or not self.is_in_use(text):
            return
        chunk = self.chunks[text]
        held = chunk.copies.get(name)
        if length != self.stored_length(self.lengths[text]):
            return
        if held is None or held.state == "missing":
            if held is not None:
                chunk.give_up(name, held.generation, self.now_s)
            chunk.copies[name] = Held(generation, "doubted")

    def take_out(self, node: str, chunk: str, generation: int, *, lost: bool) -> None:
        """Hear that a copy is missing (``lost``) or corrupt."""
        known = self.chunks.get(chunk)
        held = known.copies.get(node) if known is not None else None
        if known is None or held is None or held.generation != generation:
            return
        if held.state == "intent" or (held.state == "missing" and lost):
            return
        self._something_went()
        if lost:
            held.state = "missing"
        else:
            del known.copies[node]
            known.give_up(node, generation, self.now_s, is_corrupt=True)

    def judge(self, node: str, chunk: str, generation: int, verdict: str) -> bool:
        """Hear what a challenge proved; return whether the node is in doubt by it."""
        if verdict in {"missing", "corrupt"}:
            known = self.chunks.get(chunk)
            if known is not None and verdict == "corrupt" and (node, generation) in known.given_up:
                known.given_up[node, generation] = True
            self.take_out(node, chunk, generation, lost=verdict == "missing")
            if (
                known is not None
                and verdict == "missing"
                and self._is_gone(known, node, generation)
            ):
                known.forget(node, generation)
            return False
        held = self.chunks[chunk].copies.get(node) if chunk in self.chunks else None
        if held is not None and held.generation == generation:
            if verdict == "proven" and held.state == "doubted":
                held.state = "stored"
            if verdict == "lied" and held.state == "stored":
                held.state = "doubted"
                self._something_went()
        if verdict == "lied":
            self.doubt(node)
            return True
        return False

    # --- uploads -------------------------------------------------------------------------------------

    def open(
        self,
        who: str,
        path: Path,
        key: str,
        batch: Batch,
        given: Sequence[Given] | None,
        *,
        if_version: int = 0,
        if_absent: bool = False,
    ) -> None:
        """Begin an upload (``key``: as the catalogue called it); ``given``: None where it refused."""
        self.may(who, "w", path)
        self._check_target(path, if_version, if_absent)
        datastore = self.top(path)
        assert datastore is not None
        upload = Upload(
            who, path, self.copies_at(path), if_version, if_absent, datastore, self.now_s
        )  # fmt: skip
        self.uploads[key] = upload
        self._allocate(upload, batch, given)

    def _check_target(self, path: Path, if_version: int, if_absent: bool) -> None:
        if len(path) < 2:
            refuse("usage")
        parent = self.kind(path[:-1])
        if parent is None:
            refuse("absent")
        if parent == "file" or self.kind(path) == "dir":
            refuse("conflict")
        there = self.names.get(path)
        if if_absent and there is not None:
            refuse("conflict")
        number = there.file.version if there is not None and there.file is not None else 0
        if if_version and number != if_version:
            refuse("conflict")

    def active(self, who: str, key: str) -> Upload:
        upload = self.uploads.get(key)
        if upload is None or upload.who != who:
            refuse("absent")
        if upload.state == "ended":
            refuse(GONE)
        self.may(who, "w", upload.path)
        if not self.is_live(upload):
            refuse("absent")
        return upload

    def allocate(self, who: str, key: str, batch: Batch, given: Sequence[Given] | None) -> None:
        upload = self.active(who, key)
        upload.touched_s = self.now_s
        self._allocate(upload, batch, given)

    def _allocate(self, upload: Upload, batch: Batch, given: Sequence[Given] | None) -> None:
        self._add_holes(upload, batch.holes)
        new = 0
        named = {text: length for _, length, text in batch.intents}
        for text, length in named.items():
            self.lengths.setdefault(text, length)
            self.chunks.setdefault(text, Chunk(wanted=upload.copies))
            known = self.chunks[text]
            known.pinned_most = max(known.pinned_most, upload.copies)
            if text not in upload.pins:
                upload.pins[text] = self.may_use(upload, text, old=False)
                new += 1
        end = max((offset + length for offset, length, _ in batch.intents), default=0)
        self._reserve(upload, end=end, is_new=bool(new))
        answers = {one.chunk: one for one in given} if given is not None else None
        if answers is not None:
            require(answers.keys() == named.keys(), "other chunks are answered", answers)
        for text in named:
            self._place(upload, text, batch, None if answers is None else answers[text])

    def may_use(self, upload: Upload, text: str, *, old: bool) -> bool:
        """Whether who sends may read a file with the chunk, or has sent it already elsewhere."""
        places = [path for path, file in self.files().items() if file.holds(text)]
        if old:
            places = self.of_files(text)
        return any("r" in self.people.rights(upload.who, path) for path in places) or any(
            one is not upload
            and one.who == upload.who
            and one.state == "open"
            and bool(one.received(text))
            for one in self.uploads.values()
        )

    def usable(self, upload: Upload, text: str, absent: frozenset[str], *, his: bool) -> set[str]:
        """Return the nodes whose stored copies count for the upload."""
        return {
            node
            for node, held in self.chunks[text].copies.items()
            if held.state == "stored"
            and self.nodes[node].trusted
            and (
                upload.sent.get((text, node)) == (held.generation, True)
                or (his and node not in absent)
            )
        }

    def _place(self, upload: Upload, text: str, batch: Batch, given: Given | None) -> None:
        """Check which copies count for a chunk, and where the others are to be made."""
        chunk, his = self.chunks[text], upload.pins[text]
        held = self.usable(upload, text, batch.absent, his=his)
        count = counts(self.nodes[node].standing for node in held)
        if count >= quorum_of(upload.copies) and (his or len(held) >= upload.copies):
            expected: set[frozenset[str]] = {frozenset()}
            may_refuse, is_stored = False, True
        else:
            is_stored = False
            expected, may_refuse = self._choices(upload, text, held, batch)
        if given is None:
            if may_refuse:
                refuse("not enough")
            return  # refused for another chunk, or wrongly: the caller sees to that
        chosen = [node for node, _ in given.targets]
        require(len(set(chosen)) == len(chosen), "two copies on one node", given)
        require(given.held == held, "other copies count", text, given, held)
        require(given.quorum == quorum_of(upload.copies), "another quorum", given)
        require(frozenset(chosen) in expected, "it may not go there", text, given, expected)
        require(given.stored == is_stored, "stored or not", given)
        for node, generation in given.targets:
            there = chunk.copies.get(node)
            if there is None or there.state in {"missing", "doubted"}:
                used = self.generations.setdefault((text, node), set())
                require(generation not in used, "an old generation", given)
                used.add(generation)
                if there is not None:
                    chunk.give_up(node, there.generation, self.now_s)
                    self._something_went()
                chunk.copies[node] = Held(generation, "intent")
            else:
                require(there.generation == generation, "another generation", given, there)
            if upload.sent.get((text, node), (0, False))[0] != generation:
                upload.sent[text, node] = (generation, False)

    def _choices(
        self, upload: Upload, text: str, held: set[str], batch: Batch
    ) -> tuple[set[frozenset[str]], bool]:
        """Return the sets of nodes that may be told to take the chunk, and whether it may be refused."""
        copies, quorum = self.chunks[text].copies, quorum_of(upload.copies)
        there = [self.nodes[node].standing for node in held]
        missing = max(upload.copies - len(held), quorum - counts(there))
        others = {
            node: copy for node, copy in copies.items()
            if node not in held and copy.state in {"intent", "stored"}
            and self.nodes[node].trusted and node not in batch.absent
            and not self.nodes[node].draining
        }  # fmt: skip
        sent = {
            node for node in others
            if upload.sent.get((text, node), (0, False))[0] == others[node].generation
        }  # fmt: skip
        fresh = sorted(others.keys() - sent)
        free = [
            node for node in batch.offers
            if self.nodes[node].trusted and not self.nodes[node].draining
            and node not in batch.absent
            and (node not in copies or copies[node].state in {"missing", "doubted"})
        ]  # fmt: skip
        expected: set[frozenset[str]] = set()
        may_refuse = False
        for chosen in self._new([*fresh, *free], missing, there, upload.copies):
            standings = there + [self.nodes[node].standing for node in chosen]
            if counts(standings) >= quorum:
                expected.add(frozenset(chosen))
                continue
            again = min(missing - len(chosen), len(sent))
            for once_more in itertools.combinations(sorted(sent), again):
                more = [self.nodes[node].standing for node in once_more]
                if counts(standings + more) >= quorum:
                    expected.add(frozenset(chosen) | frozenset(once_more))
                else:
                    may_refuse = True
        return expected, may_refuse

    def _new(
        self, free: Sequence[str], count: int, there: Sequence[str], copies: int
    ) -> Iterator[tuple[str, ...]]:
        """Yield who may be chosen: as many as can be, and those on probation stay a minority."""
        approved = sum(self.nodes[node].standing == "approved" for node in free)

        def is_minority(probation: int) -> bool:
            beside = there.count("approved") + min(approved, count - probation)
            most = min((copies - 1) // 2, beside - 1)
            return probation == 0 or probation + there.count("probation") <= most

        best = max(
            probation + min(approved, count - probation)
            for probation in range(min(count, len(free) - approved) + 1)
            if is_minority(probation)
        )
        for new in itertools.combinations(free, best):
            if is_minority(sum(self.nodes[node].standing == "probation" for node in new)):
                yield new

    def _reserve(self, upload: Upload, *, end: int = 0, is_new: bool = False) -> None:
        pinned = sum(self.lengths[text] for text in upload.pins)
        hole_bytes = sum(upload.holes.values())
        upload.reach = max(upload.reach, end - hole_bytes, pinned, upload.recorded)
        pieces = max(len(upload.pins), len(upload.extents))
        rows = NAME + ATTRIBUTES + EXTENT * pieces + HOLE * len(upload.holes)
        reserved = max(upload.reserved, upload.reach + rows)
        if reserved == upload.reserved and not is_new:
            return
        there = self.names.get(upload.path)
        credit = self.charge(there) if there is not None and there.file is not None else 0
        self.room(upload.datastore, reserved - credit, upload)
        upload.reserved, upload.credit = reserved, credit

    def _add_holes(self, upload: Upload, holes: Sequence[tuple[int, int]]) -> None:
        for offset, length in holes:
            if upload.holes.get(offset) == length:
                continue
            self._require_free(upload, offset, length)
            upload.holes[offset] = length

    def _require_free(self, upload: Upload, offset: int, length: int) -> None:
        pieces = [(at, size) for at, (size, _) in upload.extents.items()]
        for at, size in [*pieces, *upload.holes.items()]:
            if at < offset + length and offset < at + size:
                refuse("conflict")

    def _count_receipts(self, key: str, receipts: Sequence[Receipt]) -> None:
        upload = self.uploads[key]
        for one in receipts:
            if one.upload != key:
                refuse("rejected")
            chunk = self.chunks.get(one.chunk)
            held = chunk.copies.get(one.node) if chunk is not None else None
            sent = upload.sent.get((one.chunk, one.node), (0, False))
            if held is None or not one.generation == held.generation == sent[0]:
                continue
            if one.length != self.stored_length(self.lengths[one.chunk]):
                self.doubt(one.node)
            elif not sent[1]:
                upload.sent[one.chunk, one.node] = (one.generation, True)
                if held.state == "intent":
                    held.state = "stored"

    def _record(
        self,
        upload: Upload,
        extents: Sequence[tuple[int, int, str]],
        absent: frozenset[str],
        *,
        strict: bool,
    ) -> None:
        enough: dict[str, bool] = {}
        for offset, length, text in extents:
            if text not in enough:
                if text not in upload.pins:
                    refuse("rejected")
                enough[text] = self._has_quorum(upload, text, absent)
            if not enough[text]:
                if strict:
                    refuse("not enough")
                continue
            if upload.extents.get(offset, (0, ""))[0] != length:
                self._require_free(upload, offset, length)
            upload.extents[offset] = (length, text)

    def _has_quorum(self, upload: Upload, text: str, absent: frozenset[str]) -> bool:
        quorum = quorum_of(upload.copies)
        shown = counts(self.nodes[node].standing for node in upload.received(text))
        if shown >= quorum or any(one == text for _, one in upload.extents.values()):
            return counts(self.standings(text)) >= quorum
        his = upload.pins[text] and (
            not self.of_files(text) or self.may_use(upload, text, old=True)
        )
        found = self.usable(upload, text, absent, his=his)
        return counts(self.nodes[node].standing for node in found) >= quorum

    def record(
        self,
        who: str,
        key: str,
        extents: Sequence[tuple[int, int, str]],
        receipts: Sequence[Receipt],
        absent: frozenset[str],
    ) -> int:
        upload = self.active(who, key)
        upload.touched_s = self.now_s
        self._count_receipts(key, receipts)
        self._record(upload, extents, absent, strict=False)
        self._reserve(upload)
        return upload.recorded

    def resume(self, who: str, key: str) -> list[tuple[int, int, str]]:
        """Return the extents of an open upload; what has no quorum any more is not among them."""
        upload = self.active(who, key)
        self._drop_unsafe(upload)
        upload.touched_s = self.now_s
        return sorted((offset, length, text) for offset, (length, text) in upload.extents.items())

    def _drop_unsafe(self, upload: Upload) -> bool:
        unsafe = [
            offset
            for offset, (_, text) in upload.extents.items()
            if counts(self.standings(text)) < quorum_of(upload.copies)
        ]
        for offset in unsafe:
            del upload.extents[offset]
        upload.may_be_behind = False
        return bool(unsafe)

    def _answered(self, who: str, key: str) -> File | None:
        """Return what an earlier commit made; None for an upload that is open."""
        found = self.uploads.get(key)
        if found is None or found.who != who or found.state != "committed":
            self.active(who, key)
            return None
        self.may(who, "w", found.path)
        return found.answer

    def commit(
        self,
        who: str,
        key: str,
        extents: Sequence[tuple[int, int, str]],
        receipts: Sequence[Receipt],
        size: int,
        absent: frozenset[str],
        *,
        version: int,
    ) -> File:
        """Make the file; ``version`` is the number that the catalogue gave it."""
        answer = self._answered(who, key)
        if answer is not None:
            return answer

        def name_all() -> None:
            upload = self.uploads[key]
            self._check_target(upload.path, upload.if_version, upload.if_absent)
            self._count_receipts(key, receipts)
            self._record(upload, extents, absent, strict=True)

        def finish() -> File:
            upload = self.uploads[key]
            self._check_target(upload.path, upload.if_version, upload.if_absent)
            return self._flip(upload, size, version)

        before = copy.deepcopy(self.__dict__)
        try:
            self.attempt(name_all)
        except Refusal as refused:
            if refused.args == ("not enough",):  # the receipts say what they say
                with contextlib.suppress(Refusal):
                    self.attempt(lambda: self.record(who, key, (), receipts, absent))
            raise
        if self._drop_unsafe(self.uploads[key]):
            self.uploads[key].touched_s = self.now_s
            refuse("not enough")
        try:
            return self.attempt(finish)
        except Refusal as refused:
            self.__dict__.clear()
            self.__dict__.update(before)
            refused.told_of_pieces = True
            raise

    def _flip(self, upload: Upload, size: int, version: int) -> File:
        extents = sorted(
            (offset, length, text) for offset, (length, text) in upload.extents.items()
        )
        holes = sorted(upload.holes.items())
        end = max((o + n for o, n in [*((o, n) for o, n, _ in extents), *holes]), default=0)
        if upload.recorded + sum(upload.holes.values()) != size or end != size:
            refuse("conflict")
        file = File(version, size, tuple(extents), tuple(holes))
        there = self.names.get(upload.path)
        credit = self.charge(there) if there is not None else 0
        more = file.data + file.rows - credit
        datastore = self.top(upload.path)
        is_more = more > upload.adds or datastore is not upload.datastore
        self.room(datastore, more, upload, also_open=is_more)
        if there is not None:
            self._retire(upload.path)
        self.names[upload.path] = Name(file)
        upload.state, upload.answer, upload.touched_s = "committed", file, self.now_s
        return file

    def abort(self, who: str, key: str) -> None:
        upload = self.uploads.get(key)
        if upload is not None and upload.who == who and upload.state == "open":
            upload.state = "ended"

    def expire(self) -> None:
        for upload in self.uploads.values():
            if upload.state == "open" and not self.is_live(upload):
                upload.state = "ended"

    def collect(self, grace_s: int) -> None:
        """Let go what was replaced or removed long enough ago, and what commits answered."""
        self.uploads = {
            key: one
            for key, one in self.uploads.items()
            if one.state != "committed" or one.touched_s + ANSWER_S > self.now_s
        }
        if self.now_s - self.started_s >= QUIET_S:
            self.old = [one for one in self.old if one.since_s > self.now_s - grace_s]


__all__ = [
    "OPERATOR", "Batch", "File", "Given", "Held", "Member", "Mismatch", "Node", "Path", "Receipt",
    "Refusal", "counts", "quorum_of", "refuse", "require",
]  # fmt: skip
