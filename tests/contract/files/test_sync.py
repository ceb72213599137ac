"""The same files for scripts: every call blocks."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from typing import Final

import pytest

from collective.client.sync import SyncCollective, SyncSource, connect
from collective.core.errors import ConflictError, NotFoundError
from collective.core.limits import CHUNK_SIZE_BYTES
from collective.model.changes import Changes, ListAnew
from collective.model.rights import Right
from collective.model.writing import Attributes, Precondition
from tests.integration.federation.houses import Houses, Person

CONTENT: Final = random.Random(5).randbytes(CHUNK_SIZE_BYTES + 77)


@pytest.fixture(params=["/shared/sync", "/@home.bob/shared/sync"], ids=["remote", "peer"])
def root(request: pytest.FixtureRequest, home: SyncCollective) -> Iterator[str]:
    """A folder of the test's own."""
    path: str = request.param
    home.mkdir(path)
    yield path
    home.remove(path, recursive=True)


@pytest.fixture
def home(houses: Houses) -> Iterator[SyncCollective]:
    credentials, addresses = Person(houses["alice"], "ann").login()
    with connect(credentials, addresses) as made:
        yield made


def test_contents_go_in_and_out_by_each_method(home: SyncCollective, root: str) -> None:
    pieces = [CONTENT[:1000], CONTENT[1000:]]
    sources: dict[str, SyncSource] = {
        "b": CONTENT,
        "i": iter(pieces),
        "f": io.BytesIO(CONTENT),
    }
    for name, source in sources.items():
        stored = home.write(f"{root}/{name}", source, attributes=Attributes(mode=0o600))
        assert stored == home.stat(f"{root}/{name}")
        assert home.read(f"{root}/{name}", offset=5) == CONTENT[5:]
    with home.open_read(f"{root}/b", offset=7, length=CHUNK_SIZE_BYTES) as reader:
        assert b"".join(reader) == CONTENT[7 : 7 + CHUNK_SIZE_BYTES]
        assert reader.entry.size_bytes == len(CONTENT)
    with home.open(f"{root}/b") as file:
        home.write(f"{root}/b", b"anew")
        assert file.read_at(CHUNK_SIZE_BYTES, 9) == CONTENT[CHUNK_SIZE_BYTES:][:9]
    with home.open_write(f"{root}/w") as writer:
        writer.write(b"one ")
        writer.write(b"two")
    assert (writer.entry.size_bytes, home.read(f"{root}/w")) == (7, b"one two")


def test_a_writer_that_is_left_by_an_error_leaves_nothing(home: SyncCollective, root: str) -> None:
    def leave_by_an_error() -> None:
        with home.open_write(f"{root}/f") as writer:
            writer.write(b"begun")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        leave_by_an_error()
    with pytest.raises(NotFoundError):
        home.stat(f"{root}/f")


def test_what_ends_a_write_is_raised_from_its_writer(home: SyncCollective, root: str) -> None:
    def write_for_ever() -> None:
        with home.open_write(f"{root}/none/f") as writer:
            while True:
                writer.write(CONTENT)

    with pytest.raises(NotFoundError):
        write_for_ever()


def test_names_conditions_batches_and_rights(home: SyncCollective, root: str) -> None:
    paths = [f"{root}/f{number}" for number in range(20)]
    home.write_many(dict.fromkeys(paths, b"x"))
    assert sorted(str(one.path) for one in home.list(root)) == sorted(paths)
    assert len(home.list_page(root, page_size=3).entries) == 3
    assert {one.value for one in home.read_many(paths)} == {b"x"}
    seen = home.stat(paths[0])
    home.write(paths[0], b"y", condition=Precondition(if_version=seen.version))
    with pytest.raises(ConflictError):
        home.write(paths[0], b"z", condition=Precondition(if_version=seen.version))
    home.copy(paths[0], f"{root}/copy")
    home.move(f"{root}/copy", f"{root}/moved")
    home.make_link(f"{root}/link", b"moved")
    home.set_attributes(f"{root}/moved", Attributes(modified_ns=3))
    assert [one.result().size_bytes for one in home.stat_many([f"{root}/moved"])] == [1]
    assert home.rights(root) == Right.READ | Right.WRITE | Right.SHARE
    assert [one.value for one in home.remove_many(paths)] == [1] * 20


def test_a_folder_is_watched(home: SyncCollective, root: str) -> None:
    told = home.watch(root)
    first = next(told)
    assert isinstance(first, ListAnew)
    home.write(f"{root}/f", b"x")
    found = next(told)
    assert isinstance(found, Changes)
    assert [one.path.name for one in found.changes] == ["f"]
    assert isinstance(home.changes(root, first.cursor, wait_s=1), Changes)


def test_what_has_no_method_is_run(home: SyncCollective) -> None:
    grants = home.run(lambda one: one.people.grants())
    assert "/shared" in {str(grant.path) for grant in grants}
    assert home.status().domain == "home.alice"
