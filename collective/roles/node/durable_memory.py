"""What a node must not forget: where the catalogue stood, and what was revoked.

An old backup of a coordinator must not delete what newer files need, so a node keeps the highest
catalogue position that it saw and refuses deletes from a lower one.  With it goes the *life* that told it, one
start of the coordinator: numbers alone cannot tell two futures of one catalogue apart.  Both are kept with the
coordinator's MAC, and shown to it with every heartbeat.  Another catalogue's position is taken only by
an adoption, which the operator ordered, for exactly what is kept.  Invariants: a position counts only
after it was flushed, and a delete that needs one is refused until then; a revocation counts at once,
also where the disk takes no writes, and is written as soon as it does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from collective.core.disk_errors import disk_errors
from collective.core.errors import CollectiveError, ConflictError, DataDirError, UsageError
from collective.core.small_files import write_atomically
from collective.core.world import World
from collective.model.nodes import Position, Replacement, StatedPosition
from collective.pki.revocation import RevocationSet

MEMORY_NAME: Final = "memory.json"
MEMORY_FORMAT: Final = 1
MEMORY_MAX_BYTES: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Remembered:
    """Everything that is kept."""

    catalog_id: str = ""
    """Empty until the first heartbeat was answered."""
    epoch: int = 0
    sequence: int = 0
    revocations: RevocationSet = field(default_factory=RevocationSet)
    """All that counts here."""
    besides: frozenset[str] = frozenset()
    """Entries of it that came under an older epoch: the MAC is not on them."""
    mac: bytes = b""
    """The coordinator's mark on the position; without it the coordinator does not believe us."""
    revocation_mac: bytes = b""
    """The same on epoch and entries of the revocations, without ``besides``."""
    life: str = ""
    """The catalogue's life that told the position; empty where that was before there were lives."""

    @property
    def authenticated_entries(self) -> list[str]:
        """The entries that ``revocation_mac`` is on, in their order."""
        return sorted(self.revocations.entries - self.besides)

    @property
    def position(self) -> StatedPosition:
        """The highest position seen, with the coordinator's mark; without a catalogue before the first."""
        position = Position(self.catalog_id, self.epoch, self.sequence, self.life)
        return StatedPosition(position, self.mac)


def is_behind(kept: Remembered, position: Position) -> bool:
    """Tell whether ``position`` is older than what was seen, or of another catalogue."""
    if not kept.catalog_id:
        return False
    if position.catalog_id != kept.catalog_id:
        return True
    return (position.epoch, position.sequence) < (kept.epoch, kept.sequence)


def with_position(kept: Remembered, told: StatedPosition) -> Remembered:
    """Return ``kept`` with what was told if that is not behind, else ``kept`` itself."""
    return kept if is_behind(kept, told.position) else _at(kept, told)


def with_adoption(kept: Remembered, adoption: Replacement) -> Remembered:
    """Return ``kept`` with the successor, if exactly what is kept is what it replaces."""
    if adoption.replaced != kept.position.position:
        return kept
    return _at(kept, adoption.successor)


def _at(kept: Remembered, told: StatedPosition) -> Remembered:
    position = told.position
    return replace(
        kept,
        catalog_id=position.catalog_id,
        epoch=position.epoch,
        sequence=position.sequence,
        life=position.life,
        mac=told.mac,
    )


def with_revocations(
    kept: Remembered, epoch: int, entries: Sequence[str], mac: bytes = b""
) -> Remembered:
    """Return ``kept`` with what the coordinator says; an older epoch only ever adds.

    Raises:
        UsageError: an entry names nothing.
    """
    told = RevocationSet.of(epoch, entries)
    known = kept.revocations
    if epoch < known.epoch:
        added = told.entries - known.entries
        together = RevocationSet(known.epoch, known.entries | added)
        return replace(kept, revocations=together, besides=kept.besides | added)
    return replace(kept, revocations=told, besides=frozenset(), revocation_mac=mac)


def encode(kept: Remembered) -> bytes:
    """Return ``kept`` as JSON."""
    return json.dumps(
        {
            "format": MEMORY_FORMAT,
            "catalog_id": kept.catalog_id,
            "epoch": kept.epoch,
            "sequence": kept.sequence,
            "life": kept.life,
            "revocation_epoch": kept.revocations.epoch,
            "revoked": sorted(kept.revocations.entries),
            "besides": sorted(kept.besides),
            "seal": kept.mac.hex(),
            "revocation_seal": kept.revocation_mac.hex(),
        },
        indent=1,
    ).encode()


def decode(raw: bytes) -> Remembered:
    """Return what :func:`encode` wrote.

    Raises:
        DataDirError: it is damaged or of a newer version.
    """
    try:
        fields: dict[str, Any] = json.loads(raw)
        if int(fields["format"]) > MEMORY_FORMAT:
            return _refuse_newer()
        return Remembered(
            str(fields["catalog_id"]),
            int(fields["epoch"]),
            int(fields["sequence"]),
            RevocationSet.of(int(fields["revocation_epoch"]), map(str, fields["revoked"])),
            RevocationSet.of(0, map(str, fields.get("besides", ()))).entries,
            bytes.fromhex(fields.get("seal", "")),
            bytes.fromhex(fields.get("revocation_seal", "")),
            str(fields.get("life", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataDirError(
            f"The node's {MEMORY_NAME} is damaged; restore it, or remove it to begin anew."
        ) from error
    except UsageError as error:
        raise DataDirError(f"The node's {MEMORY_NAME} is damaged: {error.message}") from error


def _refuse_newer() -> NoReturn:
    raise DataDirError("The node's memory is of a newer version; update this program.")


class DurableMemory:
    """The file that keeps it."""

    def __init__(
        self,
        path: str,
        world: World,
        *,
        not_kept: Callable[[CollectiveError], None] = lambda _: None,
    ) -> None:
        """Keep it in the file ``path`` (absolute, its directory exists); call :meth:`load`.

        ``not_kept`` is told each time that the disk did not take what was heard.
        """
        self._path = path
        self._disk = world.disk
        self._not_kept = not_kept
        self._kept = self._heard = Remembered()
        self._lock = asyncio.Lock()
        self._pool = world.threads.pool(1, "node-memory")

    @property
    def kept(self) -> Remembered:
        """What is on disk now."""
        return self._kept

    @property
    def revocations(self) -> RevocationSet:
        """What is revoked, whether it is on disk yet or not."""
        return self._heard.revocations

    async def load(self) -> None:
        """Read the file if there is one; raises :class:`DataDirError` if it is damaged."""
        self._kept = self._heard = await self._pool.run(self._read)

    async def heard(
        self,
        position: StatedPosition | None,
        epoch: int,
        revoked: Sequence[str] | None,
        mac: bytes = b"",
        adoption: Replacement | None = None,
    ) -> bool:
        """Take over a heartbeat's answer, with the MAC on its revocations; return whether they changed.

        ``revoked`` None: what is kept under ``mac`` is the newest.  ``adoption``: checked already.
        What the disk does not take counts as the module says, and is written with the next answer.
        """
        async with self._lock:
            before = self._heard
            after = before
            if revoked is not None:
                after = with_revocations(before, epoch, revoked, mac)
            if adoption is not None:
                after = with_adoption(after, adoption)
            if position is not None:
                after = with_position(after, position)
            self._heard = after
            try:
                await self._keep(after)
            except CollectiveError as error:
                self._not_kept(error)
            return after.revocations != before.revocations

    async def admit(self, position: StatedPosition | None) -> None:
        """Return when a delete from ``position`` may be carried out; the position is kept then.

        Raises:
            ConflictError: the position is lower than the highest seen, or of another catalogue.
            DiskFullError, DiskReadOnlyError, DiskFailedError: the position cannot be kept.
        """
        async with self._lock:
            if position is None or is_behind(self._heard, position.position):
                raise ConflictError(
                    "The coordinator's catalogue is older than one that this node has obeyed, so "
                    "nothing is deleted; if it was lost or restored, see: collective node adopt"
                )
            self._heard = with_position(self._heard, position)
            try:
                await self._keep(self._heard)
            except CollectiveError as error:
                self._not_kept(error)
                raise

    async def close(self) -> None:
        """Give the thread up, when it has ended."""
        await self._pool.close()

    async def _keep(self, kept: Remembered) -> None:
        if kept == self._kept:
            return
        await self._pool.run_to_end(self._write, encode(kept))
        self._kept = kept

    def _read(self) -> Remembered:
        with disk_errors():
            return self._decoded()

    def _decoded(self) -> Remembered:
        if not self._disk.exists(self._path):
            return Remembered()
        with self._disk.open(self._path, "read") as file:
            size = file.size_bytes()
            if size > MEMORY_MAX_BYTES:
                raise DataDirError(f"The node's {MEMORY_NAME} is damaged: it is too large.")
            buffer = bytearray(size)
            count = file.read_into(memoryview(buffer), 0)
        return decode(bytes(buffer[:count]))

    def _write(self, raw: bytes) -> None:
        write_atomically(self._path, raw, permissions=0o600, disk=self._disk)
