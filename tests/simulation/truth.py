"""What is really there: the catalogue's rows and the nodes' disks, looked at from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import apsw

from collective.catalog.sqlite.store.counting import disagreements
from collective.chunking.chunk_ids import chunk_id
from collective.model.nodes import Standing
from collective.placement.quorum import count, quorum_of
from collective.roles.node.durable_memory import MEMORY_NAME, Remembered, decode
from tests.simulation.disk import Inode
from tests.simulation.member import Member


class Wanted(NamedTuple):
    """A chunk that something needs, and the copies of it that the catalogue counts."""

    chunk: bytes
    wanted: int
    copies: tuple[tuple[str, int], ...]
    """Node and generation of each copy in state *stored*."""


class Truth:
    """Looks at one member."""

    def __init__(self, member: Member) -> None:
        """Look at ``member``."""
        self._member = member

    def database(self) -> Any:
        """Return the coordinator's connection; None while it does not run, or has closed it to end."""
        role = self._member.running(self._member.coordinator)
        if role is None or role._catalog is None:
            return None
        found = role._catalog._engine.writer._db
        try:
            found.total_changes()
        except apsw.ConnectionClosedError:
            return None
        return found

    def rows(self, sql: str, *params: Any) -> list[Any]:
        """Return rows of the catalogue."""
        database = self.database()
        assert database is not None, "the coordinator does not run"
        return list(database.execute(sql, params).fetchall())

    def disagreements(self) -> list[str]:
        """Return what the catalogue's kept figures say that its rows do not."""
        return disagreements(self.database())

    def store(self, node: str, *, dead: bool = False) -> Any:
        """Return the open chunk store of a node; None while it does not run.

        ``dead``: also that of a process that died, as it was then.
        """
        role = self._member.roles.get(node) if dead else self._member.running(node)
        if role is None or role._heartbeat is None:
            return None
        return role._heartbeat._facts._store._core

    def remembered(self, node: str) -> Remembered:
        """Return what a node's disk says that it has been told by the coordinator."""
        found = self._member.machines[node].disk.node(f"/{node}/data/node/{MEMORY_NAME}")
        return decode(bytes(found.data)) if isinstance(found, Inode) else Remembered()

    def is_good(self, node: str, chunk: bytes, generation: int) -> bool:
        """Tell whether a node's disk has that copy, byte for byte."""
        core = self.store(node)
        if core is None:
            return False
        place = core._index.find(chunk, generation)
        if place is None:
            return False
        buffer = memoryview(bytearray(place.length))
        try:
            count = core._read_place(chunk, place, buffer)
        except OSError:
            return False
        return count == place.length and chunk_id(buffer) == chunk

    def may_be_good(self, node: str, chunk: bytes, generation: int) -> bool:
        """Tell whether a node's disk has that copy.

        Of one that does not run, or whose reads fail, whether its store shows it.
        """
        if self.store(node) is None or self._member.machines[node].disk.failing_reads:
            return (chunk, generation) in self.held(node, dead=True)
        return self.is_good(node, chunk, generation)

    def holders(self, chunk: bytes) -> list[str]:
        """Return the running nodes whose stores have a copy of ``chunk``, whatever its generation."""
        return [
            name
            for name in self._member.node_settings
            if (core := self.store(name)) is not None and core.holds(chunk)
        ]

    def held(self, node: str, *, dead: bool = False) -> set[tuple[bytes, int]]:
        """Return every copy that a node's store shows, or (``dead``) showed when it died."""
        core = self.store(node, dead=dead)
        if core is None:
            return set()
        return {(copy.chunk, copy.generation) for page in core.inventory(1000) for copy in page}

    def wanted(self, *, uploads: bool = False) -> Iterator[Wanted]:
        """Yield every chunk that a current version needs, and with ``uploads`` an open one."""
        states = "(0, 1)" if uploads else "(1)"
        found: dict[bytes, tuple[int, list[tuple[str, int]]]] = {}
        for chunk, want, node, generation in self.rows(
            "SELECT c.hash, c.wanted, n.name, p.generation FROM chunks c"
            " LEFT JOIN copies p ON p.chunk = c.id AND p.state = 1"
            " LEFT JOIN nodes n ON n.id = p.node"
            " WHERE EXISTS (SELECT 1 FROM extents x JOIN versions v ON v.id = x.version"
            f" WHERE x.chunk = c.id AND v.state IN {states}) ORDER BY c.hash"
        ):
            _, copies = found.setdefault(chunk, (want, []))
            if node is not None:
                copies.append((node, generation))
        for chunk, (want, copies) in found.items():
            yield Wanted(chunk, want, tuple(sorted(copies)))

    def is_whole(self, may_be_lost: Callable[[bytes], bool]) -> bool:
        """Tell whether every chunk that is needed has as many good copies as it can have now.

        Those that are lost rightly never do.  A node that is drained or doubted gets none; fewer than a quorum are never enough.
        """
        if self.database() is None:
            return False
        standings = dict(self.rows("SELECT name, standing FROM nodes WHERE removed = 0"))
        usable = [
            Standing(standings[name])
            for (name,) in self.rows("SELECT name FROM nodes WHERE removed = 0 AND draining = 0")
        ]
        most = count(usable)
        for one in self.wanted(uploads=True):
            if may_be_lost(one.chunk):
                continue
            good = [
                Standing(standings[node])
                for node, number in one.copies
                if node in standings and self.is_good(node, one.chunk, number)
            ]
            if count(good) < min(one.wanted, max(most, quorum_of(one.wanted))):
                return False
        return True
