"""Callers, nodes, chunks and the shortest way to a written file."""

from collections.abc import Sequence

from blake3 import blake3

from collective.access.model import Caller, Right
from collective.catalog.interface import Catalog
from collective.catalog.model import (
    Allocation,
    Attributes,
    ChunkIntent,
    Entry,
    Extent,
    NodeRecord,
    PlaceFunction,
    PlacementNeed,
    Precondition,
    Upload,
    VerifiedReceipt,
)
from collective.core.ids import ChunkId, Domain, GlobalId, NodeId, SpiffeId
from collective.core.paths import FilePath

DOMAIN = Domain("home.alice")
OPERATOR = Caller(SpiffeId.coordinator(DOMAIN), is_operator=True, request_id="r1")
NODES = tuple(NodeId(f"n{number}") for number in range(1, 5))
ANY = Precondition()
SMALL, LARGE = 10, 10_000_000
"""Bytes of a test's chunks; beside large ones it does not matter what rows count for in a quota."""
SPARE = 1_000_000
"""More than all rows of a small test count for, less than a large chunk."""


def user(name: str) -> Caller:
    return Caller(SpiffeId.user(DOMAIN, GlobalId(name, DOMAIN)), is_operator=False)


def p(text: str) -> FilePath:
    return FilePath.parse(text)


async def grant(catalog: Catalog, who: Caller, path: str, rights: int) -> str:
    given = await catalog.add_grant(OPERATOR, p(path), Right(rights), who.principal, None)
    return given.id


async def enrol(catalog: Catalog, count: int = 3) -> None:
    for node in NODES[:count]:
        await catalog.add_node(NodeRecord(node, None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0))


def place_on(*nodes: NodeId) -> PlaceFunction:
    def place(need: PlacementNeed) -> Sequence[NodeId]:
        return [node for node in nodes if node not in need.held_by][: need.copies_missing]

    return place


def chunk(text: str) -> ChunkId:
    return ChunkId(blake3(text.encode()).digest())


def intent(text: str, offset: int = 0, length: int = SMALL) -> ChunkIntent:
    return ChunkIntent(chunk(text), length + 16, offset, length)


def extent(want: ChunkIntent) -> Extent:
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
    who: Caller = OPERATOR,
    nodes: Sequence[NodeId] = NODES[:3],
    condition: Precondition = ANY,
    unit: int = SMALL,
) -> tuple[Upload, list[ChunkIntent]]:
    wanted = [intent(text, number * unit, unit) for number, text in enumerate(texts)]
    upload = await catalog.open_upload(
        who, p(path), Attributes(), condition, wanted, place_on(*nodes)
    )
    return upload, wanted


async def write(
    catalog: Catalog,
    path: str,
    *texts: str,
    who: Caller = OPERATOR,
    nodes: Sequence[NodeId] = NODES[:3],
    copies: int = 99,
    condition: Precondition = ANY,
    unit: int = SMALL,
) -> Entry:
    upload, wanted = await begin(
        catalog, path, *texts, who=who, nodes=nodes, condition=condition, unit=unit
    )
    return await catalog.commit_upload(
        who,
        upload.id,
        [extent(want) for want in wanted],
        receipts(upload, count=copies),
        unit * len(wanted),
    )


async def names(
    catalog: Catalog, path: str, who: Caller = OPERATOR, *, deep: bool = False
) -> list[str]:
    found: list[str] = []
    token = ""
    while True:
        page = await catalog.list(who, p(path), recursive=deep, page_size=3, token=token)
        found += [str(entry.path) for entry in page.entries]
        token = page.next_token
        if not token:
            return found
