"""Puts and gets trees as an ordinary user, each example in a folder of its own."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, settings

from collective.client.trees.result import TreeResult
from tests.trees.home import Before, Home
from tests.trees.machine import NOBODY, Names, open_up

COUNTER: Final = itertools.count()
EXAMPLES: Final = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@contextmanager
def workplace(desk: Path) -> Iterator[Path]:
    """Give a folder for one example."""
    folder = desk / str(next(COUNTER))
    folder.mkdir()
    NOBODY.own(folder)
    try:
        yield folder
    finally:
        open_up(folder)
        shutil.rmtree(folder)


class Mover:
    """Puts and gets one tree, with notes."""

    def __init__(self, home: Home, folder: Path) -> None:
        """Put ``source`` in ``folder`` to a datastore of its own."""
        self.home, self.folder = home, folder
        self.path = home.fresh_path()
        self.source, self.state = folder / "source", str(folder / "state")

    def put(self, *, compares_all: bool = False, before: Before | None = None) -> TreeResult:
        """Put the source."""
        with NOBODY.acting():
            return self.home.run(
                lambda home: home.put_tree(str(self.source), self.path, compares_all=compares_all),
                state_dir=self.state,
                before=before,
            )

    def get(
        self, target: str, *, keeps_set_id: bool = True, before: Before | None = None
    ) -> TreeResult:
        """Get it to ``target``."""
        with NOBODY.acting():
            return self.home.run(
                lambda home: home.get_tree(
                    self.path, str(self.folder / target), keeps_set_id=keeps_set_id
                ),
                state_dir=self.state,
                before=before,
            )

    def named(self, result: TreeResult) -> set[Names]:
        """Return what a put has left out, by name below the root."""
        root = f"{self.source}/"
        assert len(result.left_out) == len({one.name for one in result.left_out})
        return {tuple(one.name.removeprefix(root).split("/")) for one in result.left_out}
