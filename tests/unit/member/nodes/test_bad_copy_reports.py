from __future__ import annotations

from pathlib import Path

from collective.core.ids import NodeId
from collective.core.paths import FilePath
from collective.model.writing import Attributes, Precondition
from tests import protocol as pb
from tests.unit.member.farm import OPERATOR, scene
from tests.unit.member.files.test_whole_files import stream
from tests.unit.member.nodes.test_heartbeats import A, service, speak_as


async def test_a_copy_that_its_node_calls_bad_counts_no_more_and_is_not_deleted_yet(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path) as here:
        path = FilePath.parse("/d/file")
        await here.catalog.names.make_directory(OPERATOR, path.parent, parents=False)
        await here.whole.write(OPERATOR, path, Attributes(), Precondition(), stream(b"abc"))
        ((chunk, generation),) = here.farm.stored[NodeId("a")]
        speak_as(A)
        registry = service(here)
        for corrupt in (False, True):
            trouble = pb.CopyTrouble(chunk_id=chunk, generation=generation, corrupt=corrupt)
            await registry.report_problems(pb.ReportProblemsRequest(copies=[trouble]))
            assert len(await here.catalog.copies.stored(chunk)) == 2
            assert await here.catalog.collection.claim(9, 0.0) == []
