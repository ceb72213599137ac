"""Bugs that are put into the product, to show that the simulation finds them.

Each is a patch of product functions at run time, and each is of a kind that was, or nearly was, in the
product.  ``python -m tests.simulation.mutants`` runs seeds with each until one fails, and fails itself
where none does within ``SEEDS_MOST``.  To add one: write a function that takes an ``ExitStack``, and
name it in ``MUTANTS``.
"""

from __future__ import annotations

import argparse
import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import re
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final
from unittest import mock

import apsw

from collective.access import grant_book, permissions
from collective.catalog.decisions import adoption, catalog_lives
from collective.catalog.decisions import inventories as inventory_rules
from collective.catalog.decisions import peers as peer_rules
from collective.catalog.interface.values import ChunkPage
from collective.catalog.sqlite.collection import dooming, unreferenced
from collective.catalog.sqlite.copies import inventories, repair
from collective.catalog.sqlite.files import rechecking, recording
from collective.catalog.sqlite.people import peers as peer_rows
from collective.catalog.sqlite.store import counting, custody, opening, references
from collective.chunking.store.capacity import Capacity
from collective.chunking.store.core import StoreCore
from collective.chunking.store.index import OWN_FILE
from collective.core import limits
from collective.core.errors import CollectiveError, NoSpaceError, PermissionDeniedError, UsageError
from collective.core.ids import SpiffeId
from collective.core.paths import FilePath
from collective.federation.peers import newer_bundle as newer
from collective.federation.peers.peer_book import PeerBook
from collective.model.calls import Call
from collective.model.copies import CopyState
from collective.model.peers import PeerState
from collective.model.rights import Right
from collective.pki import bundle as bundles
from collective.placement import healing, quorum
from collective.placement.chunk_safety import Use
from collective.roles.coordinator.faces.grpc import admission
from collective.roles.coordinator.faces.grpc.files import FilesService
from collective.roles.node import durable_memory
from collective.roles.node.storage import NodeStorage
from collective.rpc.tls.gate import PeerGate
from collective.transfer.stream.chunk_client import ChunkClient
from tests.simulation import disk as disks
from tests.simulation.database import SimulatedVfs
from tests.simulation.process import PROCESS
from tests.simulation.run import prepare, say
from tests.simulation.seeds import OF_SEVERAL as FROM
from tests.simulation.seeds import run_apart

SEEDS_MOST: Final = 200
OF_SEVERAL_MOST: Final = 60
"""The same of those that only runs of several members can find."""
MINUTES: Final = 10.0
_OF_CHUNKS: Final = re.compile(r"/node/(.*/)?(tmp|chunks|packs)(/|$)")
"""Files and directories that hold a node's chunks; its certificates and what it remembers are others."""


def everywhere(stack: ExitStack, module: Any, name: str, new: Any) -> None:
    """Replace a function of a module, also where others have imported it."""
    old = getattr(module, name)
    for other in list(sys.modules.values()):
        if getattr(other, "__name__", "").startswith("collective"):
            for here, value in list(vars(other).items()):
                if value is old:
                    stack.enter_context(mock.patch.object(other, here, new))


def sql(stack: ExitStack, *changes: tuple[str, str]) -> None:
    """Replace pieces of the statements that run on the catalogue, whoever runs them."""

    def changed(text: str) -> str:
        for old, new in changes:
            text = text.replace(old, new)
        return text

    class Connection(apsw.Connection):
        def execute(self, statements: str, *args: Any, **kwargs: Any) -> apsw.Cursor:
            return super().execute(changed(statements), *args, **kwargs)

        def executemany(self, statements: str, *args: Any, **kwargs: Any) -> apsw.Cursor:
            return super().executemany(changed(statements), *args, **kwargs)

    stack.enter_context(mock.patch.object(apsw, "Connection", Connection))


# --- what nodes and receipts say -------------------------------------------------------------------


def length_overwrites(stack: ExitStack) -> None:
    """The length that a receipt tells becomes the chunk's, and copies of another are missing (finding 1)."""
    count, record, tell_apart = (
        recording.count_receipts,
        recording.record,
        inventory_rules.differences,
    )
    told: dict[str, list[Any]] = {}

    def count_whatever(tx: Any, upload: str, receipts: Any) -> None:
        counted = []
        for receipt in receipts:
            length = tx.value("SELECT stored_length FROM chunks WHERE hash = ?", receipt.chunk)
            if length not in {None, receipt.stored_length}:
                told.setdefault(upload, []).append(receipt)
                receipt = dataclasses.replace(receipt, stored_length=length)  # noqa: PLW2901
            counted.append(receipt)
        count(tx, upload, counted)

    def record_and_believe(tx: Any, decider: Any, upload: str, *args: Any, **given: Any) -> None:
        record(tx, decider, upload, *args, **given)
        for receipt in told.pop(upload, ()):
            tx.run(
                "UPDATE OR IGNORE chunks SET stored_length = ? WHERE hash = ?",
                receipt.stored_length,
                receipt.chunk,
            )

    def tell_others_apart(known: Any, there: Any, spare: Any) -> Any:
        lengths = {(row[0], row[2]): row[4] for row in known}
        believed = [
            copy
            for copy in there
            if lengths.get((copy.chunk, copy.generation), copy.stored_length) == copy.stored_length
        ]
        return tell_apart(known, believed, spare)

    everywhere(stack, recording, "count_receipts", count_whatever)
    everywhere(stack, recording, "record", record_and_believe)
    everywhere(stack, inventory_rules, "differences", tell_others_apart)


def page_at_once(stack: ExitStack) -> None:
    """All that an inventory's page changes is one change of the catalogue, copy by copy (finding 3)."""
    set_states = inventories._set_states

    @functools.wraps(set_states)
    def one_by_one(tx: Any, node: int, state: int, was: Any, copies: Any) -> None:
        for copy in copies:
            set_states(tx, node, state, was, [copy])

    everywhere(stack, inventories, "_steps", lambda items: [items] if items else [])
    everywhere(stack, inventories, "_set_states", one_by_one)


def unchecked_bytes(stack: ExitStack) -> None:
    """Whoever reads believes what a node sends."""

    async def believe(self: Any, buffer: Any, chunk_id: bytes) -> None:
        del self, buffer, chunk_id

    stack.enter_context(mock.patch.object(ChunkClient, "_verify", believe))


# --- what is acknowledged --------------------------------------------------------------------------


def below_quorum(stack: ExitStack) -> None:
    """One copy is enough for an acknowledgement."""

    def one(copies: int) -> int:
        del copies
        return 1

    everywhere(stack, quorum, "quorum_of", one)


def receipt_before_store(stack: ExitStack) -> None:
    """A node gives its receipt, and stores the chunk a moment later."""
    put = NodeStorage.put

    async def put_later(self: Any, chunk: Any, generation: Any, parts: Any, **_: Any) -> None:
        kept = bytes(parts) if isinstance(parts, bytes | memoryview) else b"".join(parts)

        async def later() -> None:
            await asyncio.sleep(3.0)
            await put(self, chunk, generation, memoryview(kept))

        process = PROCESS.get()
        assert process is not None
        process.keep.append(asyncio.get_running_loop().create_task(later()))

    stack.enter_context(mock.patch.object(NodeStorage, "put", put_later))


def node_skips_flush(stack: ExitStack) -> None:
    """The chunk store forgets to flush bytes."""
    flush = disks._File.datasync

    def skip(self: Any) -> None:
        if not _OF_CHUNKS.search(self._path):
            flush(self)

    stack.enter_context(mock.patch.object(disks._File, "datasync", skip))


def node_skips_name_flush(stack: ExitStack) -> None:
    """The chunk store forgets to flush names."""
    flush = disks.ProcessDisk.sync_dir

    def skip(self: Any, path: str) -> None:
        if not _OF_CHUNKS.search(path):
            flush(self, path)

    stack.enter_context(mock.patch.object(disks.ProcessDisk, "sync_dir", skip))


def catalogue_skips_flush(stack: ExitStack) -> None:
    """The catalogue commits without flushing (synchronous off)."""
    make = SimulatedVfs.__init__

    def careless(self: Any, seed: int) -> None:
        make(self, seed)
        self.ignores_flushes = True

    stack.enter_context(mock.patch.object(SimulatedVfs, "__init__", careless))


# --- what is kept in use ---------------------------------------------------------------------------


def open_uploads_forgotten(stack: ExitStack) -> None:
    """Open uploads are no references, and a commit trusts the quorum that once was (finding 2)."""
    everywhere(stack, rechecking, "is_behind", lambda *_: False)
    of_files = references.OF_FILES
    sql(
        stack,
        (references.IN_USE, of_files),
        (references.DUE, f"({of_files} AND ? IS NOT NULL)"),
    )
    groups = counting.groups

    def of_files_alone(*args: Any) -> Any:
        return [one for one in groups(*args) if one[1].use is Use.FILED]

    everywhere(stack, counting, "groups", of_files_alone)


def repair_starves(stack: ExitStack) -> None:
    """The first chunks that are short hide all others (finding 4)."""
    page = repair.SqliteRepair.short_chunks

    async def first(self: Any, stored: int, after: int, limit: int) -> Any:
        if stored:
            return ChunkPage((), None)
        found = [
            chunk
            for count in range(limits.COPIES_MAX)
            for chunk in (await page(self, count, after, limit)).chunks
        ]
        found.sort(key=lambda chunk: chunk.chunk)
        return ChunkPage(found[:2], None)

    stack.enter_context(mock.patch.object(repair.SqliteRepair, "short_chunks", first))


def trims_unconfirmed(stack: ExitStack) -> None:
    """What was given up is deleted at once, whether others have the chunk or not."""
    everywhere(stack, healing, "may_delete", lambda *_, **__: True)


def trims_too_early(stack: ExitStack) -> None:
    """Copies on a node that is drained go while a single other one is left."""
    heal = healing.heal

    def hasty(chunk: Any, facts: Any, place: Any, *rest: Any) -> Any:
        for copy in chunk.copies:
            leaves = not facts.get(copy.node, healing.UNKNOWN).stays
            if leaves and copy.state is CopyState.STORED:
                return healing.GiveUp(chunk, copy)
        return heal(chunk, facts, place, *rest)

    trims_unconfirmed(stack)
    everywhere(stack, healing, "heal", hasty)


def deletes_what_is_used(stack: ExitStack) -> None:
    """Collection forgets to ask whether a file still has the chunk, and no foreign key stops it."""
    sql(
        stack,
        ("EXISTS (SELECT 1 FROM extents x WHERE x.chunk = c.chunk)", "0"),
        ("PRAGMA foreign_keys = ON", "PRAGMA foreign_keys = OFF"),
    )


# --- what must go ----------------------------------------------------------------------------------


def forgets_doomed(stack: ExitStack) -> None:
    """A copy that is given up is forgotten, and its node never told."""

    def forget(tx: Any, chunk: int, node: int, guard: int = 0) -> None:
        del guard
        tx.run("DELETE FROM copies WHERE chunk = ? AND node = ?", chunk, node)

    def forget_chunk(tx: Any, chunk: int) -> None:
        tx.run("DELETE FROM copies WHERE chunk = ?", chunk)
        tx.run("DELETE FROM chunks WHERE id = ?", chunk)
        tx.deltas.chunks -= 1

    everywhere(stack, dooming, "doom", forget)
    everywhere(stack, dooming, "doom_chunk", forget_chunk)


def forgets_tombstones(stack: ExitStack) -> None:
    """The chunk store takes small chunks out of its index only."""
    delete = StoreCore.delete

    def from_index(self: Any, chunk: Any, generation: Any) -> bool:
        place = self._index.find(chunk, generation)
        if place is None or place.pack == OWN_FILE:
            return delete(self, chunk, generation)
        with self._lock:
            self._leave(chunk, generation)
        return True

    stack.enter_context(mock.patch.object(StoreCore, "delete", from_index))


def never_deletes_again(stack: ExitStack) -> None:
    """Nodes refuse every delete after the catalogue was lost, adopted or not (finding 6)."""
    everywhere(stack, durable_memory, "with_adoption", lambda kept, _: kept)


def collection_blocks(stack: ExitStack) -> None:
    """Collection clears one version after the other, a row a round: a huge one keeps the rest waiting (finding 8)."""

    async def only_the_oldest(self: Any) -> bool:
        def clear(tx: Any) -> None:
            oldest = tx.value("SELECT min(id) FROM versions WHERE state = 3")
            if oldest is not None:
                recording.clear_extents(tx, oldest, 1)

        await self._engine.change(clear)
        return False

    stack.enter_context(
        mock.patch.object(unreferenced.SqliteCollection, "_clear_versions", only_the_oldest)
    )


# --- backups, full disks, rights -------------------------------------------------------------------


def lives_ignored(stack: ExitStack) -> None:
    """A position is judged by its numbers, whichever life told it: a restore that nobody notices."""
    everywhere(stack, catalog_lives, "shows_a_lost_future", lambda *_: False)


def torn_backups(stack: ExitStack) -> None:
    """Files that were copied while they changed are taken for what they were, and no snapshot helps (finding 11)."""
    judged = custody.judge

    def trusting(*args: Any, **kwargs: Any) -> Any:
        origin, record = judged(*args, **kwargs)
        if origin is custody.Origin.COPIED and record is not None:
            origin = custody.Origin.OURS
        return origin, record

    def refuse(place: Any, *args: Any) -> Any:
        raise opening._damaged(place, str(args[-1]))

    everywhere(stack, custody, "judge", trusting)
    everywhere(stack, opening, "_history_objection", lambda *_: None)
    everywhere(stack, opening, "_fall_back", refuse)


def full_disk_is_no_error(stack: ExitStack) -> None:
    """A node whose disk is full says that it stored the chunk."""
    put, reserve = NodeStorage.put, NodeStorage.reserve
    nowhere = Capacity(1 << 60, 0, lambda: 1 << 60)

    async def pretend(self: Any, *args: Any, **kwargs: Any) -> None:
        with contextlib.suppress(NoSpaceError):
            await put(self, *args, **kwargs)

    def reserve_nothing(self: Any, length: int) -> Any:
        try:
            return reserve(self, length)
        except NoSpaceError:
            return nowhere.reserve(length)

    stack.enter_context(mock.patch.object(NodeStorage, "put", pretend))
    stack.enter_context(mock.patch.object(NodeStorage, "reserve", reserve_nothing))


def everybody_reads(stack: ExitStack) -> None:
    """Whoever has a grant anywhere may read everything."""
    covering = permissions.covering

    def generous(grants: Any, path: Any) -> Right:
        return covering(grants, path) | Right.READ

    everywhere(stack, permissions, "covering", generous)


# --- several members -------------------------------------------------------------------------------


def speaks_for_others(stack: ExitStack) -> None:
    """What a peer names is believed, whoever vouches for it: here, that its own coordinator calls itself."""
    enter = admission.Admission._forwarded

    def believe(self: Any, current: Any) -> Any:
        call = enter(self, current)
        return call._replace(principal=SpiffeId.coordinator(self._domain), is_operator=True)

    stack.enter_context(mock.patch.object(admission.Admission, "_forwarded", believe))


def forwarder_decides(stack: ExitStack) -> None:
    """Whoever a peer calls for may do at the owner what any of the peer's people may."""
    of = grant_book.GrantBook.of

    def of_anybody(self: Any, principal: Any, now_s: float) -> Any:
        found = list(of(self, principal, now_s))
        named = {grant.id for grant in found}
        found += [
            grant
            for grant in self.live(now_s)
            if grant.principal.role == "user"
            and grant.principal.trust_domain == principal.trust_domain
            and grant.granted_by.trust_domain != principal.trust_domain
            and grant.id not in named
        ]
        return found

    stack.enter_context(mock.patch.object(grant_book.GrantBook, "of", of_anybody))


def removed_peer_keeps_grants(stack: ExitStack) -> None:
    """The grants of a removed peer are left, and live again when it comes back."""
    everywhere(stack, peer_rows, "_drop_grants_of", lambda *_: 0)


def lower_number_taken(stack: ExitStack) -> None:
    """A bundle takes the place of another whatever its number is, and numbers begin anew after a restore."""

    def renewed(known: Any, newer: Any) -> Any:
        if known is None or newer.body == known.body:
            return None
        return dataclasses.replace(
            known, sequence=newer.sequence, body=newer.body, signature=newer.signature
        )

    check = newer.newer_bundle

    def whatever_number(known: Any, signed: Any, now_s: float) -> Any:
        first = dataclasses.replace(known, peer=dataclasses.replace(known.peer, sequence=0))
        return check(first, signed, now_s)

    everywhere(stack, newer, "newer_bundle", whatever_number)
    everywhere(stack, peer_rules, "renewed", renewed)
    everywhere(
        stack,
        peer_rules,
        "next_sequence",
        lambda stored, *, is_same, echoed, step: stored if is_same and stored else stored + step,
    )


def list_waits_for_peers(stack: ExitStack) -> None:
    """The root is listed when every peer has answered."""
    listed = FilesService.list

    async def ask_first(self: Any, message: Any) -> Any:
        others = self._owners._others
        if message.path == "/":
            for domain in others.domains():
                who = f"spiffe://{self._owners.domain}/user/{self._owners.domain}/somebody"
                call = Call(SpiffeId.parse(who), is_operator=False)
                with contextlib.suppress(CollectiveError):
                    await others.files(domain).names.stat(call, FilePath((f"@{domain}",)))
        return await listed(self, message)

    stack.enter_context(mock.patch.object(FilesService, "list", ask_first))


def third_domain_accepted(stack: ExitStack) -> None:
    """A peer may speak for the people of every member that is a peer, not for its own alone."""

    def any_peer(self: Any, current: Any, named: str) -> SpiffeId:
        del current
        try:
            principal = SpiffeId.parse(named)
        except UsageError as error:
            raise PermissionDeniedError("A peer names nobody that there can be.") from error
        if principal.role != "user" or not self._inbound._book.is_peer(principal.trust_domain):
            raise PermissionDeniedError("A peer speaks for people of members alone.")
        return principal

    stack.enter_context(mock.patch.object(admission.Admission, "_principal", any_peer))


def tombstone_forgotten(stack: ExitStack) -> None:
    """A coordinator that starts again does not know any more whom it has removed."""
    load = PeerBook.load

    async def load_peers(self: Any) -> None:
        every = self._kept.all

        async def present() -> Any:
            return [one for one in await every() if one.state is not PeerState.REMOVED]

        with mock.patch.object(self._kept, "all", present):
            await load(self)

    stack.enter_context(mock.patch.object(PeerBook, "load", load_peers))


def numbers_begin_anew(stack: ExitStack) -> None:
    """A member that was put back goes on from the number that its backup has, whatever its peers show."""
    next_sequence = peer_rules.next_sequence

    def as_stored(stored: int, *, is_same: bool, echoed: int, step: int) -> int:
        del echoed
        return next_sequence(stored, is_same=is_same, echoed=0, step=step)

    everywhere(stack, peer_rules, "next_sequence", as_stored)


def own_grants_decide(stack: ExitStack) -> None:
    """Whoever comes through a peer has what the owner's own people have."""
    of = grant_book.GrantBook.of

    def of_own_people(self: Any, principal: Any, now_s: float) -> Any:
        found = list(of(self, principal, now_s))
        domains = {
            grant.granted_by.trust_domain
            for grant in found
            if grant.granted_by.role == "coordinator"
        }
        return found + [
            grant
            for grant in self.live(now_s)
            if principal.trust_domain not in domains and grant.principal.trust_domain in domains
        ]

    stack.enter_context(mock.patch.object(grant_book.GrantBook, "of", of_own_people))


def passed_on_outlives_root(stack: ExitStack) -> None:
    """What was passed on stays when the grant that it came from ends."""
    stack.enter_context(
        mock.patch.object(grant_book.GrantBook, "_with_what_came", lambda _, named: named.copy())
    )


def removed_peer_stays_connected(stack: ExitStack) -> None:
    """Connections of a peer that was removed stand until somebody closes them."""
    objection = PeerGate.objection

    def of_own_people(self: Any, peer: Any) -> str | None:
        if peer.identity.trust_domain != self._home:
            return None
        return objection(self, peer)

    stack.enter_context(mock.patch.object(PeerGate, "objection", of_own_people))


def new_authority_keeps_grants(stack: ExitStack) -> None:
    """Grants to people under a CA that was replaced by --replace go on."""
    everywhere(stack, peer_rules, "ends_grants", lambda *_: False)


def unsigned_bundles(stack: ExitStack) -> None:
    """A bundle is believed whoever has signed it."""
    everywhere(stack, bundles, "_is_signed_by", lambda *_: True)


def never_brought_back(stack: ExitStack) -> None:
    """Nodes that were told of a lost future under a key that was replaced obey the present catalogue never again."""
    everywhere(stack, adoption, "to_bring_back", lambda *_: {})


OF_SEVERAL: Final = (
    speaks_for_others,
    forwarder_decides,
    removed_peer_keeps_grants,
    lower_number_taken,
    list_waits_for_peers,
    third_domain_accepted,
    tombstone_forgotten,
    numbers_begin_anew,
    own_grants_decide,
    passed_on_outlives_root,
    removed_peer_stays_connected,
    new_authority_keeps_grants,
    unsigned_bundles,
    never_brought_back,
)
"""Those that only runs of several members can find."""

MUTANTS: Final[dict[str, Callable[[ExitStack], None]]] = {
    re.sub("_", " ", act.__name__): act
    for act in (
        length_overwrites,
        page_at_once,
        unchecked_bytes,
        below_quorum,
        receipt_before_store,
        node_skips_flush,
        node_skips_name_flush,
        catalogue_skips_flush,
        open_uploads_forgotten,
        repair_starves,
        trims_unconfirmed,
        trims_too_early,
        deletes_what_is_used,
        forgets_doomed,
        forgets_tombstones,
        never_deletes_again,
        collection_blocks,
        lives_ignored,
        torn_backups,
        full_disk_is_no_error,
        everybody_reads,
        *OF_SEVERAL,
    )
}


def hunt(name: str, seeds: range, minutes: float) -> tuple[str, int, str, float]:
    """Run seeds until one finds the mutant; return its name, that seed (0: none), how, CPU seconds.

    A seed finds it if it fails with it and is well without it.
    """
    spent_s = 0.0
    of_several = MUTANTS[name] in OF_SEVERAL
    for number in seeds:
        seed = number + FROM if of_several else number
        with_it, cpu_s = run_apart(seed, minutes, MUTANTS[name])
        spent_s += cpu_s
        if with_it.failure:
            without, cpu_s = run_apart(seed, minutes)
            spent_s += cpu_s
            if not without.failure:
                return name, seed, with_it.failure, spent_s
    return name, 0, "", spent_s


def main(arguments: list[str] | None = None) -> int:
    """Hunt every mutant; return 0 if each was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="mutants; all by default")
    parser.add_argument("--houses", action="store_true", help="those of several members alone")
    parser.add_argument("--seeds", type=int, help=f"by default {SEEDS_MOST}, or {OF_SEVERAL_MOST}")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=MINUTES)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    names = [name.replace("-", " ").replace("_", " ") for name in options.names] or [
        name for name, act in MUTANTS.items() if act in OF_SEVERAL or not options.houses
    ]
    os.environ["PYTHONHASHSEED"] = "0"
    context = multiprocessing.get_context("spawn")
    most = options.seeds or (OF_SEVERAL_MOST if options.houses else SEEDS_MOST)
    missed, seeds = [], range(options.first, options.first + most)
    with concurrent.futures.ProcessPoolExecutor(
        options.workers, mp_context=context, initializer=prepare
    ) as pool:
        hunts = [pool.submit(hunt, name, seeds, options.minutes) for name in names]
        for done in concurrent.futures.as_completed(hunts):
            name, seed, failure, cpu_s = done.result()
            if seed:
                say(f"found: {name}: seed {seed} ({cpu_s:.0f} CPU s): {failure[:200]}")
            else:
                missed.append(name)
                say(f"MISSED: {name}: {most} seeds ({cpu_s:.0f} CPU s)")
    say(f"{len(names) - len(missed)} of {len(names)} mutants were found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
