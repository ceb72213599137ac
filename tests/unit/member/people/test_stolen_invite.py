"""Finding 5: three strangers who join by a stolen node code and claim 100 TB each.

A real catalogue under the real desks; only the nodes' disks are dictionaries.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from collective.catalog.interface.values import IssuedCertificate
from collective.core.errors import ConflictError, ExitCode, NotEnoughCopiesError
from collective.core.ids import ChunkId, NodeId, SpiffeId, UploadId
from collective.core.paths import FilePath
from collective.member.metrics import node_figures
from collective.member.nodes.approval import Approvals
from collective.member.nodes.warnings import Situation, warnings, warnings_for_all
from collective.model.extents import Extent
from collective.model.nodes import ShownState, Standing
from collective.model.people import Invite, InviteKind
from collective.model.writing import Attributes, Precondition
from collective.placement.shortage import Policy
from collective.rpc.gen.collective.v1 import transfer as pb
from collective.transfer.tickets.receipts import sign_receipt
from tests.unit.member.cluster import DOMAIN, GIB, report
from tests.unit.member.farm import OPERATOR, Scene, scene
from tests.unit.member.files.test_whole_files import stream

STRANGERS = ("x", "y", "z")
CLAIM = 100 << 40
FILES = 12


async def write(here: Scene, path: str, content: bytes) -> None:
    target = FilePath.parse(path)
    await here.whole.write(OPERATOR, target, Attributes(), Precondition(), stream(content))


def certified(name: str) -> IssuedCertificate:
    return IssuedCertificate(SpiffeId.node(DOMAIN, NodeId(name)), name, 10**15, b"")


async def steal(here: Scene) -> None:
    """Have a first file, then let three strangers in by a code with many uses."""
    await here.catalog.names.make_directory(OPERATOR, FilePath.parse("/d"), parents=False)
    await write(here, "/d/first", b"the member's first file")
    now_s = here.world.clock.wall_s()
    code = Invite("stolen", InviteKind.NODE, b"v" * 32, 100, 100, now_s + 3600, OPERATOR.principal)
    await here.catalog.codes.add(OPERATOR, code)
    for name in STRANGERS:
        await here.catalog.codes.redeem("stolen", name.encode() * 32, certified(name))
    await here.world.table.reload()
    hear(here)


def hear(here: Scene, own: str = "abc") -> None:
    here.world.hear(*own, *STRANGERS)
    for name in STRANGERS:
        claim = replace(report(name), capacity_bytes=CLAIM, used_bytes=0)
        here.world.table.heard(NodeId(name), claim)


def strangers_copies(here: Scene) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for node, chunks in here.farm.stored.items():
        for chunk, _ in chunks:
            found[chunk] = found.get(chunk, 0) + (node in STRANGERS)
    return found


async def complain(here: Scene, name: str, why: str) -> None:
    await here.catalog.nodes.doubt(NodeId(name), why)
    await here.world.table.reload()


def sentences(here: Scene) -> tuple[list[str], list[str]]:
    situation = Situation(
        policy=Policy(3),
        nodes=here.world.table.all(),
        outlook=here.world.table.outlook(),
        health=None,
        is_restored=False,
        now_ms=0,
    )
    return warnings(situation), warnings_for_all(situation)


async def test_strangers_of_a_stolen_join_code_get_a_minority_of_each_chunk(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await steal(here)
        for number in range(FILES):
            await write(here, f"/d/{number}", b"content %d" % number)
        per_chunk = strangers_copies(here)
        assert len(per_chunk) == FILES + 1
        assert max(per_chunk.values()) == 1
        assert 0 < sum(per_chunk.values()) < len(per_chunk), "nor does the claim win them all of it"


@pytest.mark.parametrize("copies", [1, 2])
async def test_strangers_get_nothing_of_a_datastore_of_one_or_two_copies(
    tmp_path: Path, copies: int
) -> None:
    async with scene(tmp_path) as here:
        await steal(here)
        await here.catalog.datastores.create(
            OPERATOR, FilePath.parse("/few"), copies=copies, quota_bytes=0, owner=None
        )
        before = here.farm.copies()
        for number in range(FILES):
            await write(here, f"/few/{number}", b"few copies %d" % number)
        assert here.farm.copies() == before + FILES * copies
        assert set(strangers_copies(here).values()) == {0}


async def test_strangers_never_make_the_quorum_and_the_error_names_whom_to_approve(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await steal(here)
        here.world.clock.advance(30.0)
        hear(here, own="a")
        with pytest.raises(NotEnoughCopiesError) as caught:
            await write(here, "/d/alone", b"one of the member's nodes is left")
        assert caught.value.exit_code == ExitCode.NOT_ENOUGH
        assert "collective node approve x y z" in caught.value.message
        desk = Approvals(here.catalog.nodes, here.catalog.identities, here.world.table, here.wakes)
        await desk.approve(OPERATOR, ["x"], even_doubted=False)
        await write(here, "/d/alone", b"one of the member's nodes is left")


async def test_status_warns_of_strangers_names_them_and_adds_up_none_of_their_claims(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await steal(here)
        for_admins, for_all = sentences(here)
        (told,) = [one for one in for_admins if "probation" in one]
        assert "x, y, z" in told
        assert "collective node approve x y z" in told
        assert not any("probation" in one for one in for_all)
        figures = node_figures(here.world.table)
        assert figures.capacity_bytes == 3 * GIB
        assert figures.by_state == {ShownState.UP: 3, ShownState.PROBATION: 3}
        desk = Approvals(here.catalog.nodes, here.catalog.identities, here.world.table, here.wakes)
        await desk.approve(OPERATOR, ["x", "y", "z"], even_doubted=False)
        assert not any("probation" in one for one in sentences(here)[0])
        assert node_figures(here.world.table).capacity_bytes == 3 * GIB + 3 * CLAIM


async def test_strangers_that_fall_silent_together_hold_no_repair_back(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        await steal(here)
        here.world.clock.advance(30.0)
        here.world.hear("a", "b", "c")
        assert not here.world.table.outlook().vanished_together


async def test_a_doubted_node_is_out_of_placement_told_of_and_approved_only_knowingly(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await steal(here)
        desk = Approvals(here.catalog.nodes, here.catalog.identities, here.world.table, here.wakes)
        await complain(here, "a", "it answered a challenge wrongly")
        (told,) = [one for one in sentences(here)[0] if "doubted" in one]
        assert "Node a is doubted (it answered a challenge wrongly)" in told
        assert "collective node approve a" in told
        assert NodeId("a") in here.world.table.outlook().gone
        before = len(here.farm.stored[NodeId("a")])
        for number in range(FILES):
            await write(here, f"/d/{number}", b"content %d" % number)
        assert len(here.farm.stored[NodeId("a")]) == before
        assert node_figures(here.world.table).by_state == {
            ShownState.UP: 2,
            ShownState.PROBATION: 3,
            ShownState.DOUBTED: 1,
        }
        with pytest.raises(ConflictError, match="--yes"):
            await desk.approve(OPERATOR, ["b", "a"], even_doubted=False)
        await here.catalog.nodes.doubt(NodeId("c"), "it was found out just now")
        with pytest.raises(ConflictError, match=r"found out just now.*--yes"):
            await desk.approve(OPERATOR, ["c"], even_doubted=False)
        await desk.clear(NodeId("c"))
        await desk.clear(NodeId("a"))
        live = here.world.table.get(NodeId("a"))
        assert live is not None
        assert live.record.standing is Standing.APPROVED
        await complain(here, "a", "again")
        await desk.approve(OPERATOR, ["a"], even_doubted=True)
        assert live.record.standing is Standing.APPROVED


async def test_a_node_is_out_of_placement_with_the_receipt_that_put_it_in_doubt(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        await here.catalog.names.make_directory(OPERATOR, FilePath.parse("/d"), parents=False)
        here.world.hear("a", "b", "c")
        chunk = ChunkId(b"c" * 32)
        upload = await here.catalog.uploads.open(
            OPERATOR,
            FilePath.parse("/d/f"),
            Attributes(),
            Precondition(),
            [Extent(0, 2, chunk, 2)],
            here.world.table.drawing().offers([(chunk, 2)]),
        )
        target = upload.allocations[0].targets[0]
        identity = here.world.table.identity(target.node)
        key = here.world.keys.signing_key(identity)
        assert key is not None
        receipt = sign_receipt(
            key,
            pb.Receipt(
                chunk_id=chunk,
                length=7,
                generation=target.generation,
                transfer_id=upload.id,
                node=str(identity),
                flushed=True,
            ),
        )
        upload_id = UploadId(upload.id, OPERATOR.principal.trust_domain)
        await here.files.uploads.record_extents(OPERATOR, upload_id, [], [receipt])
        live = here.world.table.get(target.node)
        assert live is not None
        assert live.record.standing is Standing.DOUBTED
