"""The data dir of a store: its layout, its lock, and ``store.json``.

===================== ==================================================================
path                  holds
===================== ==================================================================
``store.json``        uuid, format version, key of pack records; written before any chunk
``lock``              held exclusively while a process has the store open
``tmp/``              files being written; swept at open
``chunks/ab/``        ``<hex id>.<generation>``: one chunk each
``packs/``            ``<number>.pack``: small chunks and tombstones, append-only
===================== ==================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from collective.core.disk import Disk, DiskLock, sync_ancestors
from collective.core.errors import DataDirError, UsageError
from collective.core.ids import ChunkId, Generation, StoreUuid, parse_hex_id
from collective.core.randomness import Randomness, hex_id

FORMAT_VERSION: Final = 1
_STORE_JSON_MAX_BYTES: Final = 4096
_KEY_BYTES: Final = 32
_ID_HEX_DIGITS: Final = 64
_GENERATION_MAX: Final = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths inside a data dir."""

    root: str

    @property
    def store_json(self) -> str:
        """The file that makes a directory a store."""
        return f"{self.root}/store.json"

    @property
    def lock(self) -> str:
        """The lock file."""
        return f"{self.root}/lock"

    @property
    def temporaries(self) -> str:
        """Directory of files being written."""
        return f"{self.root}/tmp"  # noqa: S108 - a directory of the store

    @property
    def chunks(self) -> str:
        """Parent of the directories of chunk files."""
        return f"{self.root}/chunks"

    @property
    def packs(self) -> str:
        """Directory of the packs."""
        return f"{self.root}/packs"

    def chunk_dir(self, chunk: ChunkId) -> str:
        """Directory of the chunk's own file."""
        return f"{self.root}/chunks/{chunk[:1].hex()}"

    def chunk_file(self, chunk: ChunkId, generation: Generation) -> str:
        """The chunk's own file."""
        return f"{self.root}/chunks/{chunk[:1].hex()}/{chunk.hex()}.{generation}"

    def pack_file(self, number: int) -> str:
        """The pack with that number."""
        return f"{self.root}/packs/{number:08d}.pack"


def parse_chunk_name(name: str) -> tuple[ChunkId, Generation] | None:
    """Return what the name of a chunk file says, or None if it is not one."""
    digits, dot, number = name.partition(".")
    if not dot or len(digits) != _ID_HEX_DIGITS or not number.isascii() or not number.isdecimal():
        return None
    try:
        chunk = bytes.fromhex(digits)
    except ValueError:
        return None
    generation = int(number)
    if f"{chunk.hex()}.{generation}" != name or generation > _GENERATION_MAX:
        return None
    return ChunkId(chunk), Generation(generation)


def parse_pack_name(name: str) -> int | None:
    """Return the number of a pack file's name, or None if it is not one."""
    digits, dot, tail = name.partition(".")
    if not dot or tail != "pack" or not digits.isascii() or not digits.isdecimal():
        return None
    return int(digits)


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """What ``store.json`` says."""

    uuid: StoreUuid
    record_key: bytes


def claim_data_dir(
    disk: Disk, layout: Layout, expected_uuid: StoreUuid | None, randomness: Randomness
) -> tuple[DiskLock, StoreIdentity]:
    """Lock the data dir and return its identity, making a new store if none is expected.

    Raises:
        DataDirError: see :meth:`ChunkStore.open`.
    """
    if expected_uuid is not None and not disk.exists(layout.store_json):
        raise DataDirError(f"No chunk store is in {layout.root}; is the disk mounted?")
    disk.make_dir(layout.root)
    lock = disk.lock(layout.lock)
    if lock is None:
        raise DataDirError(f"Another process has {layout.root} open; stop it first.")
    try:
        if disk.exists(layout.store_json):
            identity = _read_identity(disk, layout)
        else:
            identity = _make_store(disk, layout, randomness)
        _check_uuid(layout, identity, expected_uuid)
        for path in (layout.temporaries, layout.chunks, layout.packs):
            disk.make_dir(path)
        if not disk.space(layout.root).read_only:
            disk.sync_dir(layout.root)
    except BaseException:
        lock.release()
        raise
    return lock, identity


def _check_uuid(layout: Layout, identity: StoreIdentity, expected_uuid: StoreUuid | None) -> None:
    if expected_uuid is not None and identity.uuid != expected_uuid:
        raise DataDirError(
            f"{layout.root} holds store {identity.uuid}, not {expected_uuid}; is the right disk"
            " mounted?"
        )


def _read_identity(disk: Disk, layout: Layout) -> StoreIdentity:
    buffer = bytearray(_STORE_JSON_MAX_BYTES)
    with disk.open(layout.store_json, "read") as file:
        count = file.read_into(memoryview(buffer), 0)
    damaged = f"{layout.store_json} is damaged; restore it from a backup or use an empty data dir."
    try:
        content = json.loads(bytes(buffer[:count]))
    except ValueError as error:
        raise DataDirError(damaged) from error
    if not isinstance(content, dict) or not isinstance(content.get("format"), int):
        raise DataDirError(damaged)
    if content["format"] > FORMAT_VERSION:
        raise DataDirError(
            f"{layout.root} has format {content['format']}, made by a newer version; upgrade."
        )
    try:
        uuid = StoreUuid(parse_hex_id(str(content.get("uuid"))))
        key = bytes.fromhex(str(content.get("record_key")))
    except (UsageError, ValueError) as error:
        raise DataDirError(damaged) from error
    if len(key) != _KEY_BYTES:
        raise DataDirError(damaged)
    return StoreIdentity(uuid, key)


def _make_store(disk: Disk, layout: Layout, randomness: Randomness) -> StoreIdentity:
    for path in (layout.chunks, layout.packs):
        if disk.exists(path) and disk.list_dir(path):
            raise DataDirError(
                f"{layout.root} holds chunks but no store.json; restore it or use an empty data dir."
            )
    sync_ancestors(layout.root, disk)
    identity = StoreIdentity(StoreUuid(hex_id(randomness)), randomness.token(_KEY_BYTES))
    content = {
        "format": FORMAT_VERSION,
        "uuid": identity.uuid,
        "record_key": identity.record_key.hex(),
    }
    temporary = f"{layout.store_json}.new"
    if disk.exists(temporary):
        disk.unlink(temporary)
    with disk.open(temporary, "create") as file:
        file.write(json.dumps(content, indent=1).encode() + b"\n", 0)
        file.datasync()
    disk.rename(temporary, layout.store_json)
    disk.sync_dir(layout.root)
    return identity
