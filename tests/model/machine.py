"""The catalogue and the model of it, driven side by side: what Hypothesis draws from, and what must hold.

After each act the outcome is compared, and all that the catalogue says of every chunk.  Where it may
choose (which surplus copy goes, when something unneeded is forgotten), the choice is checked and taken over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from collective.core.ids import NodeId
from collective.model.copies import ChunkCopies, CopyKey, CopyState, VerifiedReceipt
from collective.model.nodes import NodeRecord, Standing
from collective.model.rights import Right
from tests.contract.catalog.permission_model import OPERATOR, PATHS, Path
from tests.contract.catalog.world import OPERATOR as COORDINATOR
from tests.contract.catalog.world import chunk, claim, confirm, names, place_on, user
from tests.model import acts
from tests.model.acts import TEXTS, UNIT, USERS, Act, Outcome, at, compare, do, stored_length
from tests.model.engine import COPIES, Engine
from tests.model.member import Batch, Held, Member, Node, Receipt, counts, require

NODES: Final = tuple(f"n{number}" for number in range(1, 7))
STATES: Final = {
    CopyState.INTENT: "intent",
    CopyState.STORED: "stored",
    CopyState.MISSING: "missing",
    CopyState.DOUBTED: "doubted",
}
LETTERS: Final = {"r": Right.READ, "w": Right.WRITE, "s": Right.SHARE}
ONE_FILE: Final = UNIT + 1024 + 512 + 2
"""What a file of one chunk counts for."""

callers = st.sampled_from([OPERATOR] * 5 + [*USERS])
paths = st.sampled_from(PATHS)
files = st.sampled_from(
    [
        ("a", "b"),
        ("b", "a"),
        ("a", "a", "b"),
        ("b", "b"),
        ("a", "b"),
        ("b", "a"),
        ("a", "a", "a"),
        ("c", "a"),
        ("a", "a"),
        ("a",),
    ]
)
trees = st.sampled_from(
    [("a",), ("a", "a"), ("a", "b"), ("b",), ("b", "a"), ("c",), ("a", "a", "a")]
)
tops = st.sampled_from([("a",), ("b",), ("c",)])
texts = st.lists(st.sampled_from([*TEXTS, *TEXTS, "."]), min_size=1, max_size=4)
"""Pieces of a file; a dot is a hole."""
node_names = st.sampled_from(NODES)
few_nodes = st.frozensets(node_names, max_size=1)
orders = st.permutations(NODES).map(tuple)
offered = st.one_of(
    orders, orders, st.tuples(orders, st.integers(1, 4)).map(lambda t: t[0][: t[1]])
)
picks = st.integers(0, 200)
masks = st.one_of(st.just(0), st.integers(0, 255))
"""Which items are left out: those whose bit is set."""
twists = st.sampled_from([""] * 12 + ["length", "upload", "generation"])
layouts = st.sampled_from(["whole"] * 6 + ["gap", "overlap", "strange", "none"])
quotas = st.sampled_from([None, 0, ONE_FILE, ONE_FILE - 1, 2 * ONE_FILE, 3 * ONE_FILE + 5000])
copies_wanted = st.sampled_from([None, 0, 1, 2, 3, 4])


def left_out(items: Sequence[Any], mask: int) -> list[Any]:
    return [item for place, item in enumerate(items) if not mask >> place % 8 & 1]


class Beside(RuleBasedStateMachine):
    """One catalogue and one model."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Engine()
        self.model = Member(int(self.engine.clock.wall_s()), COPIES, stored_length)
        self.plans: dict[str, tuple[list[tuple[int, int, str]], int]] = {}
        """Pieces and size of the file of each upload."""
        self.has_failed = True
        """Until an act has come to its end."""

    # --- one step ----------------------------------------------------------------------------------

    def step(self, *todo: Act | None, may_give_up: frozenset[Any] = frozenset()) -> list[Outcome]:
        """Run acts together, hold each outcome against the model, and look at all copies."""
        these = [act for act in todo if act is not None]
        if not these:
            return []
        self.has_failed = True
        self.wait(1)
        told: list[Outcome] = self.engine.run(do(these, self.engine.catalog))
        for act, outcome in zip(these, told, strict=True):
            compare(act, outcome, self.model)
            if isinstance(act, acts.Commit) and self.model.unsure:
                self._be_sure(act)
        self.look(may_give_up=may_give_up)
        self.has_failed = False
        return told

    def _be_sure(self, act: acts.Commit) -> None:
        """See which receipts a refused commit has counted, and let go of its upload."""
        for node in self.engine.run(self.engine.catalog.nodes.list()):
            if node.standing is Standing.DOUBTED:
                lied = any(one.node == node.node for one in act.receipts)
                require(self.model.nodes[node.node].standing == "doubted" or lied, node)
                self.model.doubt(str(node.node))
        for one in act.receipts:
            for there in self.engine.run(self.engine.catalog.copies.known(chunk(one.chunk))):
                held = self.model.chunks[one.chunk].copies.get(one.node)
                if held is not None and any(
                    (copy.node, copy.generation, copy.state)
                    == (one.node, held.generation, CopyState.STORED)
                    for copy in there.copies
                ):
                    held.state = "stored"
        self.model.unsure = ""
        compare(*self._told(acts.Abort(self.model.uploads[act.upload].who, act.upload)), self.model)

    def wait(self, seconds: int) -> None:
        self.engine.clock.advance(seconds)
        self.model.wait(seconds)

    def look(self, *, may_give_up: frozenset[Any] = frozenset()) -> None:
        """Compare what the catalogue says of every chunk; take over what it may choose."""
        for text in TEXTS:
            found = self.engine.run(self.engine.catalog.copies.known(chunk(text)))
            known = self.model.chunks.get(text)
            if not found:
                require(known is None or not self.model.is_named(text), "forgotten", text, known)
                self.model.chunks.pop(text, None)
                continue
            (there,) = found
            require(known is not None, "nobody named it", there)
            assert known is not None
            is_in_use = self.model.is_in_use(text)
            require(there.is_in_use == is_in_use, "in use or not", text, there, known)
            self._compare_copies(text, there, may_give_up)
            known.wanted = there.wanted
            asked = [
                one.copies
                for one in self.model.uploads.values()
                if one.state == "open" and text in one.pins
            ]
            require(known.wanted >= max(asked, default=1), "wants too few", there, asked)

    def _compare_copies(self, text: str, there: ChunkCopies, may_give_up: frozenset[Any]) -> None:
        known = self.model.chunks[text]
        now = {str(one.node): Held(int(one.generation), STATES[one.state]) for one in there.copies}
        for node, held in list(known.copies.items()):
            is_wanted = held.state != "intent" or self.model.is_sent(text, node, held.generation)
            if node not in now and not is_wanted:  # it may be there all the same
                known.give_up(node, known.copies.pop(node).generation, self.model.now_s)
        require(now == known.copies, "other copies", text, there, known)
        given = {(str(one.node), int(one.generation)): one.is_corrupt for one in there.given_up}
        more = {key for key in given.keys() - known.given_up.keys() if (text, *key) in may_give_up}
        for one in more:
            known.give_up(*one, self.model.now_s)
        require(given == known.given_up, "other copies are given up", text, there, known)

    def look_at_files(self) -> None:
        """What was acknowledged is listed and readable; what was not is not."""
        for path in self.model.files():
            compare(*self._told(acts.Read(OPERATOR, path)), self.model)
        found = self.engine.run(names(self.engine.catalog, "/", deep=True))
        require(sorted(found) == sorted(str(at(path)) for path in self.model.names if path), found)
        figures = {
            one.path.names: (one.copies, one.quota_bytes, one.used_bytes, one.catalog_bytes)
            for one in self.engine.run(self.engine.catalog.datastores.list(COORDINATOR))
        }
        require(figures == self.model.figures(), "figures", figures, self.model.figures())

    def _told(self, act: Act) -> tuple[Act, Outcome]:
        return act, self.engine.run(acts.observe(act, self.engine.catalog))

    # --- the beginning -----------------------------------------------------------------------------

    @initialize(
        standings=st.lists(
            st.sampled_from(["approved", "approved", "approved", "probation"]),
            min_size=4,
            max_size=6,
        ),
        rights=st.lists(
            st.tuples(
                st.sampled_from(USERS),
                st.sampled_from(PATHS[:4]),
                st.sampled_from(["r", "w", "rw", "rw", "rws", "rws"]),
            ),
            min_size=1,
            max_size=4,
        ),
    )
    def begin(self, standings: list[str], rights: list[tuple[str, Path, str]]) -> None:
        for node, standing in zip(NODES, standings, strict=False):
            self._enrol(node, standing)
        self.step(acts.Make(OPERATOR, ("a",)))
        self.step(acts.Make(OPERATOR, ("a", "a")))
        self.step(acts.Make(OPERATOR, ("b",)))
        for who, path, letters in rights:
            self._give(who, path, letters)
        for path, pieces in ((("a", "b"), ["a", "b"]), (("b", "a"), ["c"])):
            self._write(OPERATOR, path, pieces, NODES, 0)

    def _enrol(self, node: str, standing: str) -> None:
        record = NodeRecord(
            NodeId(node), None, 1 << 40, 0, 0, ("127.0.0.1:1",), 0, standing=Standing(standing)
        )
        self.engine.run(self.engine.catalog.nodes.add(record))
        self.model.nodes[node] = Node(standing)

    def _give(self, who: str, path: Path, letters: str) -> None:
        right = Right.NONE
        for letter in letters:
            right |= LETTERS[letter]
        self.engine.run(
            self.engine.catalog.grants.add(COORDINATOR, at(path), right, user(who).principal, None)
        )
        self.model.give(who, path, letters)

    @rule(
        node=node_names,
        standing=st.sampled_from(["approved", "approved", "probation"]),
        who=st.sampled_from(USERS),
        path=paths,
        letters=st.sampled_from(["r", "w", "rw", "rws"]),
    )
    def enrol_and_give(self, node: str, standing: str, who: str, path: Path, letters: str) -> None:
        """Another node, or else another grant."""
        if node not in self.model.nodes:
            self._enrol(node, standing)
        elif len(self.model.people.grants) < 8:
            self._give(who, path, letters)

    # --- names and datastores ----------------------------------------------------------------------

    @rule(who=callers, path=trees, parents=st.booleans())
    def make(self, who: str, path: Path, parents: bool) -> None:
        self.step(acts.Make(who, path, parents))

    @rule(who=callers, file=files, tree=trees, recursive=st.booleans(), n=picks)
    def remove(self, who: str, file: Path, tree: Path, recursive: bool, n: int) -> None:
        path = tree if n % 3 == 2 else file
        self.step(acts.Remove(who, path, recursive, if_absent=n % 10 == 9))

    @rule(who=callers, source=st.one_of(files, trees), to=st.one_of(files, paths), n=picks)
    def move(self, who: str, source: Path, to: Path, n: int) -> None:
        self.step(acts.Move(who, source, to, if_absent=n % 5 == 4))

    @rule(
        who=callers,
        path=tops,
        copies=copies_wanted,
        quota=quotas,
        owner=st.sampled_from([None, None, None, "member", *USERS]),
        create=st.booleans(),
    )
    def set_policy(
        self,
        who: str,
        path: Path,
        copies: int | None,
        quota: int | None,
        owner: str | None,
        create: bool,
    ) -> None:
        self.step(acts.SetPolicy(who, path, copies, quota, owner, create))

    @rule(who=callers, path=st.one_of(files, paths))
    def look_at(self, who: str, path: Path) -> None:
        self.step(acts.Look(who, path))
        self.step(acts.Read(who, path))

    # --- uploads -----------------------------------------------------------------------------------

    def pick(self, number: int) -> str | None:
        """Return an upload, mostly one that is open; None if there was none ever."""
        keys = list(self.model.uploads)
        live = [key for key in keys if self.model.uploads[key].state == "open"]
        if number % 8 and live:
            return live[number % len(live)]
        return keys[number % len(keys)] if keys else None

    def who(self, key: str, number: int) -> str:
        """Return who calls: mostly the one whose upload it is."""
        return OPERATOR if number % 13 == 12 else self.model.uploads[key].who

    def an_open(
        self, who: str, path: Path, pieces: list[str], nodes: tuple[str, ...], absent: frozenset[str],
        n: int = 0,
    ) -> acts.Open:  # fmt: skip
        placed = [(place * UNIT, UNIT, text) for place, text in enumerate(pieces)]
        intents = tuple(one for one in placed if one[2] != ".")
        holes = tuple((offset, length) for offset, length, text in placed if text == ".")
        there = self.model.files().get(path)
        version = 0 if n % 4 != 3 else there.version if there and n % 8 == 7 else 1
        batch = Batch(intents, holes, self._known(nodes), absent)
        return acts.Open(who, path, batch, if_version=version, if_absent=n % 7 == 6)

    def _known(self, nodes: Sequence[str]) -> tuple[str, ...]:
        return tuple(node for node in nodes if node in self.model.nodes)

    def opened(self, act: acts.Open, told: Outcome) -> str | None:
        if told.value is None:
            return None
        key: str = told.value[0]
        size = UNIT * (len(act.batch.intents) + len(act.batch.holes))
        self.plans[key] = list(act.batch.intents), size
        return key

    @rule(who=callers, path=files, pieces=texts, nodes=offered, absent=few_nodes, n=picks)
    def open(
        self, who: str, path: Path, pieces: list[str], nodes: tuple[str, ...],
        absent: frozenset[str], n: int,
    ) -> None:  # fmt: skip
        act = self.an_open(who, path, pieces, nodes, absent, n)
        (told,) = self.step(act)
        self.opened(act, told)

    def an_allocate(
        self, n: int, pieces: list[str], nodes: tuple[str, ...], absent: frozenset[str]
    ) -> acts.Allocate | None:
        key = self.pick(n)
        if key is None:
            return None
        planned, size = self.plans[key]
        mine = [
            (offset, length, text if text != "." else "a")
            for offset, length, text in (
                planned
                if n % 3 == 0
                else [(size + place * UNIT, UNIT, text) for place, text in enumerate(pieces)]
            )
        ]
        holes: tuple[tuple[int, int], ...] = ()
        if n % 5 == 4:
            holes = ((UNIT * (n % 4), UNIT),)
        return acts.Allocate(
            self.who(key, n), key, Batch(tuple(mine), holes, self._known(nodes), absent)
        )

    @rule(n=picks, pieces=texts, nodes=offered, absent=few_nodes)
    def allocate(
        self, n: int, pieces: list[str], nodes: tuple[str, ...], absent: frozenset[str]
    ) -> None:
        act = self.an_allocate(n, pieces[:2], nodes, absent)
        for told in self.step(act):
            if act is not None and told.value is not None:
                planned, size = self.plans[act.upload]
                mine = [one for one in act.batch.intents if one not in planned]
                more = sum(length for _, length, _ in mine)
                more += sum(length for at_, length in act.batch.holes if at_ >= size)
                self.plans[act.upload] = planned + mine, size + more

    def receipts(self, key: str, mask: int, twist: str) -> tuple[Receipt, ...]:
        """Return receipts for what the upload was told to send, but for some; one may be wrong."""
        upload = self.model.uploads[key]
        all_of_it = [
            Receipt(key, text, node, generation, stored_length(UNIT))
            for (text, node), (generation, _) in upload.sent.items()
        ]
        mine = left_out(all_of_it, mask)
        if mine and twist:
            one = mine[-1]
            mine[-1] = Receipt(
                "f" * 32 if twist == "upload" else one.upload,
                one.chunk,
                one.node,
                one.generation + (7 if twist == "generation" else 0),
                one.length + (1 if twist == "length" else 0),
            )
        return tuple(mine)

    def extents(self, key: str, layout: str, mask: int) -> tuple[tuple[int, int, str], ...]:
        planned, _ = self.plans[key]
        if layout == "none":
            return ()
        mine = list(left_out(planned, mask) if layout == "gap" else planned)
        if layout == "overlap" and mine:
            offset, length, text = mine[0]
            mine.append((offset + UNIT // 2, length, text))
        if layout == "strange":
            pins = self.model.uploads[key].pins
            strange = [text for text in TEXTS if text not in pins]
            mine += [(0, UNIT, text) for text in strange[:1]]
        return tuple(mine)

    def a_record(
        self, n: int, mask: int, twist: str, layout: str, absent: frozenset[str]
    ) -> acts.Record | None:
        key = self.pick(n)
        if key is None:
            return None
        return acts.Record(
            self.who(key, n),
            key,
            self.extents(key, layout, mask >> 2),
            self.receipts(key, mask, twist),
            absent,
        )

    @rule(n=picks, mask=masks, twist=twists, layout=layouts, absent=few_nodes)
    def record(self, n: int, mask: int, twist: str, layout: str, absent: frozenset[str]) -> None:
        self.step(self.a_record(n, mask, twist, layout, absent))

    def a_commit(
        self, n: int, mask: int, twist: str, layout: str, absent: frozenset[str]
    ) -> acts.Commit | None:
        key = self.pick(n)
        if key is None:
            return None
        return acts.Commit(
            self.who(key, n),
            key,
            self.extents(key, layout, mask >> 2),
            self.receipts(key, mask, twist),
            self.plans[key][1] + (UNIT if n % 11 == 10 else 0),
            absent,
        )

    @rule(n=picks, mask=masks, twist=twists, layout=layouts, absent=few_nodes)
    def commit(self, n: int, mask: int, twist: str, layout: str, absent: frozenset[str]) -> None:
        self.step(self.a_commit(n, mask, twist, layout, absent))
        self.look_at_files()

    @rule(who=callers, path=files, pieces=texts, nodes=offered, twice=st.booleans(), mask=masks)
    def write(
        self,
        who: str,
        path: Path,
        pieces: list[str],
        nodes: tuple[str, ...],
        twice: bool,
        mask: int,
    ) -> None:
        """A whole file, mostly as it should be."""
        for _ in range(1 + twice):
            self._write(who, path, pieces, nodes, mask & 3)
        self.look_at_files()

    def _write(
        self, who: str, path: Path, pieces: list[str], nodes: tuple[str, ...], mask: int
    ) -> None:
        act = self.an_open(who, path, pieces, nodes, frozenset())
        (told,) = self.step(act)
        key = self.opened(act, told)
        if key is not None:
            _, size = self.plans[key]
            for _ in range(2):
                proof = self.receipts(key, mask, "")
                self.step(acts.Commit(who, key, self.extents(key, "whole", 0), proof, size))

    @rule(
        who=st.sampled_from([OPERATOR] * 4 + [*USERS]),
        path=st.sampled_from([("a", "b"), ("b", "a"), ("a", "a", "b"), ("b", "b")]),
        pieces=texts,
        nodes=orders,
        layout=st.sampled_from(["whole", "whole", "whole", "overlap", "gap", "strange", "none"]),
        twist=st.sampled_from([""] * 4 + ["length"]),
        mask=st.integers(0, 63),
        trouble=st.lists(
            st.sampled_from(
                [
                    "lost",
                    "corrupt",
                    "doubt",
                    "inventory",
                    "drain",
                    "collect",
                    "other",
                    "wait",
                    "both",
                ]
            ),
            max_size=3,
        ),
        is_recorded=st.booleans(),
    )
    def write_in_trouble(
        self, who: str, path: Path, pieces: list[str], nodes: tuple[str, ...], layout: str,
        twist: str,
        mask: int, trouble: list[str], is_recorded: bool,
    ) -> None:  # fmt: skip
        """An upload during which things happen to the copies that it relies on."""
        act = self.an_open(who, path, pieces, nodes, frozenset())
        (told,) = self.step(act)
        key = self.opened(act, told)
        if key is None:
            return
        if is_recorded:
            proof = self.receipts(key, mask & 5, twist)
            self.step(acts.Record(who, key, self.extents(key, layout, mask), proof))
        for place, what in enumerate(trouble):
            self._happen(what, place, act)
        if mask & 8:
            again = acts.Allocate(who, key, Batch(act.batch.intents, (), self._known(nodes)))
            self.step(again)
        proof = self.receipts(key, mask & 3, "")
        _, size = self.plans[key]
        named = () if is_recorded and mask % 3 else self.extents(key, layout, mask)
        self.step(acts.Commit(who, key, named, proof, size))
        self.look_at_files()

    @rule(
        who=callers,
        top=st.sampled_from([("a",), ("b",)]),
        pieces=st.lists(st.sampled_from(TEXTS), min_size=1, max_size=2),
        room=st.sampled_from([0, 1, 1, 2]),
        less=st.sampled_from([0, 0, 1]),
        waits=st.booleans(),
    )
    def fill(
        self, who: str, top: Path, pieces: list[str], room: int, less: int, waits: bool
    ) -> None:
        """Two uploads where the quota has room for none, one or two files of one chunk."""
        if top not in self.model.names:
            return
        quota = self.model.used(self.model.names[top]) + room * ONE_FILE - less
        self.step(acts.SetPolicy(OPERATOR, top, None, max(1, quota)))
        keys = []
        for name in ("a", "b"):
            path = (*top, name) if (*top, name) not in self.model.names else (*top, "a", "b")
            act = self.an_open(who, path, pieces[:1], NODES, frozenset())
            (told,) = self.step(act)
            keys.append(self.opened(act, told))
            if waits:
                self.wait(700)
        for key in keys:
            if key is not None:
                proof, size = self.receipts(key, 0, ""), self.plans[key][1]
                self.step(acts.Commit(who, key, self.extents(key, "whole", 0), proof, size))
        self.look_at_files()

    def _happen(self, what: str, place: int, upload: acts.Open) -> None:
        chunks = [text for _, _, text in upload.batch.intents]
        if what == "wait":
            self.wait(700)
        elif what == "collect":
            self._collect(0, 100, 0)
        elif what == "both":
            self._happen("other", place, upload)
            self._happen("lost", place, upload)
        elif what == "other":
            other = ("b", "b") if upload.path != ("b", "b") else ("b", "a")
            self._write(OPERATOR, other, chunks or ["f"], NODES, 0)
        elif chunks:
            text = chunks[0]
            there = sorted(self.model.chunks[text].copies)
            if there:
                node = there[place % len(there)]
                generation = self.model.chunks[text].copies[node].generation
                todo: dict[str, Act] = {
                    "lost": acts.Mark(node, text, generation, lost=True),
                    "corrupt": acts.Mark(node, text, generation, lost=False),
                    "doubt": acts.Doubt(node),
                    "inventory": acts.Inventory(node, (), frozenset()),
                    "drain": acts.Drain(OPERATOR, node, draining=True),
                }
                self.step(todo[what])

    @rule(n=picks, is_end=st.booleans())
    def resume_or_abort(self, n: int, is_end: bool) -> None:
        key = self.pick(n)
        if key is not None and is_end:
            self.step(acts.Abort(self.who(key, n), key))
        elif key is not None and self.model.uploads[key].state == "open":
            self.step(acts.Resume(self.who(key, n), key))

    # --- many at once --------------------------------------------------------------------------------

    @rule(
        drawn=st.lists(
            st.one_of(
                st.builds(acts.Make, callers, trees, st.booleans()),
                st.builds(acts.Remove, callers, files, st.booleans()),
                st.builds(acts.Move, callers, st.one_of(files, trees), files),
                st.builds(acts.SetPolicy, callers, tops, copies_wanted, quotas),
                st.tuples(st.just("open"), callers, files, texts, offered, few_nodes, picks),
                st.tuples(st.just("open"), callers, files, texts, offered, few_nodes, picks),
                st.tuples(st.just("allocate"), picks, texts, offered, few_nodes),
                st.tuples(st.just("record"), picks, masks, twists, layouts, few_nodes),
                st.tuples(st.just("abort"), picks),
                st.tuples(st.just("drain"), node_names, st.booleans()),
                st.tuples(st.just("approve"), node_names, st.booleans()),
            ),
            min_size=2,
            max_size=11,
        ),
        last=st.one_of(st.none(), st.tuples(picks, masks, twists, layouts, few_nodes)),
    )
    def together(self, drawn: list[Any], last: Any) -> None:
        """What is begun together has the outcome of one after the other, in the order of the calls."""
        these = [self._act(one) for one in drawn]
        if last is not None:
            these.append(self.a_commit(*last))
        told = self.step(*these)
        for act, outcome in zip([one for one in these if one is not None], told, strict=True):
            if isinstance(act, acts.Open):
                self.opened(act, outcome)
        self.look_at_files()

    def _act(self, drawn: Any) -> Act | None:
        if not isinstance(drawn, tuple):
            made: Act = drawn
            return made
        kind, *args = drawn
        if kind in {"drain", "approve"}:
            return self._node_act(kind, *args)
        if kind == "abort":
            key = self.pick(args[0])
            return None if key is None else acts.Abort(self.who(key, args[0]), key)
        make: dict[str, Callable[..., Act | None]] = {
            "open": self.an_open,
            "allocate": self.an_allocate,
            "record": self.a_record,
        }
        return make[kind](*args)

    def _node_act(self, kind: str, node: str, is_so: bool) -> Act | None:
        if node not in self.model.nodes:
            return None
        if kind == "drain":
            return acts.Drain(OPERATOR, node, is_so)
        return acts.Approve(OPERATOR, (node,), even_doubted=is_so)

    # --- nodes ---------------------------------------------------------------------------------------

    @rule(
        what=st.sampled_from(["drain", "use", "approve", "doubt", "clear"]),
        who=callers,
        nodes=st.lists(node_names, min_size=1, max_size=2, unique=True),
        even_doubted=st.booleans(),
    )
    def set_standing(self, what: str, who: str, nodes: list[str], even_doubted: bool) -> None:
        node = nodes[0]
        if what in {"drain", "use"}:
            self.step(acts.Drain(who, node, draining=what == "drain"))
        elif what == "approve":
            self.step(acts.Approve(who, tuple(nodes), even_doubted))
        elif node in self.model.nodes:
            self.step(acts.Doubt(node) if what == "doubt" else acts.Clear(node))

    @rule(node=node_names, n=picks)
    def remove_node(self, node: str, n: int) -> None:
        left = [one for one in self.model.nodes.values() if not one.removed]
        if len(left) > 3 or n % 4 == 3:
            self.step(acts.RemoveNode(node, force=n % 8 == 0))

    def held(self, node: str) -> list[tuple[str, int]]:
        """Return chunk and generation of the copies that the node has, as far as is known."""
        return [
            (text, one.copies[node].generation)
            for text, one in sorted(self.model.chunks.items())
            if node in one.copies
        ]

    @rule(node=node_names, mask=masks, n=picks)
    def inventory(self, node: str, mask: int, n: int) -> None:
        """A node tells of some of its copies, of a wrong length, of old ones, of what nobody gave it."""
        known = self.model.nodes.get(node)
        if known is None or known.removed:
            return
        page = [(*one, stored_length(UNIT)) for one in left_out(self.held(node), mask)]
        if page and n % 4 == 1:
            text, generation, length = page[0]
            page[0] = text, generation, length + 1
        invented: frozenset[tuple[str, int]] = frozenset()
        if n % 4 == 2:
            text = TEXTS[n % len(TEXTS)]
            invented = frozenset({(text, 5 + n)})
            page.append((text, 5 + n, stored_length(UNIT)))
        if n % 4 == 3:
            old = sorted(
                (text, generation)
                for (text, at_node), given in self.model.generations.items()
                if at_node == node
                for generation in given
                if (text, generation) not in self.held(node)
            )
            page += [(*one, stored_length(UNIT)) for one in old[:2]]
        act = acts.Inventory(node, tuple(page), invented)
        orphans = frozenset((text, node, generation) for text, generation, _ in page)
        self.step(act, may_give_up=orphans)

    @rule(node=node_names, n=picks, lost=st.booleans())
    def mark(self, node: str, n: int, lost: bool) -> None:
        held = self.held(node)
        if held:
            self.step(acts.Mark(node, *held[n % len(held)], lost))

    @rule(
        node=node_names,
        n=picks,
        verdict=st.sampled_from(["proven", "proven", "missing", "corrupt", "lied", "open"]),
    )
    def judge(self, node: str, n: int, verdict: str) -> None:
        held = self.held(node)
        if held:
            self.step(acts.Judge(node, *held[n % len(held)], verdict))

    # --- care ----------------------------------------------------------------------------------------

    def live(self) -> frozenset[str]:
        return frozenset(name for name, node in self.model.nodes.items() if not node.removed)

    def stays(self, node: str, lost: frozenset[str]) -> bool:
        known = self.model.nodes[node]
        return known.trusted and not known.draining and node not in lost

    def counted(self, text: str, lost: frozenset[str], *, but: str = "") -> int:
        """Return how many stored copies count for repair."""
        return counts(
            self.model.nodes[node].standing
            for node, held in self.model.chunks[text].copies.items()
            if held.state == "stored" and self.stays(node, lost) and node != but
        )

    @rule(limit=st.integers(1, 8), silent=few_nodes, failing=masks)
    def repair(self, limit: int, silent: frozenset[str], failing: int) -> None:
        """One round: what is surplus is given up, what is short is copied; some copies fail."""
        self._repair(limit, silent, failing)

    def _repair(self, limit: int, silent: frozenset[str], failing: int) -> int:
        self.has_failed = True
        self.wait(1)
        model, run, catalog = self.model, self.engine.run, self.engine.catalog
        usable = frozenset(NodeId(node) for node in self.live() - silent)
        lost = frozenset(NodeId(node) for node in self.live() & silent)
        targets = sorted(
            node
            for node in self.live() - silent
            if self.stays(node, silent) and model.nodes[node].standing == "approved"
        )
        tasks = run(
            claim(catalog, limit, place_on(*(NodeId(node) for node in targets)), usable, lost)
        )
        for task in tasks:
            text, target = acts.NAMES[bytes(task.chunk)], str(task.target.node)
            known, generation = model.chunks[text], int(task.target.generation)
            require(target in targets, "a copy may not go there", task)
            require(model.is_in_use(text), "nobody needs a copy", task)
            is_leaving = any(not self.stays(node, silent) for node in known.copies)
            is_short = self.counted(text, silent) < known.wanted
            require(is_short or is_leaving, "another copy is not wanted", task, known)
            there = known.copies.get(target)
            if there is None or there.state == "missing":
                if there is not None:
                    known.give_up(target, there.generation, model.now_s)
                    model._something_went()
                known.copies[target] = Held(generation, "intent")
                used = model.generations.setdefault((text, target), set())
                require(generation not in used, "an old generation", task)
                used.add(generation)
            else:
                require(there == Held(generation, "intent"), "it is there already", task, known)
            sources = {(str(one.node), int(one.generation)) for one in task.sources}
            good = {(node, held.generation) for node, held in known.copies.items()
                    if held.state in {"stored", "doubted"}}  # fmt: skip
            require(sources and sources <= good | known.given_up.keys(), "no source", task, known)
        for place, task in enumerate(tasks):
            is_done = not failing >> place & 1
            proof = VerifiedReceipt(
                task.chunk, task.target.node, task.target.generation, task.stored_length,
                task.repair_id,
            )  # fmt: skip
            run(catalog.repair.finish(task, proof if is_done else None))
            text, target = acts.NAMES[bytes(task.chunk)], str(task.target.node)
            if is_done:
                model.chunks[text].copies[target].state = "stored"
        given_up = self._take_over_given_up(silent, {acts.NAMES[bytes(t.chunk)] for t in tasks})
        self.look()
        self.has_failed = False
        return len(tasks) + given_up

    def _take_over_given_up(self, silent: frozenset[str], claimed: set[str]) -> int:
        """Only what is surplus may have been given up, one copy of a chunk."""
        total = 0
        for text, known in self.model.chunks.items():
            found = self.engine.run(self.engine.catalog.copies.known(chunk(text)))
            now = {(str(g.node), int(g.generation)) for one in found for g in one.given_up}
            new = [
                node
                for node, held in known.copies.items()
                if held.state != "intent"
                and (node, held.generation) in now
                and (node, held.generation) not in known.given_up
            ]
            require(len(new) <= (text not in claimed), "too much was given up", text, known, found)
            for node in new:
                enough = self.counted(text, silent, but=node) >= known.wanted
                require(enough, "what was given up is needed", text, node, known)
                known.give_up(node, known.copies.pop(node).generation, self.model.now_s)
                self.model._something_went()
                total += 1
        return total

    @rule(liars=few_nodes, silent=few_nodes)
    def confirm(self, liars: frozenset[str], silent: frozenset[str]) -> None:
        """What was given up goes where others were just proved, or comes back."""
        self._confirm(liars, silent)

    def _confirm(self, liars: frozenset[str], silent: frozenset[str]) -> int:
        self.has_failed = True
        self.wait(1)
        model, total = self.model, 0
        usable = frozenset(NodeId(node) for node in self.live() - silent)
        lost = frozenset(NodeId(node) for node in self.live() & silent)
        self.engine.run(
            confirm(
                self.engine.catalog, usable, lost, liars=frozenset(NodeId(one) for one in liars)
            )
        )
        for text, known in list(model.chunks.items()):
            for there in self.engine.run(self.engine.catalog.copies.known(chunk(text))):
                left = {(str(one.node), int(one.generation)) for one in there.given_up}
                back = {
                    (str(one.node), int(one.generation))
                    for one in there.copies
                    if one.state is CopyState.STORED
                }
                gone = known.given_up.keys() - left
                total += len(gone)
                for node, generation in sorted(gone & back):
                    require(node not in known.copies, "it has another copy", text, node, known)
                    require(self.stays(node, silent) and node not in liars, "cannot come", node)
                    require(not known.given_up[node, generation], "corrupt", text, node)
                    require(self.counted(text, silent) < known.wanted, "not wanted", text, known)
                    known.copies[node] = Held(generation, "stored")
                for node, generation in sorted(gone - back):
                    proven = [
                        other
                        for other, held in known.copies.items()
                        if held.state == "stored"
                        and self.stays(other, silent)
                        and other not in liars | silent
                    ]
                    sure = sum(model.nodes[one].standing == "approved" for one in proven)
                    is_free = not model.is_in_use(text) or node in proven or sure >= known.wanted
                    require(is_free, "the last good copies go", text, node, generation, known)
                for name in gone:
                    known.forget(*name)
        self.look()
        self.has_failed = False
        return total

    @rule(grace=st.sampled_from([0, 0, 3600]), limit=st.sampled_from([3, 100]), mask=masks)
    def collect(self, grace: int, limit: int, mask: int) -> None:
        """One round of collection; nodes have deleted some of what it hands out."""
        self._collect(grace, limit, mask)

    def _collect(self, grace: int, limit: int, mask: int) -> tuple[int, bool]:
        self.has_failed = True
        self.wait(1)
        catalog = self.engine.catalog
        self.model.collect(grace)
        claimed = self.engine.run(catalog.collection.claim(limit, grace))
        by_node: dict[NodeId, list[CopyKey]] = {}
        for place, (node, key) in enumerate(claimed):
            text, name = acts.NAMES[bytes(key.chunk)], (str(node), int(key.generation))
            known = self.model.chunks.get(text)
            if known is not None and self.model.is_named(text):
                held = known.copies.get(name[0])
                is_held = held is not None and held.generation == name[1]
                is_sent = self.model.is_sent(text, *name)
                is_nothing = held is not None and held.state == "intent" and not is_sent
                require(not is_held or is_nothing, "a copy in use goes", text, name, known)
                require(name not in known.given_up, "a guarded copy goes", text, name, known)
            if not mask >> place % 8 & 1:
                by_node.setdefault(node, []).append(key)
        for node, keys in by_node.items():
            self.engine.run(catalog.collection.finish(node, keys))
        self.look()
        self.has_failed = False
        return len(claimed), claimed.is_more

    # --- time ----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([5, 130, 360, 700, 4000, 8 * 86400]), is_swept=st.booleans())
    def pass_time(self, seconds: int, is_swept: bool) -> None:
        self.wait(seconds)
        if is_swept:
            self.step(acts.Expire())

    @rule()
    def restart(self) -> None:
        self.engine.reopen()
        self.model.started_s = self.model.now_s
        self.look()
        self.look_at_files()

    # --- when it is quiet ------------------------------------------------------------------------------

    def come_to_rest(self) -> None:
        """Nothing is asked for any more, and care comes to its end: what must be there then is, and no more."""
        self.wait(8 * 86400)
        self.step(acts.Expire())
        for node in sorted(self.live()):
            for text, generation in self.held(node):
                if self.model.chunks[text].copies[node].state == "doubted":
                    self.step(acts.Judge(node, text, generation, "proven"))
        quiet = 0
        for _ in range(60):
            while self.engine.run(self.engine.catalog.datastores.settle_copies()):
                pass
            changes = self._repair(100, frozenset(), 0) + self._confirm(frozenset(), frozenset())
            claimed, is_more = self._collect(0, 1000, 0)
            self.wait(7200)
            quiet = 0 if changes or claimed or is_more else quiet + 1
            if quiet == 2:  # collection may have lowered what a chunk wants
                break
        else:
            raise AssertionError("care never comes to its end")
        self.look_at_files()
        for text, known in self.model.chunks.items():
            self._is_well(text)
            require(self.model.is_in_use(text), "nothing needs it, and it is there", text, known)
        live = [one for one in self.model.uploads.values() if one.state == "open"]
        require(not live, "uploads are open still", live)
        reserved = [
            one.reserved_bytes
            for one in self.engine.run(self.engine.catalog.datastores.list(COORDINATOR))
        ]
        require(not any(reserved), "something is reserved still", reserved)

    def _is_well(self, text: str) -> None:
        """A chunk that files have has the copies that are asked for, and no more."""
        model, known = self.model, self.model.chunks[text]
        asked = max(
            self.model.copies_at(path) for path, file in model.files().items() if file.holds(text)
        )
        # An upload that is gone may have left a higher number (test_found.py).
        most = max(asked, known.pinned_most)
        require(asked <= known.wanted <= most, "wants what nobody asks for", text, known, asked)
        asked = known.wanted
        able = [
            node
            for node in self.live()
            if self.stays(node, frozenset()) and model.nodes[node].standing == "approved"
        ]
        readable = [one for one in known.copies.values() if one.state in {"stored", "doubted"}]
        has_source = bool(readable) or not all(known.given_up.values())
        if len(able) >= asked and has_source:
            # What lies on probation in too large a part is not looked for (test_found.py).
            stored = [node for node, one in known.copies.items() if one.state == "stored"]
            is_hidden = len(stored) >= asked and all(
                self.stays(node, frozenset()) for node in stored
            )
            is_enough = self.counted(text, frozenset()) >= asked
            require(is_enough or is_hidden, "too few", text, known, able)
        sure = sum(node in able and one.state == "stored" for node, one in known.copies.items())
        if sure >= asked:  # copies on probation let no other go
            require(not known.given_up, "given up for ever", text, known)
        for node, held in known.copies.items():
            # One that was not the first there may have been left behind (test_found.py).
            is_later = len(model.generations.get((text, node), ())) > 1
            require(held.state != "intent" or is_later, "an intent of nobody", text, known)
            # Where a doubted node has one too, what is surplus stays (test_found.py).
            is_held_up = any(model.nodes[one].standing == "doubted" for one in known.copies)
            is_asked = held.state == "stored" and not is_held_up
            if is_asked:
                more = self.counted(text, frozenset(), but=node)
                require(more < asked, "a surplus copy", text, node, known, model.nodes)

    def teardown(self) -> None:
        try:
            if not self.has_failed:
                self.come_to_rest()
        finally:
            self.engine.close()
