"""Bugs that are put into the product, to show that the model finds them.

Each is a patch of product functions; ``python -m tests.model.faults`` draws examples with each until one
fails, and fails itself where none does within ``EXAMPLES_MOST``.  To add one: write a function that takes
an ``ExitStack``, and name it in ``FAULTS``.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final
from unittest import mock

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from collective.catalog.decisions import allocation, extents, receipts, removal
from collective.catalog.sqlite.collection import unreferenced
from collective.catalog.sqlite.copies import inventories
from collective.catalog.sqlite.files import allocation as allocating
from collective.catalog.sqlite.files import rechecking
from collective.catalog.sqlite.names import entries, names, quota_rows
from collective.model.writing import Precondition
from collective.placement import healing, quorum
from tests.model.machine import Beside
from tests.simulation.mutants import everywhere, sql

EXAMPLES_MOST: Final = 200
PARTS: Final = 8
"""Seeds that these are drawn with: examples of one seed are much like one another."""
STEPS: Final = 40


# --- what is acknowledged ----------------------------------------------------------------------------


def quorum_one_lower(stack: ExitStack) -> None:
    """A write needs one copy less than it should."""
    everywhere(stack, quorum, "quorum_of", lambda copies: max(1, copies // 2))


def length_believed(stack: ExitStack) -> None:
    """A receipt of another length counts."""
    proof_of = receipts.proof_of

    def believe(stored_length: int, sent: Any) -> Any:
        return proof_of(stored_length if sent is None else sent.stored_length, sent)

    everywhere(stack, receipts, "proof_of", believe)


def receipt_ends_doubt(stack: ExitStack) -> None:
    """A receipt for a copy that is missing or doubted puts it back into use."""
    proof_of = receipts.proof_of

    def believe(*args: Any) -> Any:
        proof = proof_of(*args)
        return receipts.Proof.COPY if proof is receipts.Proof.CONTENT else proof

    everywhere(stack, receipts, "proof_of", believe)


def never_checked_again(stack: ExitStack) -> None:
    """A commit trusts the quorum that there was when its pieces were recorded."""
    everywhere(stack, rechecking, "is_behind", lambda *_: False)


def gaps_are_files(stack: ExitStack) -> None:
    """A commit does not look whether the pieces make the file."""
    everywhere(stack, extents, "require_complete", lambda *_, **__: None)


def overlaps_are_files(stack: ExitStack) -> None:
    """A piece may lie over another one."""
    place = extents.place_extent
    everywhere(
        stack,
        extents,
        "place_extent",
        lambda extent, around: place(
            extent,
            around
            if around.before_offset == extent.offset
            else extents.Around(after_offset=around.after_offset),
        ),
    )


def refused_but_done(stack: ExitStack) -> None:
    """What a refused act has done until then stays."""
    sql(stack, ("ROLLBACK TO operation", "SELECT 1"))


# --- who may ------------------------------------------------------------------------------------------


def stored_is_enough(stack: ExitStack) -> None:
    """Whoever names a chunk of a file may use it, without the right to read it."""
    everywhere(
        stack,
        allocating,
        "may_use",
        lambda tx, decider, upload, chunk, **_: allocating.is_kept(tx, chunk),
    )


def condition_ignored(stack: ExitStack) -> None:
    """What is there already is replaced, though that was ruled out."""
    check = entries.check_condition

    def ignore(db: Any, path: Any, version: Any, condition: Any) -> None:
        check(db, path, version, Precondition(condition.if_version))

    everywhere(stack, entries, "check_condition", ignore)


def moves_into_itself(stack: ExitStack) -> None:
    """A folder that is moved into itself stays where it is, and that is called a success."""
    move = names.SqliteNames.move

    async def stay(self: Any, caller: Any, source: Any, target: Any, **given: Any) -> Any:
        inside = target.starts_with(source)
        return await move(self, caller, source, source if inside else target, **given)

    stack.enter_context(mock.patch.object(names.SqliteNames, "move", stay))


def quota_forgets_uploads(stack: ExitStack) -> None:
    """What open uploads have reserved counts for nothing."""
    room = quota_rows.make_room

    def ignore(*args: Any, **given: Any) -> None:
        room(*args, **{**given, "also_open": False})

    everywhere(stack, quota_rows, "make_room", ignore)


def busy_gives_way(stack: ExitStack) -> None:
    """Uploads that go on are ended where their room is needed."""
    stack.enter_context(mock.patch.object(quota_rows, "IDLE_MS", 0))


# --- where copies go ----------------------------------------------------------------------------------


def probation_wins(stack: ExitStack) -> None:
    """Nodes on probation may hold a majority."""
    everywhere(stack, quorum, "probation_room", lambda *_, **__: 99)


def drained_takes_more(stack: ExitStack) -> None:
    """A node that is emptied gets new copies."""
    sql(stack, (" AND n.draining = 0", ""))


def drained_is_missing(stack: ExitStack) -> None:
    """Copies on a node that is emptied count for no upload."""
    usable = allocation.usable
    everywhere(
        stack,
        allocation,
        "usable",
        lambda found, **given: usable([one for one in found if not one.is_leaving], **given),
    )


def returned_counts(stack: ExitStack) -> None:
    """A copy that was missing counts as soon as its node says that it is back."""
    stack.enter_context(mock.patch.object(inventories, "DOUBTED", 1))


def removed_with_copies(stack: ExitStack) -> None:
    """A node that has the only copies may be taken away."""
    stack.enter_context(mock.patch.object(removal.Needed, "count"))


# --- what goes ----------------------------------------------------------------------------------------


def pins_forgotten(stack: ExitStack) -> None:
    """Collection takes what an open upload has named."""
    text = re.sub(r" OR EXISTS \(SELECT 1 FROM (pins|sent) .*?\)", "", unreferenced._NEEDED)
    stack.enter_context(mock.patch.object(unreferenced, "_NEEDED", text))
    sql(stack, ("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF"))


def collects_what_is_used(stack: ExitStack) -> None:
    """Collection takes what another file has."""
    text = unreferenced._NEEDED.replace(
        "EXISTS (SELECT 1 FROM extents x WHERE x.chunk = c.chunk)", "0"
    )
    stack.enter_context(mock.patch.object(unreferenced, "_NEEDED", text))
    sql(stack, ("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF"))


def trims_unconfirmed(stack: ExitStack) -> None:
    """What was given up is deleted, whether others were proved or not."""
    everywhere(stack, healing, "may_delete", lambda *_, **__: True)


def trims_one_too_many(stack: ExitStack) -> None:
    """One copy less than is wanted is called enough."""
    count_of = healing.count_of
    everywhere(stack, healing, "count_of", lambda *args: count_of(*args) + 1)


FAULTS: Final[dict[str, Callable[[ExitStack], None]]] = {
    act.__name__.replace("_", " "): act
    for act in (
        quorum_one_lower,
        length_believed,
        receipt_ends_doubt,
        never_checked_again,
        gaps_are_files,
        overlaps_are_files,
        refused_but_done,
        stored_is_enough,
        condition_ignored,
        moves_into_itself,
        quota_forgets_uploads,
        busy_gives_way,
        probation_wins,
        drained_takes_more,
        drained_is_missing,
        returned_counts,
        removed_with_copies,
        pins_forgotten,
        collects_what_is_used,
        trims_unconfirmed,
        trims_one_too_many,
    )
}


def hunt(name: str, first: int = 1) -> tuple[int, str]:
    """Draw examples with a fault ("": without any); return which one failed (0: none), and how."""
    drawn = 0

    class Counted(Beside):
        def __init__(self) -> None:
            nonlocal drawn
            drawn += 1
            super().__init__()

    limits = settings(
        max_examples=EXAMPLES_MOST // PARTS,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with ExitStack() as stack:
        if name:
            FAULTS[name](stack)
        for part in range(PARTS):
            try:
                run_state_machine_as_test(seed(first + part)(Counted), settings=limits)
            except Exception as error:  # noqa: BLE001 - whatever it is, the fault was found
                # Hypothesis runs what failed once more, to be sure.
                return max(1, drawn - 1), f"{type(error).__name__}: {error}"
    return 0, ""


def main(arguments: list[str] | None = None) -> int:
    """Hunt every fault; return 0 if each was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.model.faults", description=__doc__)
    parser.add_argument("names", nargs="*", help="faults; all by default")
    parser.add_argument("--first", type=int, default=1, help="the seed")
    options = parser.parse_args(arguments)
    chosen = [name.replace("-", " ").replace("_", " ") for name in options.names] or list(FAULTS)
    missed = 0
    for name in chosen:
        began_s = time.process_time()
        examples, how = hunt(name, options.first)
        missed += not examples
        found = f"found by example {examples}" if examples else "MISSED"
        cpu_s = time.process_time() - began_s
        sys.stdout.write(f"{name}: {found} ({cpu_s:.0f} CPU s) {' '.join(how.split())[:160]}\n")
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
