"""`cp -r`, name by name: what is made, what is let be, and what is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from collective.client.names import Names
from collective.client.trees.copying import TreeCopy
from collective.client.trees.result import Record
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UnreachableError,
    UsageError,
)
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.writing import Attributes, Precondition
from collective.rpc.remote.copying import RemoteCopying

FILE, DIRECTORY, LINK = EntryKind.FILE, EntryKind.DIRECTORY, EntryKind.LINK


def p(text: str) -> FilePath:
    return FilePath.parse(text)


class Tree:
    """Entries by path, with the content of files; some cannot be read or written."""

    def __init__(self, *paths: str) -> None:
        self.entries: dict[FilePath, Entry] = {}
        self.content: dict[FilePath, str] = {}
        self.denied: dict[str, CollectiveError] = {}
        self.version = 0
        self.links_made = 0
        self.meanwhile: Entry | None = None
        """What others put in a link's place after it was looked at."""
        for path in paths:
            self.put(path)

    def put(self, path: str, content: str = "", **how: Any) -> None:
        """``/d/`` is a directory, ``/d/l->`` a link, all else files."""
        kind = DIRECTORY if path.endswith("/") else LINK if path.endswith("->") else FILE
        at = p("/" + path.strip("/").removesuffix("->"))
        self.version += 1
        usual = {
            "size_bytes": len(content),
            "version": self.version,
            "modified_ns": 5,
            "mode": 0o644,
        }
        self.entries[at] = Entry(at, kind, **(usual | how))
        self.content[at] = content

    def _check(self, path: FilePath) -> None:
        if str(path) in self.denied:
            raise self.denied[str(path)]

    async def stat(self, path: FilePath) -> Entry:
        self._check(path)
        if path not in self.entries:
            raise NotFoundError(f"{path} does not exist.")
        return self.entries[path]

    async def list(self, path: FilePath, *, recursive: bool) -> AsyncIterator[Entry]:
        assert recursive
        for entry in sorted(self.entries.values(), key=lambda one: one.path.names):
            yield entry

    async def mkdir(self, path: FilePath, *, parents: bool) -> None:
        self._check(path)
        assert not parents
        if path.parent not in self.entries and not path.parent.is_root:
            raise NotFoundError(f"{path.parent} does not exist.")
        self.put(f"{path}/", modified_ns=None, mode=None)

    async def make_link(
        self, path: FilePath, target: bytes, attributes: Attributes, condition: Precondition
    ) -> None:
        self._check(path)
        there = self.entries.get(path)
        if self.meanwhile is not None:
            there = self.meanwhile
        if condition.if_absent and there is not None:
            raise ConflictError("It is there.")
        if condition.if_version != (0 if there is None else there.version):
            raise ConflictError("It is another version.")
        self.links_made += 1
        self.put(f"{path}->", target=target, modified_ns=attributes.modified_ns)

    async def set_attributes(
        self, path: FilePath, attributes: Attributes, *, if_version: int = 0
    ) -> None:
        entry = self.entries[path]
        assert if_version in {0, entry.version}
        self.entries[path] = entry._replace(
            modified_ns=attributes.modified_ns, mode=attributes.mode
        )

    async def copy(
        self,
        source: FilePath,
        target: FilePath,
        condition: Precondition,
        *,
        unless_same: bool,
        progress: object,
    ) -> tuple[Entry, bool]:
        self._check(target)
        there = self.entries.get(target)
        assert condition.if_absent == (there is None)
        assert condition.if_version == (0 if there is None else there.version)
        if unless_same and self.content[source] == self.content[target]:
            assert there is not None
            return there, True
        one = self.entries[source]
        self.put(str(target), self.content[source], modified_ns=one.modified_ns, mode=one.mode)
        return self.entries[target], False

    async def run(self, source: str, target: str) -> Record:
        record = Record(None)
        names, copying = cast("Names", self), cast("RemoteCopying", self)
        await TreeCopy(names, names, copying, record, None).run(p(source), p(target))
        return record


async def test_all_below_a_directory_comes_to_be_below_another() -> None:
    tree = Tree("/s/", "/s/a", "/s/d/", "/s/d/b", "/s/d/l->", "/sx", "/other/")
    tree.put("/s/a", "content")
    tree.put("/s/d/", mode=0o700, modified_ns=9)
    result = (await tree.run("/s", "/t")).result
    made = {str(path) for path in tree.entries if path.names[0] == "t"}
    assert made == {"/t", "/t/a", "/t/d", "/t/d/b", "/t/d/l"}
    assert tree.content[p("/t/a")] == "content"
    assert (result.files, result.directories, result.links, result.bytes) == (2, 2, 1, 7)
    there = tree.entries[p("/t/d")]
    assert (there.mode, there.modified_ns) == (0o700, 9), "after what is in it"


async def test_a_second_run_carries_what_differs() -> None:
    tree = Tree("/s/", "/s/same", "/s/touched", "/s/other", "/s/l->")
    tree.put("/s/other", "one")
    await tree.run("/s", "/t")
    tree.put("/t/only")
    tree.entries[p("/s/touched")] = tree.entries[p("/s/touched")]._replace(modified_ns=77)
    tree.put("/s/other", "two")
    result = (await tree.run("/s", "/t")).result
    assert (result.files, result.attributes, result.unchanged, result.links) == (1, 1, 2, 0)
    assert tree.entries[p("/t/touched")].modified_ns == 77
    assert tree.content[p("/t/other")] == "two"
    assert p("/t/only") in tree.entries, "nothing is removed"


async def test_a_link_is_made_once_and_takes_no_place_that_others_took_meanwhile() -> None:
    tree = Tree("/s/", "/t/")
    tree.put("/s/l->", target=b"there")
    assert (await tree.run("/s", "/t")).result.links == 1
    assert (await tree.run("/s", "/t")).result.unchanged == 1
    assert tree.links_made == 1
    tree.put("/s/l->", target=b"elsewhere")
    assert (await tree.run("/s", "/t")).result.links == 1, "its own is replaced"
    for there in (None, tree.entries[p("/t/l")]):
        if there is None:
            del tree.entries[p("/t/l")]
        tree.meanwhile = Entry(p("/t/l"), FILE, 5, version=99)
        tree.put("/s/l->", target=b"again")
        [left] = (await tree.run("/s", "/t")).result.left_out
        assert isinstance(left.error, ConflictError)
        tree.put("/t/l->", target=b"old")
    assert tree.links_made == 2


async def test_what_cannot_be_copied_is_left_out_with_what_is_below_it_and_the_rest_goes_on() -> (
    None
):
    tree = Tree("/s/", "/s/a", "/s/d/", "/s/d/deep/", "/s/d/deep/b", "/s/e/", "/s/e/c", "/t/")
    tree.put("/s/f/")
    tree.denied["/t/a"] = PermissionDeniedError("no")
    tree.denied["/t/d"] = ConflictError("no")
    tree.put("/t/f")
    result = (await tree.run("/s", "/t")).result
    assert sorted(one.name for one in result.left_out) == ["/s/a", "/s/d", "/s/f"]
    assert p("/t/e/c") in tree.entries
    assert not [path for path in tree.entries if path.starts_with(p("/t/d"))]


async def test_a_directory_takes_no_files_place_nor_a_file_a_directorys() -> None:
    tree = Tree("/s/", "/s/x", "/t/", "/t/x/")
    [left] = (await tree.run("/s", "/t")).result.left_out
    assert isinstance(left.error, ConflictError)
    with pytest.raises(UsageError, match="without -r"):
        await tree.run("/s/x", "/t/y")


async def test_a_tree_is_not_copied_into_itself() -> None:
    tree = Tree("/s/", "/s/d/")
    for target in ("/s", "/s/d", "/s/new"):
        with pytest.raises(UsageError, match="into itself"):
            await tree.run("/s", target)


async def test_a_peer_that_is_away_ends_the_whole() -> None:
    tree = Tree("/s/", "/s/a", "/s/b")
    tree.denied["/t/a"] = UnreachableError("away")
    with pytest.raises(UnreachableError):
        await tree.run("/s", "/t")
