"""What counts as a refusal, and that floods of them stay small in the audit."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from collective.catalog.decisions.refusals import (
    KINDS_MAX,
    KINDS_PER_SOURCE_MAX,
    SEVERAL,
    WINDOW_S,
    RefusalBook,
)
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    UsageError,
)
from collective.core.ids import Domain, SpiffeId
from collective.core.log_rate import LINES_BURST, LINES_PER_S
from collective.core.paths import FilePath
from collective.core.randomness import SeededRandomness
from collective.model.audit import AuditRow, Refusal
from collective.pki.certificates import Certified
from collective.pki.trust import RevokedCertificateError, UntrustedError
from collective.roles.coordinator.refusal_log import operation_of
from collective.rpc.server.context import CallContext
from tests.unit.member.cluster import USER
from tests.unit.member.farm import OPERATOR, scene
from tests.worlds import world_of

ANN = str(USER)


async def denied(catalog: SqliteCatalog) -> list[AuditRow]:
    rows = await catalog.audit.list(since_ms=0, limit=99)
    return [row for row in rows if row.detail.startswith("denied")]


@pytest.mark.parametrize(
    ("method", "error", "counts"),
    [
        ("/collective.v1.files.Files/Stat", PermissionDeniedError("no"), True),
        ("/collective.v1.files.Files/Stat", ConflictError("no"), False),
        ("/collective.v1.files.Files/Stat", NotFoundError("no"), False),
        ("/collective.v1.bootstrap.Bootstrap/Join", PermissionDeniedError("unknown"), True),
        ("/collective.v1.bootstrap.Bootstrap/Join", ConflictError("used up"), True),
        ("/collective.v1.bootstrap.Bootstrap/Join", BusyError("guesses"), True),
        ("/collective.v1.bootstrap.Bootstrap/Renew", RejectedError("step 9: revoked"), True),
        ("/collective.v1.bootstrap.Bootstrap/Join", UsageError("no id"), False),
    ],
)
async def test_what_counts_as_a_refusal(
    tmp_path: Path, method: str, error: CollectiveError, counts: bool
) -> None:
    async with scene(tmp_path) as here:
        caller = None if "Bootstrap" in method else Certified(USER, "01", 0.0, 4e9, ())
        call = CallContext(caller, "r1", method, {}, source="10.0.0.9")
        call.about("word", "/x")
        here.refusals().call(call, error)
        rows = [
            row
            for row in await here.catalog.audit.list(since_ms=0, limit=9)
            if row.action == "word"
        ]
        assert len(rows) == counts
        counted = here.metrics.denials.labels("word")._value.get()
        assert counted == counts
        for row in rows:
            assert row.actor == (ANN if caller else "joiner")
            assert (row.target, row.request_id) == ("/x", "r1")
            assert row.detail == f"denied: {error.message} [from 10.0.0.9]"


async def test_a_ticket_refused_where_chunks_are_passed_on_is_a_refusal(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        refusal_log = here.refusals()
        for number in range(1000):
            refusal_log.ticket(USER, "10.0.0.9", RejectedError("Forged."), f"r{number}")
        (row,) = await denied(here.catalog)
        assert (row.actor, row.action, row.target) == (ANN, "relay", "")
        assert row.detail.startswith("denied: Forged. [from 10.0.0.9] [1000 times")
        assert here.metrics.denials.labels("relay")._value.get() == 1000


async def test_a_connection_of_the_revoked_is_audited_by_name_in_words(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        refusal_log = here.refusals()
        refusal_log.connection("10.0.0.9", RevokedCertificateError(USER))
        refusal_log.connection("10.0.0.9", UntrustedError(4, "it is not signed by our CA"))
        revoked, forged = await denied(here.catalog)
        assert (revoked.actor, revoked.action) == (ANN, "connect")
        assert "the certificate does not count: " in revoked.detail
        assert (forged.actor, forged.action) == ("unknown", "connect")
        assert forged.detail == (
            "denied: the certificate does not count: it is not signed by our CA (step 4)"
            " [from 10.0.0.9]"
        )


async def test_a_flood_of_a_peer_is_counted_whole_and_logged_at_a_rate(tmp_path: Path) -> None:
    bob = SpiffeId.coordinator(Domain("garage.bob"))
    async with scene(tmp_path) as here:
        counted = here.peer_tallies(bob.trust_domain)
        log = here.refusals(counted)
        caller = Certified(bob, "01", 0.0, 4e9, ())
        with capture_logs() as logs:
            for number in range(300):
                call = CallContext(
                    caller, f"r{number}", "/collective.v1.peering.PeerLink/Exchange", {}
                )
                log.call(call, PermissionDeniedError("no"))
                log.ticket(bob, "10.0.0.9", RejectedError("Forged."), f"r{number}")
            here.world.clock.advance(1 / LINES_PER_S)
            log.ticket(bob, "10.0.0.9", RejectedError("Forged."), "last")
            log.ticket(USER, "10.0.0.9", RejectedError("Forged."), "own")
        lines = [one for one in logs if one["event"] == "denied"]
        assert len(lines) == LINES_BURST + 2
        assert [one.get("left_out", 0) for one in lines[-2:]] == [600 - LINES_BURST, 0]
        assert counted.of(bob.trust_domain).refused == 601
        assert sum("601" in row.detail or "300" in row.detail for row in await denied(here.catalog))


def test_methods_have_words() -> None:
    assert operation_of("BeginJoin") == "begin_join"
    assert operation_of("Stat") == "stat"


async def test_a_flood_of_one_refusal_is_one_row_with_a_count(tmp_path: Path) -> None:
    async with scene(tmp_path) as here:
        for number in range(10_000):
            here.catalog.audit.note_denial(
                Refusal(ANN, "stat", "/x", "no", "10.0.0.1", f"r{number}")
            )
            if number == 5000:
                assert len(await denied(here.catalog)) == 1
        rows = await denied(here.catalog)
        assert len(rows) == 1
        assert "[10000 times, last " in rows[0].detail
        here.world.clock.advance(WINDOW_S + 1)
        here.catalog.audit.note_denial(Refusal(ANN, "stat", "/x", "no", "10.0.0.1"))
        assert len(await denied(here.catalog)) == 2


def test_refusals_of_ever_other_kinds_are_joined_and_all_counted() -> None:
    book = RefusalBook()
    for number in range(5000):
        book.note(Refusal(ANN, "stat", f"/{number}", "no", "10.0.0.1"), 0)
    book.note(Refusal("other", "stat", "/x", "no", "10.0.0.2"), 0)
    rows = book.unwritten()
    assert len(rows) == KINDS_PER_SOURCE_MAX + 2
    assert sum(count for _, count, _ in rows) == 5001
    joined = [one for one, _, _ in rows if one.refusal.action == SEVERAL]
    assert [one.refusal.actor for one in joined] == [ANN]
    assert "more kinds" in joined[0].detail()


def test_whomever_a_peer_names_its_refusals_are_its_own() -> None:
    """And those of others keep their places."""
    book, peer = RefusalBook(), "spiffe://home.bob/coordinator"
    for number in range(3 * KINDS_MAX):
        actor = f"spiffe://home.bob/user/home.bob/b{number}, by {peer}"
        book.note(Refusal(actor, "stat", "/x", "no", "10.0.0.1", accountable=peer), 0)
    book.note(Refusal(ANN, "stat", "/x", "no", "10.0.0.1"), 0)
    rows = book.unwritten()
    assert len(rows) == KINDS_PER_SOURCE_MAX + 2
    assert [one.refusal.actor for one, _, _ in rows[-2:]] == [peer, ANN]


def test_refusals_of_ever_other_callers_stay_bounded_and_all_counted() -> None:
    book = RefusalBook()
    for number in range(3 * KINDS_MAX):
        book.note(Refusal(f"user {number}", "stat", "/" + "x" * 4000, "no", "10.0.0.1"), 0)
    rows = book.unwritten()
    assert len(rows) == KINDS_MAX + 1
    assert sum(count for _, count, _ in rows) == 3 * KINDS_MAX
    assert max(len(one.refusal.target) for one, _, _ in rows) <= 512
    for one, count, _ in rows:
        one.written = count
    book.forget_ended(int(WINDOW_S * 1000) + 1)
    assert not book._open
    assert not book._kinds


async def test_a_flood_of_refusals_pushes_out_neither_changes_nor_others_refusals(
    tmp_path: Path,
) -> None:
    clock = ManualClock()
    settings = CatalogSettings(audit_changes_max=50, audit_refusals_max=200)
    catalog = await SqliteCatalog.open(
        str(tmp_path), world_of(clock, SeededRandomness(1)), settings
    )
    try:
        await catalog.names.make_directory(OPERATOR, FilePath.parse("/kept"), parents=False)
        catalog.audit.note_denial(Refusal("bob", "stat", "/x"))
        for window in range(30):
            for number in range(KINDS_PER_SOURCE_MAX):
                catalog.audit.note_denial(Refusal("mallory", "stat", f"/{window}/{number}"))
            await catalog.upkeep.expire()
            clock.advance(WINDOW_S + 1)
        rows = await catalog.audit.list(since_ms=0, limit=10_000)
        refusals = [row for row in rows if row.detail.startswith("denied")]
        assert len(refusals) <= 200 + 1000  # counted again after a thousand rows
        assert any(row.actor == "bob" for row in refusals)
        assert any(row.action == "mkdir" and row.target == "/kept" for row in rows)
        dropped = [row for row in rows if row.action == "audit-drop"]
        assert dropped
        assert {row.target for row in dropped} == {"mallory"}
    finally:
        await catalog.close()
