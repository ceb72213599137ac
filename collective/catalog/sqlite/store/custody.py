"""Custody: whether the files of a data dir are the ones that the last process left there.

A data dir that was copied file by file while a process wrote it (``tar`` of a serving coordinator) may hold
a database and a write-ahead log of different moments, which can pass every check of SQLite's.  What a copy
cannot have is the number and the time of change of the original files.  So a process that takes a data
dir writes a *mark*, a small file that it does not touch again, and then the *record*: the mark's
identity, the database's inode, and a stamp that the database gets as well (``catalog_life_rows``).

* ``catalog.mark-<hex>``: the mark; named anew each time, so that the record always names one that is there.
* ``catalog.place``: the record, JSON, replaced as a whole.

The same record tells a running process that its files were replaced under it (a backup unpacked over
them): from then on it must write nothing.  At a clean end the record gets the database's length and
BLAKE3, by which a copy made after that is known to be whole.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from enum import Enum, auto
from typing import Any, Final

from blake3 import blake3

from collective.core.disk import Disk, FileIdentity
from collective.core.errors import CollectiveError, DataDirError
from collective.core.randomness import Randomness, hex_id
from collective.core.small_files import read_small

DATABASE: Final = "catalog.db"
RECORD: Final = "catalog.place"
_MARK: Final = "catalog.mark-"
_READ_BYTES: Final = 1 << 20
_HEADER_BYTES: Final = 100
_MAGIC: Final = b"SQLite format 3\0"


class Origin(Enum):
    """Where the files of a data dir come from."""

    NEW = auto()
    """Nothing is there, or a first start that was cut off."""
    OURS = auto()
    """They are as the last process left them, by whatever end."""
    ENDED = auto()
    """So, and that end was a clean one, and the database was not written to since."""
    TOUCHED = auto()
    """They may be: the same files, but owner or mode were changed, or inode numbers are made up."""
    CLOSED = auto()
    """A copy, made after a clean end: the database alone is whole, a log beside it is another's."""
    SNAPSHOT = auto()
    """A snapshot was put in the database's place by hand."""
    UNRECORDED = auto()
    """There is no record: a version of this program that wrote none was the last."""
    COPIED = auto()
    """A copy of files in use, or parts of one: not to be trusted."""
    MISSING = auto()
    """There was a catalogue, and its database is gone."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The database as a clean end left it."""

    size_bytes: int
    modified_ns: int
    blake3: str


@dataclass(frozen=True, slots=True)
class Record:
    """What a process noted of the data dir that it took."""

    stamp: str
    previous: str
    """The stamp that the database had before."""
    epoch: int
    sequence: int
    """The catalogue is at least that far."""
    mark: str
    mark_identity: FileIdentity
    mark_generation: int
    database_inode: int
    database_generation: int
    closed: Closed | None = None
    is_damaged: bool = False
    """The process found the database damaged while it ran."""

    def to_json(self) -> bytes:
        """Return the file's content."""
        return (
            json.dumps(
                asdict(self) | {"mark_identity": self.mark_identity._asdict()}, indent=1
            ).encode()
            + b"\n"
        )

    @classmethod
    def from_json(cls, content: bytes) -> Record:
        """Raise DataDirError where this is no record."""
        try:
            found: dict[str, Any] = json.loads(content)
            closed = found.pop("closed")
            identity = FileIdentity(**found.pop("mark_identity"))
            return cls(
                **found,
                mark_identity=identity,
                closed=None if closed is None else Closed(**closed),
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataDirError("The record of the data dir is damaged.") from error


def judge(data_dir: str, disk: Disk, *, has_snapshots: bool) -> tuple[Origin, Record | None]:
    """Tell where the files come from; no connection to the database may be open."""
    path = os.path.join(data_dir, DATABASE)
    is_recorded, record = _read_record(data_dir, disk)
    header = _header(path, disk)
    if not header and not disk.exists(f"{path}-wal"):
        return (Origin.MISSING if is_recorded or has_snapshots else Origin.NEW), record
    if header and header[:16] == _MAGIC and header[18] == 1:  # of a rollback journal: never of ours
        was_cut_off = int.from_bytes(header[60:64], "big") == 0  # the schema's number
        return (Origin.NEW if was_cut_off else Origin.SNAPSHOT), record
    if not header:
        return Origin.COPIED, record
    if not is_recorded:
        return Origin.UNRECORDED, None
    if record is None:
        return Origin.COPIED, None
    return _compare(data_dir, path, record, disk), record


def _compare(data_dir: str, path: str, record: Record, disk: Disk) -> Origin:
    mark_path = os.path.join(data_dir, record.mark)
    mark, database = disk.identity(mark_path), disk.identity(path)
    assert database is not None
    told = record.mark_identity
    if mark is not None and (mark.size_bytes, mark.modified_ns) == (
        told.size_bytes,
        told.modified_ns,
    ):
        same_mark = mark.inode == told.inode and (
            disk.generation(mark_path) == record.mark_generation
        )
        same_database = database.inode == record.database_inode and (
            disk.generation(path) == record.database_generation
        )
        unchanged = mark.changed_ns == told.changed_ns
        if same_mark and same_database:
            if not unchanged:
                return Origin.TOUCHED
            return Origin.ENDED if _is_untouched(path, database, record, disk) else Origin.OURS
        if unchanged and mark.inode != told.inode and database.inode != record.database_inode:
            return Origin.TOUCHED
    if record.closed is not None and _is_closed(path, record.closed, disk):
        return Origin.CLOSED
    return Origin.COPIED


def _is_untouched(path: str, database: FileIdentity, record: Record, disk: Disk) -> bool:
    closed = record.closed
    if closed is None or disk.exists(f"{path}-wal"):
        return False
    return (database.size_bytes, database.modified_ns) == (closed.size_bytes, closed.modified_ns)


def _is_closed(path: str, closed: Closed, disk: Disk) -> bool:
    found = disk.identity(path)
    if found is None or found.size_bytes != closed.size_bytes:
        return False
    return digest_of(path, disk) == closed.blake3


def _read_record(data_dir: str, disk: Disk) -> tuple[bool, Record | None]:
    path = os.path.join(data_dir, RECORD)
    if not disk.exists(path):
        return False, None
    try:
        return True, Record.from_json(read_small(path, disk=disk))
    except CollectiveError:
        return True, None


def _header(path: str, disk: Disk) -> bytes:
    try:
        with disk.open(path, "read") as file:
            buffer = memoryview(bytearray(_HEADER_BYTES))
            return bytes(buffer[: file.read_into(buffer, 0)])
    except FileNotFoundError:
        return b""


def digest_of(path: str, disk: Disk) -> str:
    """Return a file's BLAKE3 in hex, read in pieces."""
    hasher, offset = blake3(), 0
    buffer = memoryview(bytearray(_READ_BYTES))
    with disk.open(path, "read") as file:
        while count := file.read_into(buffer, offset):
            hasher.update(buffer[:count])
            offset += count
    return hasher.hexdigest()


class Custody:
    """One process's hold of a data dir.  Every method may be called on any thread."""

    def __init__(self, data_dir: str, disk: Disk, record: Record) -> None:
        """Use :meth:`take`."""
        self._data_dir = data_dir
        self._disk = disk
        self._record = record
        self._accepted: tuple[FileIdentity, ...] = ()
        self._is_lost = False

    @classmethod
    def take(
        cls,
        data_dir: str,
        disk: Disk,
        randomness: Randomness,
        *,
        previous: str,
        epoch: int,
        sequence: int,
        database_generation: int,
    ) -> Custody:
        """Write mark and record; the caller then writes :attr:`stamp` into the database.

        ``previous`` is the stamp that the database has now; its generation was asked for before it was
        opened.
        """
        database = disk.identity(os.path.join(data_dir, DATABASE))
        assert database is not None
        custody = cls(
            data_dir,
            disk,
            Record(
                stamp=hex_id(randomness),
                previous=previous,
                epoch=epoch,
                sequence=sequence,
                mark="",
                mark_identity=database,
                mark_generation=0,
                database_inode=database.inode,
                database_generation=database_generation,
            ),
        )
        custody._write(custody._record, hex_id(randomness)[:8])
        return custody

    @property
    def stamp(self) -> str:
        """This process's, in the record and in the database."""
        return self._record.stamp

    def is_ours(self) -> bool:
        """Whether the data dir still holds the files that this process took; once False, always."""
        if not self._is_lost:
            record = self._disk.identity(os.path.join(self._data_dir, RECORD))
            database = self._disk.identity(os.path.join(self._data_dir, DATABASE))
            self._is_lost = (
                record is None
                or database is None
                or database.inode != self._record.database_inode
                or not any(_same(record, known) for known in self._accepted)
            )
        return not self._is_lost

    def require(self) -> None:
        """Raise DataDirError where the files were replaced."""
        if not self.is_ours():
            raise DataDirError(
                f"The files in {self._data_dir} were replaced while the coordinator ran (a backup"
                " unpacked over them?): nothing is written any more; restart it."
            )

    def note(self, epoch: int, sequence: int, *, mark: str) -> None:
        """Write the record anew: the catalogue is that far; ``mark`` is fresh hex for the name."""
        if self.is_ours():
            self._write(replace(self._record, epoch=epoch, sequence=sequence, closed=None), mark)

    def closed(self, epoch: int, sequence: int) -> None:
        """Note a clean end: nothing has the database open, and a log beside it holds nothing more."""
        if self.is_ours():
            path = os.path.join(self._data_dir, DATABASE)
            found = self._disk.identity(path)
            assert found is not None
            closed = Closed(found.size_bytes, found.modified_ns, digest_of(path, self._disk))
            self._replace(
                replace(self._record, epoch=epoch, sequence=sequence, closed=closed),
            )

    def condemn(self) -> None:
        """Note that the database is damaged: the next start is not to use it."""
        if self.is_ours():
            self._replace(replace(self._record, is_damaged=True))

    def _write(self, record: Record, mark: str) -> None:
        """Write a fresh mark, then the record that names it, then remove other marks."""
        name = f"{_MARK}{mark}"
        path = os.path.join(self._data_dir, name)
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(path)
        with self._disk.open(path, "create") as file:
            file.write(record.stamp.encode() + b"\n", 0)
            file.datasync()
        self._disk.sync_dir(self._data_dir)
        identity = self._disk.identity(path)
        assert identity is not None
        generation = self._disk.generation(path)
        self._replace(
            replace(record, mark=name, mark_identity=identity, mark_generation=generation)
        )
        for entry in self._disk.list_dir(self._data_dir):
            if entry.name.startswith(_MARK) and entry.name != name:
                self._disk.unlink(os.path.join(self._data_dir, entry.name))

    def _replace(self, record: Record) -> None:
        path = os.path.join(self._data_dir, RECORD)
        fresh = f"{path}.new"
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(fresh)
        with self._disk.open(fresh, "create") as file:
            file.write(record.to_json(), 0)
            file.datasync()
        identity = self._disk.identity(fresh)
        assert identity is not None
        self._accepted = (*self._accepted[-1:], identity)
        self._record = record
        self._disk.rename(fresh, path)
        self._disk.sync_dir(self._data_dir)


def _same(one: FileIdentity, other: FileIdentity) -> bool:
    """Compare by what ``rename`` and ``chown`` leave as it is."""
    return (one.inode, one.size_bytes, one.modified_ns) == (
        other.inode,
        other.size_bytes,
        other.modified_ns,
    )
