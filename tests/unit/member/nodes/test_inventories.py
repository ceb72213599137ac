from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from collective.chunking.chunk_ids import chunk_id
from collective.core.errors import ConflictError, UsageError
from collective.core.ids import NodeId
from collective.core.paths import FilePath
from collective.member.nodes.inventory_schedule import INVENTORY_S
from collective.model.extents import Extent
from collective.model.routes import RouteMode
from collective.model.writing import Attributes, Precondition
from tests import protocol as pb
from tests.unit.member.cluster import instance
from tests.unit.member.farm import OPERATOR, scene
from tests.unit.member.files.test_whole_files import stream
from tests.unit.member.nodes.test_heartbeats import A, beat, service, speak_as


async def test_an_inventory_out_of_order_is_refused(tmp_path: Path) -> None:
    async def pages() -> AsyncIterator[pb.InventoryPage]:
        copies = [pb.CopyRecord(chunk_id=bytes([n]) * 32, generation=1, length=9) for n in (2, 1)]
        yield pb.InventoryPage(instance_id=instance(1), copies=copies, last=True)

    async with scene(tmp_path) as here:
        speak_as(A)
        registry = service(here)
        await registry.heartbeat(beat())
        with pytest.raises(UsageError):
            await registry.report_inventory(pages())


@pytest.mark.parametrize("again", [False, True])
async def test_what_was_stored_since_the_inventory_was_asked_for_stays(
    tmp_path: Path, *, again: bool
) -> None:
    async with scene(tmp_path) as here:
        speak_as(A)
        registry = service(here)
        assert (await registry.heartbeat(beat(5))).send_inventory
        here.world.keys.hand_out(A, frozenset())
        path = FilePath.parse("/d/file")
        await here.catalog.names.make_directory(OPERATOR, path.parent, parents=False)
        opened = await here.files.uploads.open_upload(
            OPERATOR, path, Attributes(), Precondition(), [], mode=RouteMode.DIRECT
        )
        first = opened.id
        live = here.world.table.get(NodeId("a"))
        assert live is not None
        live.inventory.instance_id = (
            live.instance_id
        )  # as it was when the upload was given its routes
        intent = Extent(0, 3, chunk_id(b"abc"), 3)
        (plan,) = await here.files.uploads.allocate(
            OPERATOR, first, [intent], mode=RouteMode.DIRECT
        )
        if again:
            live.inventory.due_s = 2 * INVENTORY_S
            assert not (await registry.heartbeat(beat(5))).send_inventory
            live.inventory.due_s = 0.0
            assert (await registry.heartbeat(beat(5))).send_inventory
            assert live.ready, "it is given copies meanwhile"
        else:
            live.inventory.instance_id = ""

        async def pages() -> AsyncIterator[pb.InventoryPage]:
            """Made before the put, compared after it."""
            (route,) = plan.routes
            put = here.farm.put(route, [b"abc"])
            receipts = [result.receipt async for result in put if result.receipt is not None]
            extent = Extent(0, 3, intent.chunk, 3)
            await here.files.uploads.commit_upload(OPERATOR, first, [extent], receipts, 3)
            yield pb.InventoryPage(instance_id=instance(5), last=True)

        await registry.report_inventory(pages())
        assert len(await here.catalog.copies.stored(intent.chunk)) == 3
        with pytest.raises(ConflictError, match="awaited"):
            await registry.report_inventory(pages())
        assert not (await registry.heartbeat(beat(5))).send_inventory


async def test_an_inventory_names_what_nobody_knows(tmp_path: Path) -> None:
    async def pages() -> AsyncIterator[pb.InventoryPage]:
        ((_, given),) = here.farm.stored[NodeId("a")]
        copies = [
            pb.CopyRecord(chunk_id=bytes([n]) * 32, generation=generation, length=9)
            for n, generation in ((1, given), (2, given), (3, 1))
        ]
        yield pb.InventoryPage(instance_id=instance(5), copies=copies, last=True)

    async with scene(tmp_path) as here:
        path = FilePath.parse("/d/file")
        await here.catalog.names.make_directory(OPERATOR, path.parent, parents=False)
        await here.whole.write(OPERATOR, path, Attributes(), Precondition(), stream(b"abc"))
        speak_as(A)
        registry = service(here)
        assert (await registry.heartbeat(beat(5))).send_inventory
        verdict = await registry.report_inventory(pages())
        assert [copy.chunk_id[0] for copy in verdict.unknown] == [1, 2], "3 is from another life"
        assert not (await registry.heartbeat(beat(5))).send_inventory
