"""No change does more in a larger catalogue: the writer's costliest transaction stays as it is.

Every change of the interface is made in a catalogue and in one ten times as large, of files, of grants
that came from one, of open uploads and of codes.  The steps of SQLite's machine in each transaction are
compared: no clock is involved.  Steps of set work are made so small that the small catalogue fills them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from collective.catalog.decisions.quotas import IDLE_MS
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.interface.values import IssuedCertificate
from collective.catalog.sqlite import SqliteCatalog
from collective.catalog.sqlite.collection import due_deletes, guarded, unreferenced
from collective.catalog.sqlite.copies import copies, inventories
from collective.catalog.sqlite.files import allocation, uploads
from collective.catalog.sqlite.names import entries, name_removal, policies, quota_rows
from collective.catalog.sqlite.nodes import removal, restores
from collective.catalog.sqlite.people import grants
from collective.catalog.sqlite.store import sweeping, upkeep
from collective.catalog.sqlite.store.writer import Writer
from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, Generation, NodeId, SpiffeId, UploadKey
from collective.model.copies import Judged, Verdict
from collective.model.people import Invite, InviteKind
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition
from tests.bench.growth import catalogue
from tests.contract.catalog.world import (
    ANY,
    OPERATOR,
    SMALL,
    begin,
    chunk,
    extent,
    intent,
    p,
    place_on,
    receipts,
    user,
    write,
)
from tests.contract.catalog_sqlite.plans import watching
from tests.worlds import world_of

SIZES: Final = (100, 1000)
"""Files."""
MORE: Final = 1.5
"""The large catalogue may take so many times the steps of the small one: trees are deeper."""
NODES: Final = tuple(NodeId(catalogue.node_name(n)) for n in range(1, catalogue.NODES + 1))
GIVER: Final = user("giver")
FILE: Final = "/ds00/flat/file-0000000"
SMALL_STEPS: Final = (
    (name_removal, "STEP_NAMES"),
    (name_removal, "PORTION_NAMES"),
    (policies, "AT_ONCE_ROWS"),
    (policies, "BATCH_ROWS"),
    (inventories, "STEP_COPIES"),
    (copies, "STEP_COPIES"),
    (guarded, "STEP_COPIES"),
    (unreferenced, "CLEARED_ROWS"),
    (unreferenced, "CHUNKS_LOOKED_AT"),
    (unreferenced, "STEP_CHUNKS"),
    (unreferenced, "IN_TURN"),
    (unreferenced, "VERSIONS_LOOKED_AT"),
    (unreferenced, "VERSIONS_CONDEMNED"),
    (due_deletes, "PORTION_COPIES"),
    (removal, "FORGET_ROWS"),
    (uploads, "CLEAR_AT_COMMIT"),
    (restores, "GUARDED_AT_ONCE"),
    (allocation, "USES_LOOKED_AT"),
    (entries, "COUNTED_AT_ONCE"),
    (quota_rows, "ENDED_AT_ONCE"),
    (grants, "DROPPED_AT_ONCE"),
    (sweeping, "_GRANTS"),
    (sweeping, "_CODES"),
    (upkeep, "EXPIRE_BATCH"),
)
QUOTA_BYTES: Final = 16_000_000
FILL_BYTES: Final = 15_000_000
ITEMS: Final = 3
"""Items of a step."""
FEW: Final = 100
"""Steps: what does so little may vary."""
ALLOWED: Final = {
    # for each open upload of the datastore; a caller has a thousand at most
    "put in place of idle uploads": 40,
    # for each change of rights by the same caller in a day, up to a thousand
    "grant": 6,
    # for each code; 16,384 are the most (CODE_BYTES_MAX), and end within 50 ms
    "become restored": 40,
}
"""Steps more for each item that there is: what is bounded by a limit of its own."""


@dataclass(slots=True)
class Scene:
    """One of the catalogues, and how large it is."""

    catalog: SqliteCatalog
    files: int
    clock: ManualClock
    costs: list[int] = field(default_factory=list)
    """Steps of each change since the watch began."""
    upload: UploadKey | None = None

    @property
    def some(self) -> range:
        """As many as there are of everything but files."""
        return range(self.files // 10)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self.costs.clear()
        attempt = Writer._attempt
        with watching(self.catalog) as steps, pytest.MonkeyPatch.context() as patch:

            def counted(writer: Any, job: Any, book: Any) -> Any:
                before = steps.total
                try:
                    return attempt(writer, job, book)
                finally:
                    self.costs.append(steps.total - before)

            patch.setattr(Writer, "_attempt", counted)
            yield


Act = Callable[[Scene], Awaitable[object]]
ACTS: dict[str, Act] = {}
"""In this order: an act finds what those before it left."""


def act(work: Act) -> Act:
    ACTS[work.__name__.replace("_", " ")] = work
    return work


def moving(source: str, target: str) -> Act:
    async def move(scene: Scene) -> None:
        await scene.catalog.names.move(OPERATOR, p(source), p(target), condition=ANY)

    ACTS[f"mv {source} {target}"] = move
    return move


# --- names -----------------------------------------------------------------------------------------


@act
async def mkdir(scene: Scene) -> None:
    for path in ("/ds00/flat/new/a/b", "/ds04/x", "/new/same"):
        await scene.catalog.names.make_directory(OPERATOR, p(path), parents=True)


@act
async def put(scene: Scene) -> None:
    for texts in (("one", "two"), ("two", "three", "four")):
        await write(scene.catalog, "/ds00/flat/put", *texts, nodes=NODES[:3])


@act
async def link(scene: Scene) -> None:
    await scene.catalog.names.make_link(OPERATOR, p("/ds00/flat/link"), b"x", Attributes(), ANY)


@act
async def touch(scene: Scene) -> None:
    for path in (FILE, "/ds00/flat"):
        await scene.catalog.names.set_attributes(
            OPERATOR, p(path), modified_ns=5, mode=None, condition=Precondition()
        )


@act
async def rm_one(scene: Scene) -> None:
    for path in ("/ds00/flat/link", "/ds00/flat/new/a/b"):
        await scene.catalog.names.remove(OPERATOR, p(path), recursive=False, condition=ANY)


moving("/ds00/flat/put", "/ds01/put")
moving("/ds00/flat", "/ds00/renamed")
moving("/ds00/renamed", "/ds01/flat")
moving("/ds01/flat", "/ds04/x/deeper")
moving("/ds04/x/deeper", "/top")
moving("/top", "/ds00/flat")
moving("/ds00", "/renamed")
moving("/renamed", "/ds04/x/y")
moving("/ds04/x/y", "/ds00")


async def use_one_chunk_often(scene: Scene) -> None:
    """Let many files that are no more have had the same content."""
    for number in scene.some:
        await write(scene.catalog, f"/new/same/{number}", "same", nodes=NODES[:3])
    await scene.catalog.names.remove(OPERATOR, p("/new/same"), recursive=True, condition=ANY)


@act
async def begin_what_many_had(scene: Scene) -> None:
    await begin(scene.catalog, "/new/one", "same", nodes=NODES[:3])


@act
async def settle(scene: Scene) -> None:
    await scene.catalog.datastores.set(OPERATOR, p("/ds00"), copies=4)
    while await scene.catalog.datastores.settle_copies():
        pass


# --- quotas ----------------------------------------------------------------------------------------


@act
async def datastore(scene: Scene) -> None:
    await scene.catalog.datastores.create(
        OPERATOR, p("/quota"), copies=0, quota_bytes=QUOTA_BYTES, owner=None
    )


async def idle(scene: Scene) -> None:
    """Open uploads that fill the quota, and leave them."""
    size = FILL_BYTES // len(scene.some)
    for number in scene.some:
        await begin(scene.catalog, f"/quota/{number}", f"idle {number}", nodes=NODES[:3], unit=size)
    scene.clock.advance(IDLE_MS / 1000 + 1)


async def leave(scene: Scene) -> None:
    """Open uploads, and leave them."""
    for number in scene.some:
        await begin(scene.catalog, f"/ds06/{number}", f"left {number}", nodes=NODES[:3])


@act
async def put_in_place_of_idle_uploads(scene: Scene) -> None:
    await write(scene.catalog, "/quota/large", "large", nodes=NODES[:3], unit=FILL_BYTES)


@act
async def end_of_uploads(scene: Scene) -> None:
    """They are not cleared yet when the next ones end."""
    scene.clock.advance(scene.catalog.settings.upload_life_s + 1)
    for _ in scene.some:
        await scene.catalog.upkeep.expire()


# --- rights ----------------------------------------------------------------------------------------


async def pass_on(scene: Scene) -> None:
    """Let many grants come from one."""
    rights = Right.READ | Right.WRITE | Right.SHARE
    await scene.catalog.grants.add(OPERATOR, p("/ds01"), rights, GIVER.principal, None)
    for number in scene.some:
        await scene.catalog.grants.add(
            GIVER, p("/ds01"), Right.READ, user(f"u{number}").principal, None
        )


@act
async def grant(scene: Scene) -> None:
    await scene.catalog.grants.add(GIVER, p("/ds01/a"), Right.READ, user("x").principal, None)


@act
async def ungrant(scene: Scene) -> None:
    (given,) = await scene.catalog.grants.own(GIVER)
    await scene.catalog.grants.remove(OPERATOR, given.id)


@act
async def revoke(scene: Scene) -> None:
    await scene.catalog.revocations.revoke(OPERATOR, str(GIVER.principal))


def _code(scene: Scene, number: int, kind: InviteKind = InviteKind.NODE) -> Invite:
    expires_s = scene.clock.wall_s() + 60
    return Invite(f"c{number}", kind, b"v" * 32, 1, 1, expires_s, OPERATOR.principal)


async def invite_many(scene: Scene) -> None:
    for number in scene.some:
        await scene.catalog.codes.add(OPERATOR, _code(scene, number))


@act
async def invite(scene: Scene) -> None:
    await scene.catalog.codes.add(OPERATOR, _code(scene, 1000, InviteKind.USER))


@act
async def redeem(scene: Scene) -> None:
    bob = SpiffeId.parse("spiffe://home.alice/user/home.alice/bob")
    made = IssuedCertificate(bob, "ab12", 10**15, b"der")
    await scene.catalog.codes.redeem("c1000", b"k" * 32, made)


@act
async def end_of_codes_and_grants(scene: Scene) -> None:
    scene.clock.advance(10**7)
    for _ in range(3):
        await scene.catalog.upkeep.expire()


# --- nodes -----------------------------------------------------------------------------------------


def _copies_on(scene: Scene, node: int) -> list[tuple[ChunkId, Generation]]:
    return [
        (
            ChunkId(catalogue.chunk_hash(chunk)),
            Generation(catalogue.generation_of(chunk, place)),
        )
        for chunk in range(1, catalogue.Shape(scene.files).chunks + 1)
        for place in range(catalogue.COPIES)
        if catalogue.node_of(chunk, place) == node
    ]


@act
async def drain(scene: Scene) -> None:
    for is_draining in (True, False):
        await scene.catalog.nodes.drain(OPERATOR, NODES[0], draining=is_draining)


@act
async def refuse(scene: Scene) -> None:
    for why in ("a test says so", ""):
        await scene.catalog.nodes.set_refused({NODES[0]: why})


@act
async def doubt(scene: Scene) -> None:
    await scene.catalog.nodes.doubt(NODES[0], "a test says so")
    await scene.catalog.nodes.clear_doubt(NODES[0])


@act
async def lose_all_of_a_node(scene: Scene) -> None:
    await scene.catalog.copies.compare_inventory(NODES[1], (), after=b"", last=True)


@act
async def mark(scene: Scene) -> None:
    await scene.catalog.copies.mark(NODES[2], _copies_on(scene, 3), lost=False)


@act
async def note_verdicts(scene: Scene) -> None:
    await scene.catalog.copies.note_verdicts(
        [Judged(one, NODES[3], given, Verdict.LIED) for one, given in _copies_on(scene, 4)]
    )


async def send(scene: Scene) -> None:
    """Send a file of many chunks, but for its end."""
    upload, first = await begin(scene.catalog, "/ds05/large", "first", nodes=NODES[4:7])
    proof = receipts(upload)
    await scene.catalog.uploads.record_extents(OPERATOR, upload.id, [extent(first[0])], proof)
    for number in scene.some:
        wanted = intent(f"part {number}", SMALL * (number + 1))
        given = await scene.catalog.uploads.allocate(
            OPERATOR, upload.id, [wanted], place_on(*NODES[4:7])
        )
        proof = receipts(upload, given)
        await scene.catalog.uploads.record_extents(OPERATOR, upload.id, [extent(wanted)], proof)
    scene.upload = upload.id


@act
async def commit_while_copies_are_lacking(scene: Scene) -> None:
    assert scene.upload is not None
    size = SMALL * (len(scene.some) + 1)
    entry = await scene.catalog.uploads.commit(OPERATOR, scene.upload, [], [], size)
    assert entry.copies_least == 3
    again = await scene.catalog.uploads.commit(OPERATOR, scene.upload, [], [], size)
    assert again == entry


async def lose_one_copy(scene: Scene) -> None:
    copies = await scene.catalog.copies.stored(chunk("part 5"))
    lost = next(one.generation for one in copies if one.node == NODES[5])
    await scene.catalog.copies.mark(NODES[5], [(chunk("part 5"), lost)], lost=True)


@act
async def change_a_large_file_while_copies_are_lacking(scene: Scene) -> None:
    touched = await scene.catalog.names.set_attributes(
        OPERATOR, p("/ds05/large"), modified_ns=5, mode=None, condition=ANY
    )
    moved = await scene.catalog.names.move(
        OPERATOR, p("/ds05/large"), p("/ds05/other"), condition=ANY
    )
    assert touched.copies_least == moved.copies_least == 2


@act
async def remove_a_node(scene: Scene) -> None:
    identity = SpiffeId.parse(f"spiffe://home.alice/node/{NODES[4]}")
    await scene.catalog.nodes.remove(OPERATOR, NODES[4], identity, force=True)


# --- what goes -------------------------------------------------------------------------------------


@act
async def rm_tree(scene: Scene) -> None:
    for path in ("/ds00", "/ds01"):
        await scene.catalog.names.remove(OPERATOR, p(path), recursive=True, condition=ANY)


async def doom(scene: Scene) -> None:
    """Let much be there that is to be deleted."""
    for _ in scene.some:
        await scene.catalog.collection.claim(20, 0, frozenset())
        scene.clock.advance(1)


@act
async def become_restored(scene: Scene) -> None:
    now = await scene.catalog.restores.position()
    later = dataclasses.replace(now, sequence=now.sequence + 1_000_000)
    assert await scene.catalog.restores.observe(later)
    await scene.catalog.restores.adopt(OPERATOR, None, obeyed={}, claims=())


@act
async def collect(scene: Scene) -> None:
    for _ in scene.some:  # nobody is there to be asked
        await scene.catalog.collection.claim(20, 0, frozenset())
        scene.clock.advance(1)
    for _ in range(20):
        claimed = await scene.catalog.collection.claim(20, 0)
        for node in NODES:
            there = [key for one, key in claimed if one == node]
            await scene.catalog.collection.finish(node, there)
        scene.clock.advance(1)


PREPARED: Final[dict[str, Act]] = {
    "begin what many had": use_one_chunk_often,
    "put in place of idle uploads": idle,
    "end of uploads": leave,
    "commit while copies are lacking": send,
    "change a large file while copies are lacking": lose_one_copy,
    "become restored": doom,
    "grant": pass_on,
    "invite": invite_many,
}


@pytest.fixture
async def scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Scene, Scene]]:
    for module, name in SMALL_STEPS:
        monkeypatch.setattr(module, name, ITEMS)
    made = []
    for files in SIZES:
        folder = tmp_path / str(files)
        catalogue.make(str(folder), files)
        clock = ManualClock()
        catalog = await SqliteCatalog.open(str(folder), world_of(clock), CatalogSettings())
        made.append(Scene(catalog, files, clock))
    yield made[0], made[1]
    for scene in made:
        await scene.catalog.close()


async def test_no_change_costs_more_in_a_larger_catalogue(scenes: tuple[Scene, Scene]) -> None:
    small, large = scenes
    found: dict[str, tuple[int, int]] = {}
    for name, work in ACTS.items():
        for scene in scenes:
            if name in PREPARED:
                await PREPARED[name](scene)
            with scene.watching():
                await work(scene)
            assert scene.costs, name
        found[name] = max(small.costs), max(large.costs)
    more = len(large.some) - len(small.some)
    grown = {
        name: cost
        for name, cost in found.items()
        if cost[1] > MORE * cost[0] + FEW + more * ALLOWED.get(name, 0)
    }
    assert not grown
