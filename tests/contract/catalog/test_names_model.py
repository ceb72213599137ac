"""The tree of names against a plain dictionary, by Hypothesis."""

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from collective.core.clock import ManualClock
from collective.core.errors import CollectiveError
from collective.core.paths import FilePath
from collective.model.writing import Attributes
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.world import ANY, OPERATOR, enrol, names, write

LEAVES = ("file", "link")
PATHS = st.lists(st.sampled_from(["a", "b", "e\u0301"]), min_size=1, max_size=3).map(
    lambda parts: FilePath(tuple(parts))
)


class Tree(RuleBasedStateMachine):
    def __init__(self, kind: type[Engines]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.engines = kind(Path(self.folder.name), ManualClock(), seed=1)
        self.catalog = self.runner.run(self.engines.open())
        self.runner.run(enrol(self.catalog))
        self.model: dict[FilePath, str] = {FilePath(): "dir"}

    def attempt(self, work: Coroutine[Any, Any, object], expected: bool) -> None:
        try:
            self.runner.run(work)
            happened = True
        except CollectiveError:
            happened = False
        assert happened == expected
        listed = self.runner.run(names(self.catalog, "/", deep=True))
        assert listed == [str(path) for path in sorted(self.model) if path.names]
        assert self.runner.run(self.engines.disagreements(self.catalog)) == []

    def below(self, path: FilePath) -> list[FilePath]:
        return [other for other in self.model if other.starts_with(path)]

    @rule(path=PATHS)
    def make(self, path: FilePath) -> None:
        fine = path not in self.model and self.model.get(path.parent) == "dir"
        if fine:
            self.model[path] = "dir"
        self.attempt(self.catalog.names.make_directory(OPERATOR, path, parents=False), fine)

    @rule(path=PATHS)
    def write(self, path: FilePath) -> None:
        fine = (
            len(path.names) > 1
            and self.model.get(path.parent) == "dir"
            and self.model.get(path) != "dir"
        )
        if fine:
            self.model[path] = "file"
        self.attempt(write(self.catalog, str(path), "x"), fine)

    @rule(path=PATHS)
    def link(self, path: FilePath) -> None:
        fine = (
            len(path.names) > 1
            and self.model.get(path.parent) == "dir"
            and self.model.get(path) != "dir"
        )
        if fine:
            self.model[path] = "link"
        self.attempt(self.catalog.names.make_link(OPERATOR, path, b"a", Attributes(), ANY), fine)

    @rule(path=PATHS)
    def set_attributes(self, path: FilePath) -> None:
        work = self.catalog.names.set_attributes(
            OPERATOR, path, modified_ns=1, mode=None, condition=ANY
        )
        self.attempt(work, path in self.model)

    @rule(path=PATHS, recursive=st.booleans())
    def remove(self, path: FilePath, recursive: bool) -> None:
        there = self.below(path)
        fine = path in self.model and (recursive or len(there) == 1)
        if fine:
            for gone in there:
                del self.model[gone]
        self.attempt(
            self.catalog.names.remove(OPERATOR, path, recursive=recursive, condition=ANY), fine
        )

    @rule(pair=st.tuples(PATHS, PATHS))
    def move(self, pair: tuple[FilePath, FilePath]) -> None:
        source, target = pair
        kind = self.model.get(source)
        fine = kind is not None and self.model.get(target.parent) == "dir"
        if source != target:
            fine = fine and not target.starts_with(source)
            if target in self.model:
                fine = fine and kind in LEAVES and self.model[target] in LEAVES
        if kind in LEAVES and len(target.names) == 1:
            fine = False
        if fine and source != target:
            for old in self.below(source):
                moved = FilePath(target.names + old.names[len(source.names) :])
                self.model[moved] = self.model.pop(old)
        self.attempt(self.catalog.names.move(OPERATOR, source, target, condition=ANY), fine)

    def teardown(self) -> None:
        self.runner.run(self.engines.end())
        self.runner.close()
        self.folder.cleanup()


def test_the_tree_is_what_a_dictionary_says(kind: type[Engines]) -> None:
    class TreeOfKind(Tree):
        def __init__(self) -> None:
            super().__init__(kind)

    run_state_machine_as_test(
        TreeOfKind,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
