"""Snapshots: consistent copies of a serving catalogue, each with its checksum.

``snapshots/catalog-<epoch>-<sequence>.db`` and the same name with ``.b3`` (BLAKE3 in hex, as ``b3sum``
writes it) are a *pair*.  A copy is flushed, checked, renamed, read back and compared; then its checksum is
published, which makes the pair complete.  ``snapshots/kept.json`` names the pairs of this catalogue and when
each was written.

What a backup that copies files one by one can rely on: a pair goes only when two newer ones were verified,
both at least :data:`GRACE_S` ago.  So whatever moment ``snapshots`` is listed at, the pair that was the
newest then can be read for that long.  Files never change under their names.

This module refuses to decide which files a start uses (``fallback``), and to touch anything when the data
dir is no longer this process's (``custody``).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from collective.catalog.sqlite.store.custody import Custody, digest_of
from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import CollectiveError, CorruptionError, NoSpaceError
from collective.core.small_files import read_small, write_atomically
from collective.model.nodes import Position

FOLDER: Final = "snapshots"
KEPT: Final = "kept.json"
GRACE_S: Final = 600.0
"""So long a pair outlives the moment at which two newer ones were there."""
_DRAFT: Final = "draft.tmp"
_NAME: Final = re.compile(r"catalog-(\d{8,})-(\d{16,})\.db")


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """One snapshot by its place in the catalogue's history."""

    epoch: int
    sequence: int

    @property
    def name(self) -> str:
        """The copy's file name; ``.b3`` is added for its checksum's."""
        return f"catalog-{self.epoch:08d}-{self.sequence:016d}.db"


def find_pairs(data_dir: str, disk: Disk) -> list[Pair]:
    """Return the pairs of which both files are there, the newest first; nothing is verified."""
    folder = os.path.join(data_dir, FOLDER)
    if not disk.exists(folder):
        return []
    names = {entry.name for entry in disk.list_dir(folder) if not entry.is_dir}
    matches = (_NAME.fullmatch(name) for name in names if f"{name}.b3" in names)
    return sorted((Pair(int(m[1]), int(m[2])) for m in matches if m), reverse=True)


def is_verified(data_dir: str, pair: Pair, disk: Disk) -> bool:
    """Read a pair: whether the copy has the checksum that its file tells."""
    path = os.path.join(data_dir, FOLDER, pair.name)
    try:
        told = read_small(f"{path}.b3", disk=disk).split()
        return bool(told) and told[0].decode("ascii", "replace") == digest_of(path, disk)
    except (OSError, CollectiveError):
        return False


def read_kept(data_dir: str, disk: Disk) -> dict[Pair, float]:
    """Return the pairs that ``kept.json`` names, and when each was written (Unix time, s)."""
    try:
        found: Any = json.loads(read_small(os.path.join(data_dir, FOLDER, KEPT), disk=disk))
        kept = {}
        for name, written_s in found.items():
            match = _NAME.fullmatch(name)
            if match:
                kept[Pair(int(match[1]), int(match[2]))] = float(written_s)
    except (CollectiveError, ValueError, TypeError, AttributeError):
        return {}
    return kept


class Snapshots:
    """The snapshots of one open catalogue.  Methods block; one thread at a time."""

    def __init__(self, data_dir: str, disk: Disk, clock: Clock, custody: Custody) -> None:
        """Nothing is read before the first :meth:`write`."""
        self._data_dir = data_dir
        self._folder = os.path.join(data_dir, FOLDER)
        self._disk = disk
        self._clock = clock
        self._custody = custody
        self._kept: dict[Pair, float] | None = None
        self._verified: set[Pair] = set()

    def write(
        self, copy: Callable[[str], None], is_sound: Callable[[str], bool], position: Position
    ) -> str:
        """Write one snapshot at least as new as ``position``, unless it is there; return its path.

        Args:
            copy: writes a consistent copy to the path given, and leaves nothing open.
            is_sound: whether the database at the path given shows no fault.
            position: names it.

        Raises:
            NoSpaceError: it does not fit; older snapshots stay.
            CorruptionError: the catalogue is damaged, or what was read back is not what was written.
            DataDirError: the files are no longer this process's.
        """
        pair = Pair(position.epoch, position.sequence)
        path = os.path.join(self._folder, pair.name)
        self._custody.require()
        try:
            self._disk.make_dir(self._folder)
            self._clear_drafts()
            if pair not in self._verified and not self._check(pair):
                self._publish(copy, is_sound, pair, path)
            self._note(pair)
            self._drop_old()
        except OSError as error:
            raise NoSpaceError(
                f"The snapshot could not be written ({error.strerror}); free some space in"
                f" {self._folder}."
            ) from error
        return path

    def _publish(
        self, copy: Callable[[str], None], is_sound: Callable[[str], bool], pair: Pair, path: str
    ) -> None:
        draft = os.path.join(self._folder, _DRAFT)
        copy(draft)
        if not is_sound(draft):
            raise CorruptionError(
                "The catalogue is damaged; restart the coordinator, and it goes on from the newest good"
                " snapshot."
            )
        checksum = digest_of(draft, self._disk)
        self._custody.require()
        for leftover in (f"{path}.b3", path):
            self._remove(leftover)
        self._disk.rename(draft, path)
        self._disk.sync_dir(self._folder)
        if digest_of(path, self._disk) != checksum:
            raise CorruptionError(f"The snapshot {path} is not what was written; check the disk.")
        content = f"{checksum}  {pair.name}\n".encode()
        write_atomically(f"{path}.b3", content, permissions=0o600, disk=self._disk)
        self._disk.sync_dir(self._data_dir)
        self._verified.add(pair)

    def _check(self, pair: Pair) -> bool:
        """Whether the pair is complete and right, read once a process."""
        if pair not in self._verified and pair in find_pairs(self._data_dir, self._disk):
            if not is_verified(self._data_dir, pair, self._disk):
                return False
            self._verified.add(pair)
        return pair in self._verified

    def _note(self, pair: Pair) -> None:
        """Bring ``kept.json`` up to date: what is there, and when it was written."""
        now_s = self._clock.wall_s()
        known = read_kept(self._data_dir, self._disk) if self._kept is None else self._kept
        present = find_pairs(self._data_dir, self._disk)
        kept = {one: min(known.get(one, now_s), now_s) for one in present}
        if kept != self._kept:
            self._store(kept)
        assert pair in kept

    def _store(self, kept: dict[Pair, float]) -> None:
        self._custody.require()
        content = json.dumps({pair.name: kept[pair] for pair in sorted(kept)}, indent=1)
        path = os.path.join(self._folder, KEPT)
        write_atomically(path, content.encode() + b"\n", permissions=0o600, disk=self._disk)
        self._kept = kept

    def _drop_old(self) -> None:
        """Remove the pairs, and halves of pairs, that two newer verified ones made superfluous."""
        assert self._kept is not None
        before_s = self._clock.wall_s() - GRACE_S
        newer: list[Pair] = []
        left = dict(self._kept)
        for pair in sorted(self._kept, reverse=True):
            if len(newer) < 2:  # noqa: PLR2004 - two verified pairs, always
                if self._kept[pair] <= before_s and self._check(pair):
                    newer.append(pair)
                continue
            self._custody.require()
            for path in self._paths(pair):
                self._remove(path)
            del left[pair]
            self._verified.discard(pair)
        if left != self._kept:
            self._store(left)
        if newer[1:]:
            self._clear_halves(newer[1])

    def _clear_halves(self, oldest: Pair) -> None:
        for entry in self._disk.list_dir(self._folder):
            match = _NAME.fullmatch(entry.name.removesuffix(".b3"))
            if match and Pair(int(match[1]), int(match[2])) < oldest:
                self._remove(os.path.join(self._folder, entry.name))

    def _clear_drafts(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            self._remove(os.path.join(self._folder, f"{_DRAFT}{suffix}"))

    def _paths(self, pair: Pair) -> tuple[str, str]:
        path = os.path.join(self._folder, pair.name)
        return f"{path}.b3", path

    def _remove(self, path: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(path)
