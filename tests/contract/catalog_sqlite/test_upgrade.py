"""A catalogue that an earlier schema's scripts made is upgraded in place, and reads the same."""

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import apsw
import pytest
from blake3 import blake3

from collective.catalog.sqlite.store import before_upgrade, migrations, opening
from collective.catalog.sqlite.store.custody import DATABASE
from collective.core.clock import ManualClock
from collective.core.errors import CorruptionError, NoSpaceError, NotEnoughCopiesError
from collective.core.ids import Domain, Generation, MemberId, UploadKey
from collective.model.copies import CopyKey
from collective.model.nodes import Standing
from collective.model.peers import Peer, PeerState
from tests.contract.catalog.engines import SqliteEngines
from tests.contract.catalog.test_standing import join
from tests.contract.catalog.test_standing import node as node_named
from tests.contract.catalog.world import NODES, OPERATOR, chunk, data_of, health, names, p
from tests.pages.blocks import ROOT, blocks_of

BEFORE_LENGTHS = 9
"""The last schema in which a chunk was its id alone."""
BEFORE_TRUST = 8
"""The last schema in which removing a node had no open upload checked again."""
BEFORE_TREES = 20
"""The last schema in which times were milliseconds, and 0 said that there was none."""

BEFORE_FIGURES = 20
"""The last schema in which chunks were counted one by one."""

BEFORE_PEERS = 27
"""The last schema without other members."""


def test_each_schema_has_one_script() -> None:
    """Two branches that add one each take the same number, and both would run."""
    folder = resources.files("collective.catalog.sqlite") / "schema"
    numbers = sorted(one.name[:4] for one in folder.iterdir() if one.name.endswith(".sql"))
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


@contextmanager
def old(folder: Path, version: int) -> Iterator[apsw.Connection]:
    """Give a database as the scripts up to ``version`` leave it."""
    db = apsw.Connection(os.path.join(folder, DATABASE))
    db.execute("PRAGMA journal_mode = WAL").fetchall()
    for script in migrations.scripts()[:version]:
        db.execute(script)
    db.execute(
        "INSERT INTO state (id, catalog_id, epoch, sequence, next_version, next_generation,"
        " next_node, revocation_epoch, restored, files, file_bytes, chunks, lease_key)"
        f" VALUES (1, '{'ab' * 16}', 1, 7, 5, 100, 1, 0, 0, 1, 20, 2, zeroblob(32))"
    )
    db.execute(f"PRAGMA user_version = {version}")
    db.execute(f"PRAGMA application_id = {migrations.APPLICATION_ID}")
    try:
        yield db
    finally:
        db.close()


def fill(db: apsw.Connection) -> None:
    """Write a datastore with one file of two chunks: three copies of one, two of the other."""
    for number, name in enumerate(NODES[:3], 1):
        db.execute(
            "INSERT INTO nodes (id, name, capacity, used, chunk_count, addresses, last_seen_ms,"
            " draining, removed, serial, expires_ms) VALUES (?,?,0,0,0,'[]',0,0,0,'',0)",
            (number, name),
        )
    db.execute("INSERT INTO entries VALUES (2, 1, 'd', 2, NULL, 0)")
    db.execute("INSERT INTO datastores (entry, copies, quota, used, files) VALUES (2, 0, 0, 20, 1)")
    db.execute(
        "INSERT INTO versions (id, number, state, size, recorded, chunk_count, modified_ms, mode,"
        " content_type, metadata, digest) VALUES (1, 4, 1, 20, 20, 2, 5, 420, '', '{}', x'')"
    )
    db.execute("INSERT INTO entries VALUES (3, 2, 'f', 0, 1, 0)")
    for row, text in ((1, "a"), (2, "b")):
        db.execute(
            "INSERT INTO chunks (id, hash, stored_length, wanted) VALUES (?,?,26,3)",
            (row, chunk(text)),
        )
        db.execute("INSERT INTO extents VALUES (1, ?, 10, ?, 0, x'')", ((row - 1) * 10, row))
        for node in range(1, 4):
            db.execute(
                "INSERT INTO copies (chunk, node, generation, state) VALUES (?,?,?,?)",
                (row, node, 10 * row + node, 2 if (row, node) == (2, 3) else 1),
            )
    db.execute("INSERT INTO chunks (id, hash, stored_length, wanted) VALUES (9, x'00', 1, 1)")
    db.execute("DELETE FROM chunks WHERE id = 9")


async def test_a_catalogue_of_the_schema_before_reads_the_same(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    with old(tmp_path, BEFORE_LENGTHS) as db:
        fill(db)
    catalog = await engines.open()
    view = await catalog.reads.open(OPERATOR, p("/d/f"), offset=0, length=0, if_version=0, batch=0)
    assert [(one.extent.chunk, one.extent.stored_length) for one in data_of(view)] == [
        (chunk("a"), 26),
        (chunk("b"), 26),
    ]
    assert [len(one.copies) for one in data_of(view)] == [3, 2]
    totals = await health(catalog)
    assert (totals.chunks, totals.under_replicated) == (2, 1)
    held = sorted(
        (CopyKey(chunk(text), Generation(10 * row + 1), 26) for row, text in ((1, "a"), (2, "b"))),
        key=lambda key: key.chunk,
    )
    assert await catalog.copies.compare_inventory(NODES[0], held[:1], after=b"", last=True) == []
    totals = await health(catalog)
    assert totals.under_replicated == (2 if held[1].chunk == chunk("a") else 1)  # triggers stand
    await engines.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "migrate", lambda db, *_: check(db))
        await engines.open()


async def test_an_upload_that_was_open_at_the_upgrade_is_checked_again(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    """Earlier versions took nodes away under it, and noted nothing."""
    upload = UploadKey("cd" * 16)
    with old(tmp_path, BEFORE_TRUST) as db:
        fill(db)
        db.execute(
            "INSERT INTO versions (id, number, state, size, recorded, chunk_count, modified_ms, mode,"
            " content_type, metadata, digest) VALUES (2, 0, 0, 0, 10, 1, 5, 420, '', '{}', x'')"
        )
        db.execute("INSERT INTO extents VALUES (2, 0, 10, 1, 0, x'')")
        db.execute(
            "INSERT INTO uploads (id, principal, path, version, state, copies, if_version,"
            " if_absent, expires_ms, datastore) VALUES (?,?,'/d/g',2,0,3,0,0,?,2)",
            (upload, str(OPERATOR.principal), 1 << 50),
        )
        db.execute("INSERT INTO pins (upload, chunk, authorised) VALUES (?, 1, 1)", (upload,))
        db.execute("UPDATE nodes SET removed = 1 WHERE id < 3")
    catalog = await engines.open()
    with pytest.raises(NotEnoughCopiesError, match="at offset 0 "):
        await catalog.uploads.commit(OPERATOR, upload, [], [], 10)


async def test_times_and_modes_of_before_read_the_same(
    engines: SqliteEngines, tmp_path: Path, clock: ManualClock
) -> None:
    uploads = [UploadKey(letter * 32) for letter in "abc"]
    with old(tmp_path, BEFORE_TREES) as db:
        fill(db)
        db.execute("UPDATE versions SET modified_ms = 1700000000123, mode = 416 WHERE id = 1")
        db.execute("UPDATE entries SET modified_ms = 5 WHERE id = 2")
        for version, modified_ms, mode in ((2, 0, 0), (3, 7, 420)):
            db.execute(
                "INSERT INTO versions (id, number, state, size, recorded, chunk_count, modified_ms,"
                " mode, content_type, metadata, digest) VALUES (?,0,0,0,0,0,?,?,'','{}',x'')",
                (version, modified_ms, mode),
            )
        kept = '[20, 5000, 420, "", {}, "", 4, 2, 3, 3]'
        for upload, version, state, result in zip(
            uploads, (2, 3, 1), (0, 0, 1), (None, None, kept), strict=True
        ):
            db.execute(
                "INSERT INTO uploads (id, principal, path, version, state, copies, if_version,"
                " if_absent, expires_ms, result, datastore) VALUES (?,?,?,?,?,3,0,0,?,?,2)",
                (upload, str(OPERATOR.principal), f"/d/{version}", version, state, 1 << 50, result),
            )
    catalog = await engines.open()
    file = await catalog.names.stat(OPERATOR, p("/d/f"))
    assert (file.modified_ns, file.mode) == (1_700_000_000_123_000_000, 0o640)
    folder = await catalog.names.stat(OPERATOR, p("/d"))
    assert (folder.modified_ns, folder.mode) == (5_000_000, None)
    assert (await catalog.names.stat(OPERATOR, p("/"))).modified_ns is None
    now = await catalog.uploads.commit(OPERATOR, uploads[0], [], [], 0)
    assert (now.modified_ns, now.mode) == (int(clock.wall_s() * 1000) * 1_000_000, None)
    told = await catalog.uploads.commit(OPERATOR, uploads[1], [], [], 0)
    assert (told.modified_ns, told.mode) == (7_000_000, 0o644)
    again = await catalog.uploads.commit(OPERATOR, uploads[2], [], [], 20)
    assert (again.size_bytes, again.modified_ns, again.version) == (20, 5_000_000_000, 4)


def check(db: apsw.Connection) -> None:
    assert db.execute("PRAGMA foreign_keys").fetchall() == [(1,)]
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    (last,) = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'chunks'").fetchall()
    assert last == (9,)  # a row's number is never given again
    with pytest.raises(apsw.ConstraintError):
        db.execute("INSERT INTO candidates VALUES (77, 0)")


async def test_what_is_kept_of_other_rows_is_counted_by_the_upgrade(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    """Rows of every kind that the figures are made of; the fixture compares all figures."""
    with old(tmp_path, BEFORE_FIGURES) as db:
        fill(db)
        db.execute("UPDATE copies SET state = 3 WHERE chunk = 2 AND node = 2")
        db.execute(  # shared with an open upload, and one that only this has named
            "INSERT INTO uploads (id, principal, path, version, state, copies, if_version,"
            " if_absent, expires_ms, datastore) VALUES (?, 'nobody', '/d/g', 1, 0, 3, 0, 0, ?, 2)",
            ("cd" * 16, 1 << 50),
        )
        for row, length in ((7, 26), (8, 27)):
            db.execute(
                "INSERT INTO chunks (id, hash, stored_length, wanted) VALUES (?,?,?,2)",
                (row, chunk("c"), length),
            )
        for row in (1, 7):
            db.execute(
                "INSERT INTO pins (upload, chunk, authorised) VALUES (?,?,0)", ("cd" * 16, row)
            )
        db.execute("INSERT INTO copies (chunk, node, generation, state) VALUES (7, 2, 70, 0)")
        for node, guard in ((1, 0), (1, 1), (2, 2)):
            db.execute(
                "INSERT INTO doomed (node, hash, generation, stored_length, since_ms, retry_ms,"
                " guard) VALUES (?, ?, ?, 26, 0, 0, ?)",
                (node, chunk("a"), 90 + guard, guard),
            )
    catalog = await engines.open()
    assert await catalog.figures.copies_in_doubt() == (1, 2)
    assert await catalog.figures.copies_left() == {NODES[0]: 2, NODES[1]: 2, NODES[2]: 2}


async def test_figures_that_do_not_agree_are_an_objection(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    """A database that nothing vouches for is counted anew."""
    with old(tmp_path, BEFORE_FIGURES) as db:
        fill(db)
    await engines.open()
    await engines.close()
    db = apsw.Connection(os.path.join(tmp_path, DATABASE))
    assert opening._deep_objection(db) is None
    db.execute("UPDATE health SET chunks = chunks + 1")
    assert opening._deep_objection(db) == "holds rows and counters of different moments"
    db.close()


async def test_rows_that_refer_to_nothing_stop_the_upgrade_and_change_nothing(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    with old(tmp_path, BEFORE_LENGTHS) as db:
        fill(db)
        db.execute("INSERT INTO candidates VALUES (77, 0)")
    with pytest.raises(CorruptionError, match="cannot be upgraded"):
        await engines.open()
    db = apsw.Connection(os.path.join(tmp_path, DATABASE))
    assert db.execute("PRAGMA user_version").fetchall() == [(BEFORE_LENGTHS,)]
    db.close()


async def test_a_database_of_schema_7_is_opened_and_its_nodes_are_approved(
    engines: SqliteEngines, clock: ManualClock
) -> None:
    folder = resources.files("collective.catalog.sqlite") / "schema"
    scripts = sorted((item for item in folder.iterdir()), key=lambda item: item.name)[:7]
    db = apsw.Connection(os.path.join(engines.data_dir, "catalog.db"))
    for script in scripts:
        db.execute(script.read_text())
    db.execute("PRAGMA user_version = 7")
    db.execute(f"PRAGMA application_id = {0x436F6C6C}")
    db.execute(
        "INSERT INTO state (id, catalog_id, epoch, sequence, next_version, next_generation,"
        " next_node, revocation_epoch, restored, files, file_bytes, chunks, lease_key)"
        " VALUES (1, ?, 1, 9, 1, 5, 2, 0, 0, 0, 0, 0, ?)",
        ("c" * 32, b"k" * 32),
    )
    db.execute(
        "INSERT INTO nodes (name, store_uuid, capacity, used, chunk_count, addresses, last_seen_ms,"
        " draining, removed, serial, expires_ms)"
        " VALUES ('old-1', NULL, 9, 0, 0, '[]', 0, 0, 0, 'ab', 9),"
        " ('old-2', NULL, 9, 0, 0, '[]', 0, 1, 0, 'cd', 9)"
    )
    db.close()
    catalog = await engines.open()
    for name in ("old-1", "old-2"):
        found = await node_named(catalog, name)
        assert (found.standing, found.is_new) == (Standing.APPROVED, False)
    assert (await join(catalog, clock, "late")).standing is Standing.PROBATION, "it was founded"


async def test_a_catalogue_of_before_has_no_peers_and_takes_some(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    with old(tmp_path, BEFORE_LENGTHS) as db:
        fill(db)
    with pytest.MonkeyPatch.context() as patch:  # as a program of then upgraded it
        scripts = migrations.scripts()[:BEFORE_PEERS]
        for module in (migrations, opening):
            patch.setattr(module, "scripts", lambda: scripts)
        await engines.open()
        await engines.close()
    catalog = await engines.open()
    assert list(await catalog.peers.all()) == []
    number = await catalog.peers.own_sequence(b"digest")
    bob = Peer(
        Domain("garage.bob"), MemberId("bob"), PeerState.ACTIVE, b"a" * 32, 5, b"body", b"sig", 0
    )
    stored = await catalog.peers.accept(OPERATOR, bob)
    await engines.close()
    catalog = await engines.open()
    assert list(await catalog.peers.all()) == [stored]
    assert await catalog.peers.own_sequence(b"digest") == number
    assert (await catalog.names.stat(OPERATOR, p("/d/f"))).size_bytes == 20


# --- the copy of before ---------------------------------------------------------------------------


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "upgrades").iterdir())


def schema_of(path: Path) -> int:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        found: Any = db.execute("PRAGMA user_version").fetchone()
    finally:
        db.close()
    return int(found[0])


def go_back(folder: Path) -> None:
    """Type what docs/packages.md says."""
    (block,) = [one for one in blocks_of(ROOT / "docs/packages.md") if "DATA_DIR" in one.text]
    script = block.text.replace("DATA_DIR/catalog", str(folder))
    subprocess.run(["bash", "-euc", script], check=True)


async def test_an_upgrade_begins_with_a_copy_that_can_be_gone_back_to(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    with old(tmp_path, BEFORE_LENGTHS) as db:
        fill(db)
    catalog = await engines.open()
    assert await names(catalog, "/d") == ["/d/f"]
    name = "schema-0009-00000001-0000000000000007.db"
    assert copies(tmp_path) == [name, f"{name}.b3"]
    copy = tmp_path / "upgrades" / name
    told = (tmp_path / "upgrades" / f"{name}.b3").read_text().split()
    assert told == [blake3(copy.read_bytes()).hexdigest(), name]
    assert schema_of(copy) == BEFORE_LENGTHS
    await catalog.names.make_directory(OPERATOR, p("/later"), parents=False)
    await engines.close()
    await (await engines.open()).upkeep.snapshot()  # a start without an upgrade makes none
    assert copies(tmp_path) == [name, f"{name}.b3"]
    await engines.close()
    go_back(tmp_path)
    assert await names(await engines.open(), "/") == ["/d"]


class CutOffError(Exception):
    """The process ends here."""


async def test_an_upgrade_that_was_cut_off_keeps_the_copy_of_before(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    with old(tmp_path, BEFORE_LENGTHS) as db:
        fill(db)
    apply = migrations.apply

    def cut_off(db: apsw.Connection, number: int, *rest: Any) -> None:
        if number == BEFORE_TREES:
            raise CutOffError
        apply(db, number, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrations, "apply", cut_off)
        with pytest.raises(CutOffError):
            await engines.open()
    assert schema_of(tmp_path / DATABASE) == BEFORE_TREES - 1
    await engines.open()
    name = "schema-0009-00000001-0000000000000007.db"
    assert copies(tmp_path) == [name, f"{name}.b3"]
    assert schema_of(tmp_path / "upgrades" / name) == BEFORE_LENGTHS


async def test_the_next_upgrade_replaces_the_copy(engines: SqliteEngines, tmp_path: Path) -> None:
    (tmp_path / "upgrades").mkdir()
    for left in ("schema-0003-00000001-0000000000000002.db", "draft.tmp"):
        (tmp_path / "upgrades" / left).write_bytes(b"of an earlier upgrade")
        (tmp_path / "upgrades" / f"{left}.b3").write_bytes(b"its checksum")
    (tmp_path / "upgrades" / "draft.tmp.b3").unlink()
    with old(tmp_path, BEFORE_TREES) as db:
        fill(db)
    await engines.open()
    name = "schema-0020-00000001-0000000000000007.db"
    assert copies(tmp_path) == [name, f"{name}.b3"]


async def test_without_room_for_the_copy_nothing_is_upgraded(
    engines: SqliteEngines, tmp_path: Path
) -> None:
    with old(tmp_path, BEFORE_LENGTHS) as db:
        fill(db)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(before_upgrade, "write_atomically", full)
        with pytest.raises(NoSpaceError, match="free some space"):
            await engines.open()
    assert schema_of(tmp_path / DATABASE) == BEFORE_LENGTHS
    await engines.open()
    assert schema_of(tmp_path / DATABASE) == len(migrations.scripts())
