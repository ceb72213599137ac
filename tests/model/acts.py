"""Acts on the catalogue: each can be run on the real one and applied to the model.

An *outcome* is a value, or the kind of the refusal.  ``apply`` is told the outcome of the real catalogue,
since it leaves choices to it, and returns the value that it should have had, or raises ``Refusal``.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import Allocation, LocatedExtent
from collective.core import errors
from collective.core.errors import CollectiveError
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId, UploadKey
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.copies import CopyKey, Judged, Verdict, VerifiedReceipt
from collective.model.extents import Extent, Hole
from collective.model.writing import Attributes, Precondition
from collective.placement.node_choice import Offers
from tests.contract.catalog.permission_model import OPERATOR, Path
from tests.contract.catalog.world import DOMAIN, chunk, user
from tests.contract.catalog.world import OPERATOR as COORDINATOR
from tests.model.member import (
    GONE,
    Batch,
    Given,
    Member,
    Mismatch,
    Receipt,
    Refusal,
    refuse,
    require,
)

USERS: Final = ("ann", "bob")
TEXTS: Final = "abcdef"
UNIT: Final = 1_000_000
"""Bytes of a piece of a file."""
KINDS: Final[dict[type[CollectiveError], str]] = {
    errors.PermissionDeniedError: "denied",
    errors.NotFoundError: "absent",
    errors.ConflictError: "conflict",
    errors.NoSpaceError: "no space",
    errors.NotEnoughCopiesError: "not enough",
    errors.UsageError: "usage",
    errors.RejectedError: "rejected",
}
NAMES: Final = {bytes(chunk(text)): text for text in TEXTS}


def stored_length(length: int) -> int:
    return length + 16


@dataclass(frozen=True)
class Outcome:
    """What the catalogue did."""

    value: Any = None
    refusal: str = ""
    extents: list[tuple[int, int, str]] | None = None
    """Of an upload whose commit was refused though its pieces are safe: what is recorded of it now."""


class Act(Protocol):
    """Something to do."""

    async def run(self, catalog: Catalog) -> Any:
        """Do it; return what is to be compared."""
        ...

    def apply(self, model: Member, told: Outcome) -> Any:
        """Do it in the model; return what is expected, None where there is nothing more to compare."""
        ...


async def observe(act: Act, catalog: Catalog) -> Outcome:
    """Run an act; return what came of it."""
    try:
        return Outcome(await act.run(catalog))
    except CollectiveError as error:
        kind = kind_of(error)
        extents = None
        if isinstance(act, Commit) and kind in {"conflict", "no space"}:
            try:
                extents = await Resume(act.who, act.upload).run(catalog)
            except CollectiveError:
                extents = None
        return Outcome(refusal=kind, extents=extents)


def kind_of(error: CollectiveError) -> str:
    for kind in type(error).__mro__:
        if kind in KINDS:
            return KINDS[kind]
    return type(error).__name__


def compare(act: Act, told: Outcome, model: Member) -> None:
    """Apply an act to the model and hold the catalogue's outcome against it."""
    refusal, expected = "", None
    try:
        expected = act.apply(model, told)
    except Refusal as refused:
        refusal = str(refused)
    except Mismatch as wrong:
        raise Mismatch(act, told, *wrong.args) from wrong
    if refusal == GONE and told.refusal in {"absent", "denied"}:
        return
    require(told.refusal == refusal, act, f"told {told}, expected", refusal or expected)
    if expected is not None:
        require(told.value == expected, act, f"told {told}, expected", expected)


def do(acts: Sequence[Act], catalog: Catalog) -> Any:
    """Return a coroutine that runs the acts together and returns their outcomes."""

    async def together() -> list[Outcome]:
        return list(await asyncio.gather(*(observe(act, catalog) for act in acts)))

    return together()


def caller(who: str) -> Call:
    return COORDINATOR if who == OPERATOR else user(who)


def at(path: Path) -> FilePath:
    return FilePath(path)


def extents_of(pieces: Sequence[tuple[int, int, str]]) -> list[Extent]:
    return [
        Extent(offset, length, chunk(text), stored_length(length))
        for offset, length, text in pieces
    ]


def offers(nodes: Sequence[str]) -> Offers:
    return Offers(defaultdict(lambda: tuple(NodeId(node) for node in nodes)), {})


def ids(nodes: frozenset[str]) -> frozenset[NodeId]:
    return frozenset(NodeId(node) for node in nodes)


def given(allocations: Sequence[Allocation]) -> list[Given]:
    found = {}
    for one in allocations:
        text = NAMES[bytes(one.chunk)]
        found[text] = Given(
            text,
            one.stored,
            frozenset(str(copy.node) for copy in one.held),
            tuple((str(copy.node), int(copy.generation)) for copy in one.targets),
            one.quorum,
        )
    return list(found.values())


def receipts_of(receipts: Sequence[Receipt]) -> list[VerifiedReceipt]:
    return [
        VerifiedReceipt(
            chunk(one.chunk), NodeId(one.node), Generation(one.generation), one.length, one.upload
        )
        for one in receipts
    ]


# --- names -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Make:
    """``mkdir``."""

    who: str
    path: Path
    parents: bool = False

    async def run(self, catalog: Catalog) -> Any:
        entry = await catalog.names.make_directory(
            caller(self.who), at(self.path), parents=self.parents
        )
        return str(entry.path)

    def apply(self, model: Member, told: Outcome) -> Any:
        model.attempt(lambda: model.make(self.who, self.path, parents=self.parents))
        return str(at(self.path))


@dataclass(frozen=True)
class Remove:
    """``rm``."""

    who: str
    path: Path
    recursive: bool
    if_absent: bool = False

    async def run(self, catalog: Catalog) -> Any:
        removed = await catalog.names.remove(
            caller(self.who),
            at(self.path),
            recursive=self.recursive,
            condition=Precondition(if_absent=self.if_absent),
        )
        return removed.names

    def apply(self, model: Member, told: Outcome) -> Any:
        return model.attempt(
            lambda: model.remove(
                self.who, self.path, recursive=self.recursive, if_absent=self.if_absent
            )
        )


@dataclass(frozen=True)
class Move:
    """``mv``."""

    who: str
    source: Path
    target: Path
    if_absent: bool = False

    async def run(self, catalog: Catalog) -> Any:
        condition = Precondition(if_absent=self.if_absent)
        entry = await catalog.names.move(
            caller(self.who), at(self.source), at(self.target), condition=condition
        )
        return str(entry.path)

    def apply(self, model: Member, told: Outcome) -> Any:
        model.attempt(
            lambda: model.move(self.who, self.source, self.target, USERS, if_absent=self.if_absent)
        )
        return str(at(self.target))


@dataclass(frozen=True)
class SetPolicy:
    """``datastore create`` and ``datastore set``."""

    who: str
    path: Path
    copies: int | None = None
    quota: int | None = None
    owner: str | None = None
    create: bool = False

    async def run(self, catalog: Catalog) -> Any:
        owner: Any = user(self.owner).principal if self.owner in USERS else self.owner
        if self.create:
            made = await catalog.datastores.create(
                caller(self.who),
                at(self.path),
                copies=self.copies or 0,
                quota_bytes=self.quota or 0,
                owner=None if owner == "member" else owner,
            )
        else:
            made = await catalog.datastores.set(
                caller(self.who),
                at(self.path),
                copies=self.copies,
                quota_bytes=self.quota,
                owner=owner,
            )
        whose = None if made.owner is None else str(made.owner)
        return made.copies, made.quota_bytes, whose

    def apply(self, model: Member, told: Outcome) -> Any:
        copies, quota, owner = model.attempt(
            lambda: model.set_policy(
                self.who, self.path, self.copies, self.quota, self.owner, create=self.create
            )
        )
        return copies, quota, None if owner is None else str(user(owner).principal)


# --- uploads -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """Begin an upload."""

    who: str
    path: Path
    batch: Batch
    if_version: int = 0
    if_absent: bool = False

    async def run(self, catalog: Catalog) -> Any:
        made = await catalog.uploads.open(
            caller(self.who),
            at(self.path),
            Attributes(),
            Precondition(self.if_version, self.if_absent),
            extents_of(self.batch.intents),
            offers(self.batch.offers),
            absent=ids(self.batch.absent),
            holes=[Hole(*hole) for hole in self.batch.holes],
        )
        return str(made.id), made.copies, given(made.allocations)

    def apply(self, model: Member, told: Outcome) -> Any:
        key, copies, allocations = told.value or ("refused", 0, None)
        model.attempt(
            lambda: model.open(
                self.who,
                self.path,
                key,
                self.batch,
                allocations,
                if_version=self.if_version,
                if_absent=self.if_absent,
            )
        )
        if told.value is None:  # not refused here: the caller reports it
            return "opened"
        require(copies == model.uploads[key].copies, "another number of copies")
        return None


@dataclass(frozen=True)
class Allocate:
    """Ask where the next batch goes."""

    who: str
    upload: str
    batch: Batch

    async def run(self, catalog: Catalog) -> Any:
        found = await catalog.uploads.allocate(
            caller(self.who),
            UploadKey(self.upload),
            extents_of(self.batch.intents),
            offers(self.batch.offers),
            absent=ids(self.batch.absent),
            holes=[Hole(*hole) for hole in self.batch.holes],
        )
        return given(found)

    def apply(self, model: Member, told: Outcome) -> Any:
        model.attempt(lambda: model.allocate(self.who, self.upload, self.batch, told.value))


@dataclass(frozen=True)
class Record:
    """Show receipts, and say which piece is where."""

    who: str
    upload: str
    extents: tuple[tuple[int, int, str], ...]
    receipts: tuple[Receipt, ...]
    absent: frozenset[str] = frozenset()

    async def run(self, catalog: Catalog) -> Any:
        return await catalog.uploads.record_extents(
            caller(self.who),
            UploadKey(self.upload),
            extents_of(self.extents),
            receipts_of(self.receipts),
            absent=ids(self.absent),
        )

    def apply(self, model: Member, told: Outcome) -> Any:
        return model.attempt(
            lambda: model.record(self.who, self.upload, self.extents, self.receipts, self.absent)
        )


@dataclass(frozen=True)
class Commit:
    """Make the upload the file."""

    who: str
    upload: str
    extents: tuple[tuple[int, int, str], ...]
    receipts: tuple[Receipt, ...]
    size: int
    absent: frozenset[str] = frozenset()

    async def run(self, catalog: Catalog) -> Any:
        entry = await catalog.uploads.commit(
            caller(self.who),
            UploadKey(self.upload),
            extents_of(self.extents),
            receipts_of(self.receipts),
            self.size,
            absent=ids(self.absent),
        )
        return entry.size_bytes, entry.version, entry.chunk_count

    def apply(self, model: Member, told: Outcome) -> Any:
        version = 0 if told.value is None else told.value[1]
        was_done = self.upload in model.uploads and model.uploads[self.upload].state == "committed"
        try:
            file = model.commit(
                self.who,
                self.upload,
                self.extents,
                self.receipts,
                self.size,
                self.absent,
                version=version,
            )
        except Refusal as refused:
            if told.extents is not None:
                self._see_what_stayed(model, told, may_stay=refused.told_of_pieces)
            raise
        if not was_done and told.value is not None:
            require(version > model.last_version, "a version that was before", version)
            model.last_version = version
        return file.size, file.version, len(file.extents)

    def _see_what_stayed(self, model: Member, told: Outcome, *, may_stay: bool) -> None:
        """A refused commit changes nothing, but where nodes changed it may have kept what it named."""
        is_lie = any(one.length != stored_length(UNIT) for one in self.receipts)
        if may_stay and (model.uploads[self.upload].may_be_behind or is_lie):
            model.unsure = self.upload
            return
        before = model.resume(self.who, self.upload)  # that was asked of the catalogue, too
        require(told.extents == before, "a refused commit changed something", told, before)


@dataclass(frozen=True)
class Abort:
    """Give an upload up."""

    who: str
    upload: str

    async def run(self, catalog: Catalog) -> Any:
        await catalog.uploads.abort(caller(self.who), UploadKey(self.upload))

    def apply(self, model: Member, told: Outcome) -> Any:
        model.abort(self.who, self.upload)


@dataclass(frozen=True)
class Resume:
    """Ask what is recorded of an open upload."""

    who: str
    upload: str

    async def run(self, catalog: Catalog) -> Any:
        _, found, more = await catalog.uploads.get(
            caller(self.who), UploadKey(self.upload), from_offset=0, limit=64
        )
        assert not more
        return [(one.offset, one.length, NAMES[bytes(one.chunk)]) for one in found]

    def apply(self, model: Member, told: Outcome) -> Any:
        return model.attempt(lambda: model.resume(self.who, self.upload))


# --- looking -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Look:
    """``stat``."""

    who: str
    path: Path

    async def run(self, catalog: Catalog) -> Any:
        entry = await catalog.names.stat(caller(self.who), at(self.path))
        return "file" if entry.kind.is_leaf else "dir"

    def apply(self, model: Member, told: Outcome) -> Any:
        if self.who != OPERATOR and not model.people.knows(self.who, self.path):
            refuse("denied")
        return model.kind(self.path) or refuse("absent")


@dataclass(frozen=True)
class Read:
    """Open a file, and give it back."""

    who: str
    path: Path

    async def run(self, catalog: Catalog) -> Any:
        call = caller(self.who)
        view = await catalog.reads.open(
            call, at(self.path), offset=0, length=0, if_version=0, batch=0
        )
        await catalog.reads.close(call, view.lease)
        assert not view.more
        pieces = [
            (one.extent.offset, one.extent.length, NAMES[bytes(one.extent.chunk)])
            if isinstance(one, LocatedExtent)
            else (one.offset, one.length, "")
            for one in view.extents
        ]
        places = [
            (NAMES[bytes(one.extent.chunk)], {(str(c.node), int(c.generation)) for c in one.copies})
            for one in view.extents
            if isinstance(one, LocatedExtent)
        ]
        return view.entry.size_bytes, view.entry.version, pieces, places

    def apply(self, model: Member, told: Outcome) -> Any:
        model.may(self.who, "r", self.path)
        name = model.names.get(self.path)
        if name is None:
            return refuse("absent")
        if name.file is None:
            return refuse("conflict")
        if told.value is None:
            return name.file
        file, (size, version, pieces, places) = name.file, told.value
        require((size, version) == (file.size, file.version), "another version", told, file)
        holes = [(*hole, "") for hole in file.holes]
        require(pieces == sorted([*file.extents, *holes]), "other pieces", told, file)
        for text, copies in places:
            known = model.chunks[text]
            for node, held in known.copies.items():
                if held.state == "stored" and model.nodes[node].trusted:
                    require((node, held.generation) in copies, "a good copy is not told", told)
            good = {(node, held.generation) for node, held in known.copies.items()
                    if held.state in {"stored", "doubted"}}  # fmt: skip
            require(copies <= good | known.given_up.keys(), "no copy is there", told)
        return None


# --- nodes and their copies --------------------------------------------------------------------------


@dataclass(frozen=True)
class Drain:
    """``node drain``, or its end."""

    who: str
    node: str
    draining: bool

    async def run(self, catalog: Catalog) -> Any:
        await catalog.nodes.drain(caller(self.who), NodeId(self.node), draining=self.draining)

    def apply(self, model: Member, told: Outcome) -> Any:
        model.attempt(lambda: model.drain(self.who, self.node, draining=self.draining))


@dataclass(frozen=True)
class Approve:
    """``node approve``."""

    who: str
    nodes: tuple[str, ...]
    even_doubted: bool

    async def run(self, catalog: Catalog) -> Any:
        found = await catalog.nodes.approve(
            caller(self.who), [NodeId(node) for node in self.nodes], even_doubted=self.even_doubted
        )
        return [(str(one.node), one.was.value) for one in found]

    def apply(self, model: Member, told: Outcome) -> Any:
        return model.attempt(
            lambda: model.approve(self.who, self.nodes, even_doubted=self.even_doubted)
        )


@dataclass(frozen=True)
class Doubt:
    """Put a node in doubt."""

    node: str

    async def run(self, catalog: Catalog) -> Any:
        return await catalog.nodes.doubt(NodeId(self.node), "drawn")

    def apply(self, model: Member, told: Outcome) -> Any:
        return model.doubt(self.node)


@dataclass(frozen=True)
class Clear:
    """End a doubt."""

    node: str

    async def run(self, catalog: Catalog) -> Any:
        return await catalog.nodes.clear_doubt(NodeId(self.node))

    def apply(self, model: Member, told: Outcome) -> Any:
        return model.clear(self.node)


@dataclass(frozen=True)
class RemoveNode:
    """``node remove``."""

    node: str
    force: bool

    async def run(self, catalog: Catalog) -> Any:
        node = NodeId(self.node)
        identity = SpiffeId.node(DOMAIN, node)
        await catalog.nodes.remove(COORDINATOR, node, identity, force=self.force)

    def apply(self, model: Member, told: Outcome) -> Any:
        model.attempt(lambda: model.remove_node(self.node, force=self.force))


@dataclass(frozen=True)
class Inventory:
    """A node says what it has."""

    node: str
    copies: tuple[tuple[str, int, int], ...]
    """Chunk, generation, stored length; sorted by :func:`sort_key`."""
    invented: frozenset[tuple[str, int]]
    """Those of generations that were never given out."""

    async def run(self, catalog: Catalog) -> Any:
        page = [CopyKey(chunk(text), Generation(g), length) for text, g, length in self.copies]
        page.sort(key=lambda one: (one.chunk, one.generation))
        found = await catalog.copies.compare_inventory(
            NodeId(self.node), page, after=b"", last=True
        )
        return [(NAMES[bytes(one.chunk)], int(one.generation)) for one in found]

    def apply(self, model: Member, told: Outcome) -> Any:
        known = {
            (text, held.generation)
            for text, one in model.chunks.items()
            for node, held in one.copies.items()
            if node == self.node
        }
        claimed = {(text, generation): length for text, generation, length in self.copies}
        model.inventory(self.node, claimed, self.invented)
        strangers = claimed.keys() - known - self.invented
        require(set(told.value) <= strangers, "what is a stranger", told.value, strangers)


@dataclass(frozen=True)
class Mark:
    """A copy was found missing or corrupt."""

    node: str
    chunk: str
    generation: int
    lost: bool

    async def run(self, catalog: Catalog) -> Any:
        named: list[tuple[ChunkId, Generation]] = [(chunk(self.chunk), Generation(self.generation))]
        await catalog.copies.mark(NodeId(self.node), named, lost=self.lost)

    def apply(self, model: Member, told: Outcome) -> Any:
        model.take_out(self.node, self.chunk, self.generation, lost=self.lost)


@dataclass(frozen=True)
class Judge:
    """A challenge had a result."""

    node: str
    chunk: str
    generation: int
    verdict: str

    async def run(self, catalog: Catalog) -> Any:
        verdict = Verdict(self.verdict)
        one = Judged(
            chunk(self.chunk), NodeId(self.node), Generation(self.generation), verdict, "drawn"
        )
        return [str(node) for node in await catalog.copies.note_verdicts([one])]

    def apply(self, model: Member, told: Outcome) -> Any:
        is_liar = model.judge(self.node, self.chunk, self.generation, self.verdict)
        return [self.node] if is_liar else []


@dataclass(frozen=True)
class Expire:
    """End what has had its time."""

    nothing: tuple[()] = field(default=())

    async def run(self, catalog: Catalog) -> Any:
        await catalog.upkeep.expire()

    def apply(self, model: Member, told: Outcome) -> Any:
        model.expire()
