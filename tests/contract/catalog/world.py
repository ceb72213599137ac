"""Callers, nodes, chunks and the shortest way to a written file."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from blake3 import blake3

from collective.catalog.interface import Catalog
from collective.catalog.interface.values import (
    Allocation,
    ChunkPage,
    LocatedExtent,
    ReadView,
    RepairTask,
    Settled,
    Upload,
)
from collective.core.clock import ManualClock
from collective.core.ids import ChunkId, Domain, GlobalId, NodeId, SpiffeId
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.copies import ChunkCopies, VerifiedReceipt
from collective.model.entries import Entry
from collective.model.extents import Extent
from collective.model.nodes import NodeRecord, Standing
from collective.model.rights import Right
from collective.model.status import ChunkHealth
from collective.model.writing import Attributes, Precondition
from collective.placement.healing import GiveUp, MakeCopy, NodeFacts, heal
from collective.placement.node_choice import Offers

DOMAIN = Domain("home.alice")
OPERATOR = Call(SpiffeId.coordinator(DOMAIN), is_operator=True, request_id="r1")
NODES = tuple(NodeId(f"n{number}") for number in range(1, 5))
ANY = Precondition()
SMALL, LARGE = 10, 10_000_000
"""Bytes of a test's chunks; beside large ones it does not matter what rows count for in a quota."""
SPARE = 1_000_000
"""More than all rows of a small test count for, less than a large chunk."""


def user(name: str) -> Call:
    return Call(SpiffeId.user(DOMAIN, GlobalId(name, DOMAIN)), is_operator=False)


def p(text: str) -> FilePath:
    return FilePath.parse(text)


async def grant(catalog: Catalog, who: Call, path: str, rights: int) -> str:
    given = await catalog.grants.add(OPERATOR, p(path), Right(rights), who.principal, None)
    return given.id


async def enrol(catalog: Catalog, count: int = 3) -> None:
    for node in NODES[:count]:
        await catalog.nodes.add(NodeRecord(node, None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0))


def place_on(*nodes: NodeId) -> Offers:
    """Offer ``nodes``, in this order, for every chunk."""
    return Offers(defaultdict(lambda: nodes), {})


async def facts_of(
    catalog: Catalog, usable: frozenset[NodeId], lost: frozenset[NodeId]
) -> dict[NodeId, NodeFacts]:
    """Return what a coordinator knows of its nodes: ``usable`` ones answer, ``lost`` ones are gone."""
    return {
        record.node: NodeFacts(
            record.standing,
            answers=record.node in usable,
            stays=not record.draining
            and (record.node not in lost or record.standing is Standing.DOUBTED),
        )
        for record in await catalog.nodes.list()
        if not record.removed
    }


async def look(catalog: Catalog, facts: Mapping[NodeId, NodeFacts]) -> list[ChunkCopies]:
    """Return every chunk that a search of repair finds."""
    found: dict[tuple[ChunkId, int], ChunkCopies] = {}
    searches: list[Callable[[int, int], Awaitable[ChunkPage]]] = [catalog.repair.surplus_chunks]
    short, by_standing = (
        await catalog.repair.short_counts(),
        await catalog.repair.short_by_standing(),
    )
    for stored in range(17):
        searches.append(partial(catalog.repair.short_chunks, stored))
        assert stored in short or not (await catalog.repair.short_chunks(stored, 0, 1)).chunks
    searches += [
        partial(catalog.repair.chunks_on, node)
        for node, about in facts.items()
        if not about.counts or node in by_standing
    ]
    for search in searches:
        after: int | None = 0
        while after is not None:
            page = await search(after, 7)
            found.update({(one.chunk, one.stored_length): one for one in page.chunks})
            after = page.after
    return list(found.values())


async def claim(
    catalog: Catalog,
    limit: int,
    offers: Offers,
    usable: frozenset[NodeId],
    lost: frozenset[NodeId],
) -> Sequence[RepairTask]:
    """Do what one round of repair does: claim up to ``limit`` chunks, and give up what is surplus."""
    facts = await facts_of(catalog, usable, lost)

    def chosen(short: ChunkCopies, taken: AbstractSet[NodeId]) -> NodeId | None:
        fit = [node for node in offers.drawn[short.chunk, short.stored_length] if node not in taken]
        return next(iter(fit), None)

    acts = [heal(one, facts, chosen) for one in await look(catalog, facts)]
    await catalog.guarded.give_up([act for act in acts if isinstance(act, GiveUp)], facts)
    copies = sorted((act for act in acts if isinstance(act, MakeCopy)), key=lambda act: act.live)
    return await catalog.repair.claim(copies[:limit])


async def collected(catalog: Catalog, clock: ManualClock) -> None:
    """Let upkeep and collection come to their end."""
    for _ in range(5):
        clock.advance(3601)
        await catalog.upkeep.expire()
        for node, copy in await catalog.collection.claim(1000, 0):
            await catalog.collection.finish(node, [copy])


def answer(task: RepairTask) -> VerifiedReceipt:
    return VerifiedReceipt(
        task.chunk, task.target.node, task.target.generation, task.stored_length, task.repair_id
    )


async def confirm(
    catalog: Catalog,
    usable: frozenset[NodeId] = frozenset(NODES),
    lost: frozenset[NodeId] = frozenset(),
    *,
    liars: frozenset[NodeId] = frozenset(),
    full: frozenset[NodeId] = frozenset(),
) -> list[Settled]:
    """Settle what was given up, as if all usable nodes but ``liars`` proved all their copies."""
    facts = await facts_of(catalog, usable, lost)
    done = []
    for one, given in await catalog.guarded.claim(1000):
        proven = {
            copy.name for copy in one.copies if copy.node in usable and copy.node not in liars
        }
        if given.node in usable - liars and not given.is_corrupt:
            proven.add(given.name)
        done.append(
            await catalog.guarded.settle(one, given, proven, facts, lacks_room=given.node in full)
        )
    return done


async def health(
    catalog: Catalog, usable: frozenset[NodeId] = frozenset(NODES), who: Call | None = None
) -> ChunkHealth:
    """Return what is counted of chunks, for ``who`` (None: of everything); there must be something."""
    found = (await catalog.figures.totals(who, usable)).health
    assert found is not None
    return found


def chunk(text: str) -> ChunkId:
    return ChunkId(blake3(text.encode()).digest())


def intent(text: str, offset: int = 0, length: int = SMALL) -> Extent:
    return Extent(offset, length, chunk(text), length + 16)


def extent(want: Extent) -> Extent:
    return Extent(want.offset, want.length, want.chunk, want.stored_length)


def receipts(
    upload: Upload, allocations: Sequence[Allocation] | None = None, count: int = 99
) -> list[VerifiedReceipt]:
    return [
        VerifiedReceipt(a.chunk, copy.node, copy.generation, a.stored_length, upload.id)
        for a in (upload.allocations if allocations is None else allocations)
        for copy in a.targets[:count]
    ]


async def begin(
    catalog: Catalog,
    path: str,
    *texts: str,
    who: Call = OPERATOR,
    nodes: Sequence[NodeId] = NODES[:3],
    condition: Precondition = ANY,
    unit: int = SMALL,
) -> tuple[Upload, list[Extent]]:
    wanted = [intent(text, number * unit, unit) for number, text in enumerate(texts)]
    upload = await catalog.uploads.open(
        who, p(path), Attributes(), condition, wanted, place_on(*nodes)
    )
    return upload, wanted


async def write(
    catalog: Catalog,
    path: str,
    *texts: str,
    who: Call = OPERATOR,
    nodes: Sequence[NodeId] = NODES[:3],
    copies: int = 99,
    condition: Precondition = ANY,
    unit: int = SMALL,
) -> Entry:
    upload, wanted = await begin(
        catalog, path, *texts, who=who, nodes=nodes, condition=condition, unit=unit
    )
    return await catalog.uploads.commit(
        who,
        upload.id,
        [extent(want) for want in wanted],
        receipts(upload, count=copies),
        unit * len(wanted),
    )


def data_of(view: ReadView) -> list[LocatedExtent]:
    """Return the extents of a view, without the holes."""
    return [piece for piece in view.extents if isinstance(piece, LocatedExtent)]


async def names(
    catalog: Catalog, path: str, who: Call = OPERATOR, *, deep: bool = False
) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page = await catalog.names.list(who, p(path), recursive=deep, page_size=3, token=token)
        found += [str(entry.path) for entry in page.entries]
        token = page.next_token
        if not token:
            return found
