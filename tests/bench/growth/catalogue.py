"""A large catalogue, made quickly: rows written straight into the schema of an earlier version.

Deterministic: the same size gives the same rows.  A tenth of the files lie in one folder, the others by the
hundred in folders of twenty datastores; a file has one to five chunks of 4 MiB (three on average), a
chunk three copies on twelve nodes, each file a row of the audit.  Indexes and triggers are dropped for
the filling and made again from their own definitions.

It is always made in schema 20, and the first start upgrades it: what the product derives from these rows it
derives itself, and what an upgrade takes at this size is measured.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import apsw
from blake3 import blake3

from collective.catalog.decisions.weights import NAME_BYTES, catalog_bytes
from collective.catalog.sqlite.store import migrations
from collective.catalog.sqlite.store.custody import DATABASE
from collective.core.randomness import SeededRandomness

DATASTORES: Final = 20
PER_FOLDER: Final = 100
NODES: Final = 12
USERS: Final = 100
GRANTS_PER_USER: Final = 20
COPIES: Final = 3
CHUNK_BYTES: Final = 4 << 20
STORED_BYTES: Final = CHUNK_BYTES + 16
CHUNKS_AT_ONCE: Final = 5000
"""Chunks of one transaction where rows of all are changed."""
SCHEMA: Final = 20
"""The version whose rows are written."""
AUDIT_MAX: Final = 900_000
NOW_MS: Final = 1_790_000_000_000
OPERATOR: Final = "spiffe://home.alice/coordinator"
SCATTERED, READS_ALL, READS_ONE = (
    f"spiffe://home.alice/user/home.alice/{name}" for name in ("scattered", "all", "one")
)
"""Users with other grants than the hundred have."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Where things are in a catalogue of ``files`` files."""

    files: int

    @property
    def in_one_folder(self) -> int:
        """Files of ``/ds00/flat``; the first ones."""
        return self.files // 10

    @property
    def folders(self) -> int:
        """Folders of up to a hundred files."""
        return -(-(self.files - self.in_one_folder) // PER_FOLDER)

    @property
    def chunks(self) -> int:
        """All chunks."""
        return sum(chunks_of(number) for number in range(min(5, self.files))) * (
            self.files // 5
        ) + sum(chunks_of(number) for number in range(self.files % 5))

    def path(self, number: int) -> str:
        """Return the path of one file."""
        if number < self.in_one_folder:
            return f"/ds00/flat/file-{number:07}"
        folder = (number - self.in_one_folder) // PER_FOLDER
        return f"{self.folder(folder)}/file-{number:07}"

    def folder(self, number: int) -> str:
        """Return the path of one of the folders."""
        return f"/ds{number % DATASTORES:02}/folder-{number:06}"


def chunks_of(number: int) -> int:
    """Return how many chunks a file has."""
    return 1 + number % 5


def user(number: int) -> str:
    """Return the SPIFFE id of one of the users."""
    return f"spiffe://home.alice/user/home.alice/user{number:03}"


def node_name(number: int) -> str:
    """Return the id of node ``number``, from 1."""
    return f"alice-node-{number:02}"


def chunk_hash(number: int) -> bytes:
    """Return the id of chunk ``number``, from 1."""
    return blake3(number.to_bytes(8, "big")).digest()


def node_of(chunk: int, place: int) -> int:
    """Return the number of the node that has copy ``place``, from 0, of a chunk."""
    return 1 + (chunk + 5 * place) % NODES


def generation_of(chunk: int, place: int) -> int:
    """Return the generation of copy ``place``, from 0, of a chunk."""
    return chunk * COPIES + place - 2


def make(folder: str, files: int) -> Shape:
    """Write the catalogue of a data dir that does not exist; return its shape."""
    os.makedirs(folder)
    db = apsw.Connection(os.path.join(folder, DATABASE))
    shape = Shape(files)
    try:
        db.execute(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -524288"
        )
        migrations.apply_scripts(db, migrations.scripts()[:SCHEMA], SeededRandomness(1))
        late: Any = db.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE type IN ('index', 'trigger')"
            " AND sql IS NOT NULL"
        ).fetchall()
        db.execute("PRAGMA foreign_keys = OFF")
        with db:
            for kind, name, _ in late:
                db.execute(f"DROP {kind} {name}")
            _fill(db, shape)
        for kind in ("index", "trigger"):
            for found, _, sql in late:
                if found == kind:
                    db.execute(sql)
        db.execute("PRAGMA journal_mode = WAL").fetchall()
    finally:
        db.close()
    return shape


def _fill(db: apsw.Connection, shape: Shape) -> None:
    db.executemany(
        "INSERT INTO nodes (id, name, store_uuid, capacity, used, chunk_count, addresses,"
        " last_seen_ms, draining, removed, serial, expires_ms) VALUES (?,?,?,?,0,0,'[]',?,0,0,?,?)",
        (
            (n, node_name(n), f"{n:032x}", 40 << 40, NOW_MS, f"serial{n}", NOW_MS * 2)
            for n in range(1, NODES + 1)
        ),
    )
    _people(db, shape)
    _names(db, shape)
    _chunks(db, shape)
    _audit(db, shape)
    db.execute(
        "UPDATE state SET sequence = ?, next_version = ?, next_generation = ?, files = ?,"
        " file_bytes = ?, chunks = ?",
        (
            shape.files * 2,
            shape.files + 1,
            shape.chunks * COPIES + 1,
            shape.files,
            shape.chunks * CHUNK_BYTES,
            shape.chunks,
        ),
    )


def _people(db: apsw.Connection, shape: Shape) -> None:
    db.executemany(
        "INSERT INTO identities VALUES (?,?,?,?)",
        ((user(n), f"User {n}", OPERATOR, NOW_MS) for n in range(USERS)),
    )
    grant = "INSERT INTO grants (id, path, rights, principal, granted_by) VALUES (?,?,?,?,?)"
    db.executemany(
        grant,
        (
            (
                f"grant{n:03}{number:03}",
                shape.folder((n * GRANTS_PER_USER + number) % shape.folders),
                7,
                user(n),
                OPERATOR,
            )
            for n in range(USERS)
            for number in range(GRANTS_PER_USER)
        ),
    )
    db.executemany(
        "INSERT INTO identities VALUES (?,?,?,?)",
        ((who, who, OPERATOR, NOW_MS) for who in (SCATTERED, READS_ALL, READS_ONE)),
    )
    spread = shape.in_one_folder // GRANTS_PER_USER
    db.executemany(
        grant,
        (
            (f"scattered{place:03}", shape.path(place * spread), 1, SCATTERED, OPERATOR)
            for place in range(GRANTS_PER_USER)
        ),
    )
    db.executemany(
        grant,
        (("all", "/", 1, READS_ALL, OPERATOR), ("one", "/ds01", 1, READS_ONE, OPERATOR)),
    )


def _names(db: apsw.Connection, shape: Shape) -> None:
    """Entries: the root is 1, datastores 2 …, then the flat folder, folders, files."""
    first_folder = 2 + DATASTORES + 1
    first_file = first_folder + shape.folders
    flat = 2 + DATASTORES
    insert = (
        "INSERT INTO entries (id, parent, name, kind, version, modified_ms) VALUES (?,?,?,?,?,?)"
    )
    db.executemany(insert, ((2 + n, 1, f"ds{n:02}", 2, None, NOW_MS) for n in range(DATASTORES)))
    db.execute(insert, (flat, 2, "flat", 1, None, NOW_MS))
    db.executemany(
        insert,
        (
            (first_folder + n, 2 + n % DATASTORES, f"folder-{n:06}", 1, None, NOW_MS)
            for n in range(shape.folders)
        ),
    )

    def files() -> Iterator[tuple[object, ...]]:
        for number in range(shape.files):
            parent = flat
            if number >= shape.in_one_folder:
                parent = first_folder + (number - shape.in_one_folder) // PER_FOLDER
            yield (first_file + number, parent, f"file-{number:07}", 0, number + 1, NOW_MS)

    db.executemany(insert, files())
    db.executemany(
        "INSERT INTO versions (id, number, state, size, recorded, chunk_count, modified_ms, mode,"
        " content_type, metadata, digest) VALUES (?,?,1,?,?,?,?,420,'','{}',?)",
        (
            (
                number + 1,
                number + 1,
                chunks_of(number) * CHUNK_BYTES,
                chunks_of(number) * CHUNK_BYTES,
                chunks_of(number),
                NOW_MS,
                chunk_hash(number + 1),
            )
            for number in range(shape.files)
        ),
    )
    used = [[0, 0, 0] for _ in range(DATASTORES)]
    used[0][2] = NAME_BYTES
    for number in range(shape.folders):
        used[number % DATASTORES][2] += NAME_BYTES
    for number in range(shape.files):
        store = 0
        if number >= shape.in_one_folder:
            store = (number - shape.in_one_folder) // PER_FOLDER % DATASTORES
        used[store][0] += chunks_of(number) * CHUNK_BYTES
        used[store][1] += 1
        used[store][2] += catalog_bytes(extents=chunks_of(number), attribute_bytes=0)
    db.executemany(
        "INSERT INTO datastores (entry, copies, quota, used, files, overhead) VALUES (?,0,0,?,?,?)",
        ((2 + n, *used[n]) for n in range(DATASTORES)),
    )


def _chunks(db: apsw.Connection, shape: Shape) -> None:
    db.executemany(
        "INSERT INTO chunks (id, hash, stored_length, wanted, stored) VALUES (?,?,?,?,?)",
        (
            (number, chunk_hash(number), STORED_BYTES, COPIES, COPIES)
            for number in range(1, shape.chunks + 1)
        ),
    )

    def extents() -> Iterator[tuple[int, int, int, int]]:
        chunk = 0
        for number in range(shape.files):
            for place in range(chunks_of(number)):
                chunk += 1
                yield number + 1, place * CHUNK_BYTES, CHUNK_BYTES, chunk

    db.executemany("INSERT INTO extents VALUES (?,?,?,?,0,x'')", extents())
    db.execute(
        "WITH place(k) AS (VALUES (0), (1), (2))"
        " INSERT INTO copies (chunk, node, generation, state)"
        " SELECT c.id, 1 + (c.id + 5 * k) % ?, c.id * 3 + k - 2, 1 FROM chunks c CROSS JOIN place"
        " ORDER BY c.id, 2",
        (NODES,),
    )


def _audit(db: apsw.Connection, shape: Shape) -> None:
    db.executemany(
        "INSERT INTO audit (at_ms, actor, action, target, detail, request_id)"
        " VALUES (?,?,'write',?,'','')",
        (
            (NOW_MS + number, user(number % USERS), shape.path(number))
            for number in range(min(shape.files, AUDIT_MAX))
        ),
    )
