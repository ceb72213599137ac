"""Every test here runs by each way to the files of a member."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.contract.files.ways import Way, local_way, network_way, prepare
from tests.integration.federation.houses import Houses, running_houses

_NUMBERS: Final = itertools.count()
"""Names folders of tests that share members."""


@pytest.fixture(scope="package")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    """Two members that are peers, in processes of their own."""
    with running_houses(tmp_path_factory.mktemp("houses"), "alice", "bob") as made:
        prepare(made)
        yield made


@pytest.fixture(params=["local", "remote", "peer"])
async def way(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Way]:
    """A way to a folder of the test's own."""
    name = f"t{next(_NUMBERS)}"
    if request.param == "local":
        async with local_way(tmp_path, name) as made:
            yield made
        return
    members: Houses = request.getfixturevalue("houses")
    async with network_way(members, name, is_peer=request.param == "peer") as made:
        yield made
