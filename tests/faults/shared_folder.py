"""A folder that others write as well, on a disk in memory: there are no links there, and no pipes."""

from __future__ import annotations

from contextlib import suppress

from collective.core.disk import Disk
from collective.core.shared_folder import Listing, SharedFile, Stamp, UnfitFileError


class PlainSharedFolder:
    """Implements ``collective.core.shared_folder.SharedFolder`` by the calls of another disk."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path

    def names(self, most: int) -> Listing:
        found = sorted(entry.name for entry in self._disk.list_dir(self._path))
        return Listing(found[:most], is_whole=len(found) <= most)

    def read(
        self, subfolder: str, name: str, most_bytes: int, seen: Stamp | None
    ) -> SharedFile | None:
        path = f"{self._path}/{subfolder}/{name}"
        stamp = self._disk.identity(path)
        if stamp is None:
            return None
        if stamp.size_bytes > most_bytes:
            raise UnfitFileError(f"it is larger than {most_bytes // 1024} KiB.")
        if stamp == seen:
            return SharedFile(stamp, None)
        with self._disk.open(path, "read") as file:
            content = memoryview(bytearray(file.size_bytes()))
            return SharedFile(stamp, bytes(content[: file.read_into(content, 0)]))

    def write(self, subfolder: str, name: str, content: bytes) -> None:
        folder = f"{self._path}/{subfolder}"
        self._disk.list_dir(self._path)  # the folder itself is never made
        if not self._disk.exists(folder):
            self._disk.make_dir(folder)
            self._disk.sync_dir(self._path)
        fresh = f"{folder}/.{name}.new"
        with suppress(FileNotFoundError):
            self._disk.unlink(fresh)
        with self._disk.open(fresh, "create") as file:
            file.write(content, 0)
            file.datasync()
        self._disk.rename(fresh, f"{folder}/{name}")
        self._disk.sync_dir(folder)
