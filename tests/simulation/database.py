"""A SQLite VFS over the simulated disks, so that a kill and a power loss mean for a catalogue what they mean.

One VFS is registered for all machines: the first name of a path says whose disk it is
(``/coordinator/…``), and a file belongs to the process that runs on that machine when it is opened.
There is no shared memory: a connection has its database to itself (``locking_mode = EXCLUSIVE``).
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import apsw

from collective.core.randomness import SeededRandomness
from tests.simulation.disk import Inode, SimulatedDisk
from tests.simulation.process import Killed, Process
from tests.simulation.trace import Trace

_names: Final = itertools.count(1)
_READ_ONLY: Final = apsw.SQLITE_OPEN_READONLY
_CREATE: Final = apsw.SQLITE_OPEN_CREATE
_FLUSHES_NAME: Final = (
    apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
)


class SimulatedVfs(apsw.VFS):
    """Databases on the disks of simulated machines."""

    def __init__(self, seed: int) -> None:
        """Register under a name of its own; SQLite's own randomness comes from ``seed``."""
        self.vfs_name = f"simulation-{next(_names)}"
        self.machines: dict[str, tuple[SimulatedDisk, Process]] = {}
        self.ignores_flushes = False
        """A bug that can be put in: nothing that a database flushes is flushed."""
        self._randomness = SeededRandomness(seed)
        self._files: dict[_DatabaseFile, None] = {}
        """Those that are open, also of processes that are dead: these never close them."""
        super().__init__(self.vfs_name, "")

    def forget(self) -> None:
        """Let go of everything; no connection may be used any more.

        The engine's objects hold their files where the garbage collector does not look.
        """
        self.machines.clear()
        nobody = Process("nobody", Trace(lambda: 0.0, file=""))
        nobody.die()
        nowhere = SimulatedDisk()
        for file in self._files:
            file.let_go(nobody, nowhere)
        self._files.clear()
        self.unregister()

    def mount(self, machine: str, disk: SimulatedDisk, process: Process) -> None:
        """Let files below ``/machine`` belong to ``process`` from now on."""
        self.machines[machine] = (disk, process)
        for file in [one for one in self._files if one.is_of_the_dead]:
            file.let_go(file.process or process, SimulatedDisk())
            del self._files[file]

    def closed(self, file: _DatabaseFile) -> None:
        """Forget a file that its process has closed."""
        self._files.pop(file, None)

    def _of(self, path: str) -> tuple[SimulatedDisk, Process]:
        return self.machines[path.split("/", 2)[1]]

    # --- SQLite's names ---------------------------------------------------------------------------

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        """Open a file; a temporary one has no name and lies nowhere."""
        if name is None:
            return _DatabaseFile(SimulatedDisk(), None, Inode(), "", self, names=False)
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        disk, process = self._of(path)
        if not process.alive:
            raise apsw.CantOpenError(path)
        node = disk.node(path)
        is_new = node is None
        if node is None:
            if not flags[0] & _CREATE:
                raise apsw.CantOpenError(path)
            with _as_sqlite():
                process.effect()
                disk.may_write(path)
                folder, short = disk.parent(path)
            process.trace.detail(f"{process.name} create {path}")
            node = disk.make_inode()
            folder.change(short, node)
        if not isinstance(node, Inode):
            raise apsw.CantOpenError(path)
        if disk.read_only and not flags[0] & _READ_ONLY:
            raise apsw.CantOpenError(path)
        flags[1] = flags[0]
        names = is_new and bool(flags[0] & _FLUSHES_NAME)
        file = _DatabaseFile(disk, process, node, path, self, names=names)
        self._files[file] = None
        return file

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        """Tell whether there is such a file."""
        del flags
        disk, _ = self._of(pathname)
        return disk.node(pathname) is not None

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """Remove a file."""
        disk, process = self._of(filename)
        with _as_sqlite():
            process.effect()
            disk.may_write(filename)
            try:
                node = disk.file(filename)
            except OSError as error:
                raise apsw.IOError(filename) from error
            process.trace.detail(f"{process.name} delete {filename}")
            disk.take(-len(node.data), filename)
            folder, name = disk.parent(filename)
            folder.change(name, None)
            if syncdir and disk.flush(filename) and not self.ignores_flushes:
                folder.flush()

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        """Return the path as it is: all are absolute."""
        return name

    def xRandomness(self, numbytes: int) -> bytes:  # noqa: N802
        """Return bytes that the seed decides."""
        return self._randomness.token(numbytes)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802
        """Wait for nothing: nobody else could end the wait."""
        return microseconds

    def xCurrentTime(self) -> float:  # noqa: N802
        """Return a moment: the catalogue's times come from its clock."""
        return 2_460_000.5


class _DatabaseFile:
    """An open file of a database."""

    def __init__(
        self,
        disk: SimulatedDisk,
        process: Process | None,
        node: Inode,
        path: str,
        vfs: SimulatedVfs,
        *,
        names: bool,
    ) -> None:
        self._disk, self._process, self._node, self._path = disk, process, node, path
        self._vfs = vfs
        self._names = names
        """Whether the next flush is of the directory, too: as the engine does for new logs."""
        self._lock = 0

    @property
    def process(self) -> Process | None:
        """Whose it is; None for a temporary one."""
        return self._process

    @property
    def is_of_the_dead(self) -> bool:
        """Whether its process was killed: nothing can come of it any more."""
        return self._process is not None and not self._process.alive

    def let_go(self, nobody: Process, nowhere: SimulatedDisk) -> None:
        """Belong to a process that is dead, and to an empty disk."""
        self._process, self._disk, self._node = nobody, nowhere, Inode()

    def _effect(self) -> None:
        if self._process is not None:
            self._process.effect()

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        process = self._process
        if process is not None and not process.alive:
            raise apsw.IOError("dead")
        if self._disk.failing_reads:
            with _as_sqlite():
                self._disk.read(self._path)
        return bytes(self._node.data[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        try:
            if self._process is not None:
                self._process.effect()
            self._disk.write(self._node, data, offset, self._path)
        except (OSError, Killed) as error:
            raise _sqlite_error(error) from error

    def xTruncate(self, size: int) -> None:  # noqa: N802
        with _as_sqlite():
            self._effect()
            self._disk.truncate(self._node, size, self._path)

    def xSync(self, flags: int) -> None:  # noqa: N802
        del flags
        with _as_sqlite():
            self._effect()
            if self._process is not None:
                self._process.trace.detail(
                    f"{self._process.name} sync {self._path} {len(self._node.data)}"
                )
            if self._disk.flush(self._path) and not self._vfs.ignores_flushes:
                self._node.flush()
                if self._names:
                    self._names = False
                    self._disk.parent(self._path)[0].flush()

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._node.data)

    def xLock(self, level: int) -> None:  # noqa: N802
        self._lock = max(self._lock, level)

    def xUnlock(self, level: int) -> None:  # noqa: N802
        self._lock = level

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802
        del op, ptr
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return 4096

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0

    def xClose(self) -> None:  # noqa: N802
        self._vfs.closed(self)
        self._node = Inode()


def _sqlite_error(error: OSError | Killed) -> apsw.Error:
    """Return the engine's error for the disk's."""
    if isinstance(error, Killed):
        return apsw.IOError("the process is dead")
    if error.errno == errno.ENOSPC:
        return apsw.FullError(str(error))
    if error.errno == errno.EROFS:
        return apsw.ReadOnlyError(str(error))
    return apsw.IOError(str(error))


@contextmanager
def _as_sqlite() -> Iterator[None]:
    """Raise the engine's errors for the disk's."""
    try:
        yield
    except (OSError, Killed) as error:
        raise _sqlite_error(error) from error
