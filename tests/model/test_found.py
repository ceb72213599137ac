"""What the machine found in the product, in the fewest acts."""

from __future__ import annotations

import pytest

from collective.model.changes import Attributes
from tests.contract.catalog.world import (
    ANY,
    NODES,
    OPERATOR,
    begin,
    chunk,
    enrol,
    intent,
    p,
    place_on,
    write,
)
from tests.model.engine import Engine


async def _collect(engine: Engine) -> None:
    for _ in range(5):
        engine.clock.advance(3601)
        await engine.catalog.expire()
        for node, copy in await engine.catalog.claim_collection(1000, 0):
            await engine.catalog.finish_collection(node, [copy])
    while await engine.catalog.settle_copies():
        pass


@pytest.mark.xfail(reason="a pin that goes lowers nothing where a file holds the chunk", strict=True)
def test_a_chunk_wants_what_files_ask_for_after_an_upload_that_asked_for_more_is_gone() -> None:
    engine = Engine()

    async def play() -> int:
        catalog = engine.catalog
        await enrol(catalog)
        for path, copies in (("/one", 1), ("/three", 3)):
            await catalog.create_datastore(
                OPERATOR, p(path), copies=copies, quota_bytes=0, owner=None
            )
        await write(catalog, "/one/f", "x")
        upload, _ = await begin(catalog, "/three/f", "x")
        await catalog.abort_upload(OPERATOR, upload.id)
        await _collect(engine)
        (there,) = await catalog.chunk_copies(chunk("x"))
        return there.wanted

    try:
        assert engine.run(play()) == 1
    finally:
        engine.close()


__all__ = ["ANY", "NODES", "Attributes", "intent", "place_on"]
