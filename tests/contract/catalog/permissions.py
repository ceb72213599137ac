"""The catalogue's rights against the plain model of them: one machine for Hypothesis to drive."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path as FolderPath
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from collective.access.grant_book import GrantBook
from collective.access.permissions import Decider
from collective.catalog.interface.settings import CatalogSettings
from collective.catalog.interface.values import IssuedCertificate
from collective.core.clock import ManualClock
from collective.core.errors import (
    CollectiveError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    ShutOutError,
)
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.entries import Entry
from collective.model.grants import Grant
from collective.model.people import Invite, InviteKind
from collective.model.rights import GrantTerms, Right
from collective.model.writing import Attributes
from tests.contract.catalog.engines import Engines
from tests.contract.catalog.permission_model import (
    OPERATOR,
    PATHS,
    Held,
    Model,
    ModelInvite,
    Path,
    Policy,
)
from tests.contract.catalog.world import ANY, enrol, names, p, user, write
from tests.contract.catalog.world import OPERATOR as COORDINATOR

USERS = ("ann", "bob", "cat", "dan")
REVOKED_MAX = 2
TARGET = b"where it points"
LEAVES = ("file", "link")
BITS = {"r": Right.READ, "w": Right.WRITE, "s": Right.SHARE}

callers = st.sampled_from((OPERATOR, *USERS, *USERS))
givers = st.sampled_from((OPERATOR, OPERATOR, *USERS))
users = st.sampled_from(USERS)
paths = st.sampled_from(PATHS)
named = st.sampled_from(PATHS[1:])
trees = st.sampled_from([("a",), ("a", "a"), ("a", "a", "b"), ("b",), ("a", "b")])
rights_of = st.sampled_from(["r", "w", "rw", "rw", "rs", "rws", "rws", "s", "ws"]).map(frozenset)
lives = st.sampled_from([None, None, 30.0, 300.0])


def text(path: Path) -> str:
    return "/" + "/".join(path)


def bits(rights: frozenset[str]) -> Right:
    total = Right.NONE
    for letter in rights:
        total |= BITS[letter]
    return total


def letters(rights: int) -> frozenset[str]:
    return frozenset(letter for letter, bit in BITS.items() if bit & rights)


class Permissions(RuleBasedStateMachine):
    """Every rule asks the real catalogue and the model, and compares."""

    steps: ClassVar[Counter[str]] = Counter()
    """Rules run."""
    checks: ClassVar[Counter[str]] = Counter()
    """Answers of the catalogue that were compared, by call and outcome."""

    def __init__(self, kind: type[Engines]) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = ManualClock()
        settings = CatalogSettings(copies=1)
        self.engines = kind(FolderPath(self.folder.name), self.clock, settings, seed=1)
        self.catalog = self.runner.run(self.engines.open(quiet=False))
        self.model = Model(self.clock.wall_s())
        self.given: dict[str, Grant] = {}
        self.codes = 0
        self.redeemed: set[tuple[str, str]] = set()

    def caller(self, who: str) -> Call:
        return COORDINATOR if who == OPERATOR else user(who)

    def do(self, work: Coroutine[Any, Any, Any]) -> tuple[str, Any]:
        """Return ``ok`` and the result, or the class of the refusal and the error."""
        try:
            return "ok", self.runner.run(work)
        except PermissionDeniedError as error:
            return "denied", error
        except NotFoundError as error:
            return "absent", error
        except CollectiveError as error:
            return "refused", error

    def same(self, happened: str, expected: str, *told: object) -> None:
        type(self).checks[f"{told[0]} {expected}"] += 1
        assert happened == expected, (happened, expected, told)

    def _unless_revoked(self, who: str) -> str:
        return "denied" if who in self.model.revoked else "ok"

    # --- the beginning ---------------------------------------------------------------------------

    @initialize(
        given=st.lists(
            st.tuples(users, st.sampled_from(PATHS[:7]), rights_of), min_size=2, max_size=8
        ),
        owner=st.sampled_from([None, *USERS]),
        quota=st.sampled_from([None, 1 << 30]),
    )
    def begin(
        self,
        given: list[tuple[str, Path, frozenset[str]]],
        owner: str | None,
        quota: int | None,
    ) -> None:
        """Everybody has joined, some with rights of the operator's; one small tree exists."""
        self.runner.run(enrol(self.catalog, 1))
        for who in USERS:
            self._invite(OPERATOR, (), 1, 600)
            self._redeem(self.model.invites[-1], who)
        folders: tuple[Path, ...] = (("a",), ("a", "a"), ("b",))
        for path in folders:
            self.runner.run(
                self.catalog.names.make_directory(COORDINATOR, p(text(path)), parents=False)
            )
            self.model.names[path] = "dir"
        self.runner.run(write(self.catalog, "/a/a/b", "x"))
        self.model.names["a", "a", "b"] = "file"
        for who, where, rights in given:
            self._grant(OPERATOR, who, where, rights, None)
        self._set_policy(OPERATOR, ("b",), owner, quota, None)

    # --- grants ----------------------------------------------------------------------------------

    @rule(giver=givers, who=users, path=paths, rights=rights_of, life=lives)
    def grant(
        self, giver: str, who: str, path: Path, rights: frozenset[str], life: float | None
    ) -> None:
        self._grant(giver, who, path, rights, life)

    def _grant(
        self, giver: str, who: str, path: Path, rights: frozenset[str], life: float | None
    ) -> None:
        model = self.model
        support = model.support(giver, path, rights)
        ends_s = None if life is None else model.now_s + life
        expected = "ok" if support is not None else "denied"
        if expected == "ok" and who in model.revoked:
            expected = "refused"
        happened, made = self.do(
            self.catalog.grants.add(
                self.caller(giver), p(text(path)), bits(rights), user(who).principal, ends_s
            )
        )
        self.same(happened, expected, "grant", giver, who, path, rights)
        if support is not None and happened == "ok":
            assert list(made.sources) == [one.id for one in support]
            self._keep(made, giver, support)

    def _keep(self, made: Grant, giver: str, support: list[Held]) -> None:
        identity = made.principal.global_id
        assert identity is not None
        ends_s = float("inf") if made.expires_s is None else made.expires_s
        assert all(self.model.ends(one) >= ends_s for one in support)
        self.given[made.id] = made
        self.model.grants.append(
            Held(
                made.id, made.path.names, letters(made.rights), identity.name, giver, ends_s,
                support,
            )
        )  # fmt: skip

    @rule(who=callers, number=st.integers(0, 200))
    def end_grant(self, who: str, number: int) -> None:
        live = [one for one in self.model.grants if self.model.ends(one) > self.model.now_s]
        if not live:
            return
        grant = live[number % len(live)]
        fine = self.model.is_admin(who) or who in {grant.giver, grant.whose}
        happened, _ = self.do(self.catalog.grants.remove(self.caller(who), grant.id))
        self.same(happened, "ok" if fine else "denied", "end_grant", who, grant)
        if fine:
            grant.ended = True

    @rule(who=callers, victim=users)
    def revoke(self, who: str, victim: str) -> None:
        if victim in self.model.revoked or len(self.model.revoked) == REVOKED_MAX:
            return
        fine = self.model.is_admin(who)
        happened, _ = self.do(
            self.catalog.revocations.revoke(self.caller(who), str(user(victim).principal))
        )
        self.same(happened, "ok" if fine else "denied", "revoke", who, victim)
        if fine:
            self.model.revoked.add(victim)

    @rule(seconds=st.sampled_from([1.0, 29.0, 31.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.model.now_s = self.clock.wall_s()

    # --- invites ---------------------------------------------------------------------------------

    def _invite(
        self, maker: str, grants: tuple[tuple[Path, frozenset[str]], ...], uses: int, life: float
    ) -> None:
        model = self.model
        supports = [model.support(maker, path, rights) for path, rights in grants]
        held = [one for one in supports if one is not None]
        fine = len(held) == len(supports) and (bool(grants) or model.is_admin(maker))
        self.codes += 1
        code = Invite(
            f"code{self.codes}", InviteKind.USER, b"v" * 32, uses, uses, model.now_s + life,
            self.caller(maker).principal,
            grants=tuple(GrantTerms(p(text(path)), bits(rights)) for path, rights in grants),
        )  # fmt: skip
        happened, _ = self.do(self.catalog.codes.add(self.caller(maker), code))
        self.same(happened, "ok" if fine else "denied", "invite", maker, grants)
        if fine:
            ends = [model.ends(one) for some in held for one in some]
            model.invites.append(
                ModelInvite(
                    code.id,
                    maker,
                    [(*grant, came) for grant, came in zip(grants, held, strict=True)],
                    uses,
                    min([model.now_s + life, *ends]),
                )
            )

    @rule(
        maker=givers,
        grants=st.lists(st.tuples(paths, rights_of), min_size=1, max_size=2).map(tuple),
        uses=st.integers(1, 2),
        life=st.sampled_from([30.0, 600.0]),
    )
    def invite(
        self,
        maker: str,
        grants: tuple[tuple[Path, frozenset[str]], ...],
        uses: int,
        life: float,
    ) -> None:
        self._invite(maker, grants, uses, life)

    @rule(who=users, number=st.integers(0, 50))
    def redeem(self, who: str, number: int) -> None:
        self._redeem(self.model.invites[-1 - number % min(6, len(self.model.invites))], who)

    def _redeem(self, invite: ModelInvite, who: str) -> None:
        model = self.model
        mine = {one.id for one in model.grants}
        again = (invite.id, who) in self.redeemed
        state = model.invite_state(invite)
        fine = who not in model.revoked and (again or state == "open")

        issued = IssuedCertificate(user(who).principal, f"{invite.id}{who}", 10**15, b"der")
        happened, error = self.do(self.catalog.codes.redeem(invite.id, who.encode() * 8, issued))
        self.same(happened, "ok" if fine else "refused", "redeem", invite.id, who, state)
        if not fine:
            assert isinstance(error, ConflictError)
            return
        if again:
            return
        self.redeemed.add((invite.id, who))
        invite.uses_left -= 1
        listed = self.runner.run(self.catalog.grants.list(COORDINATOR))
        new = [one for one in listed if one.id not in mine]
        assert len(new) == len(invite.grants)
        for path, rights, came_from in invite.grants:
            made = next(
                one
                for one in new
                if one.path.names == path
                and letters(one.rights) == rights
                and list(one.sources) == [above.id for above in came_from]
            )
            new.remove(made)
            self._keep(made, invite.maker, came_from)

    @rule(who=callers, number=st.integers(0, 50))
    def revoke_invite(self, who: str, number: int) -> None:
        invite = self.model.invites[-1 - number % min(6, len(self.model.invites))]
        expected = "ok"
        if not self.model.is_admin(who) and who != invite.maker:
            expected = "denied"
        elif invite.revoked:
            expected = "refused"
        happened, _ = self.do(self.catalog.codes.revoke(self.caller(who), invite.id))
        self.same(happened, expected, "revoke_invite", who, invite)
        if expected == "ok":
            invite.revoked = True

    # --- names -----------------------------------------------------------------------------------

    @rule(who=callers, path=named)
    def mkdir(self, who: str, path: Path) -> None:
        model = self.model
        expected = "ok"
        if "w" not in model.rights(who, path):
            expected = "denied"
        elif path in model.names or model.names.get(path[:-1]) != "dir":
            expected = "not"
        happened, _ = self.do(
            self.catalog.names.make_directory(self.caller(who), p(text(path)), parents=False)
        )
        self._changed(happened, expected, "mkdir", who, path)
        if expected == "ok":
            model.names[path] = "dir"

    def _changed(self, happened: str, expected: str, *told: object) -> None:
        """``not``: allowed, but not possible as things are; which error is another test's."""
        plain = "not" if expected == "not" and happened in {"absent", "refused"} else happened
        self.same(plain, expected, *told)

    @rule(who=callers, path=named)
    def write(self, who: str, path: Path) -> None:
        model = self.model
        expected = "ok"
        if "w" not in model.rights(who, path):
            expected = "denied"
        elif (
            len(path) == 1 or model.names.get(path[:-1]) != "dir" or model.names.get(path) == "dir"
        ):
            expected = "not"
        happened, _ = self.do(
            write(self.catalog, text(path), "x", who=self.caller(who), nodes=["n1"])  # type: ignore[list-item]
        )
        self._changed(happened, expected, "write", who, path)
        if expected == "ok":
            model.names[path] = "file"

    @rule(who=callers, path=named)
    def link(self, who: str, path: Path) -> None:
        model = self.model
        expected = "ok"
        if "w" not in model.rights(who, path):
            expected = "denied"
        elif (
            len(path) == 1 or model.names.get(path[:-1]) != "dir" or model.names.get(path) == "dir"
        ):
            expected = "not"
        happened, made = self.do(
            self.catalog.names.make_link(self.caller(who), p(text(path)), TARGET, Attributes(), ANY)
        )
        self._changed(happened, expected, "link", who, path)
        if expected == "ok":
            model.names[path] = "link"
            assert (made.target == TARGET) == ("r" in model.rights(who, path))

    @rule(who=callers, path=named)
    def set_attributes(self, who: str, path: Path) -> None:
        model = self.model
        expected = "ok"
        if "w" not in model.rights(who, path):
            expected = "denied"
        elif path not in model.names:
            expected = "absent"
        happened, told = self.do(
            self.catalog.names.set_attributes(
                self.caller(who), p(text(path)), modified_ns=1, mode=None, condition=ANY
            )
        )
        self.same(happened, expected, "set_attributes", who, path)
        if expected == "ok":
            assert self._is_whole(told) == ("r" in model.rights(who, path))

    @rule(who=callers, path=named, recursive=st.booleans())
    def remove(self, who: str, path: Path, recursive: bool) -> None:
        self._remove(who, path, recursive=recursive)

    @rule(number=st.integers(0, 10_000), recursive=st.booleans())
    def remove_a_datastore(self, number: int, recursive: bool) -> None:
        """Take away a datastore with a policy, by a user who may write to it."""
        model = self.model
        possible = [
            (who, path)
            for path in model.policies
            for who in USERS
            if "w" in model.rights(who, path)
        ]
        if possible:
            who, path = possible[number % len(possible)]
            fine = "may" if model.may_take_away(who, path) else "may not"
            type(self).checks[f"take away {fine}"] += 1
            self._remove(who, path, recursive=recursive)

    def _remove(self, who: str, path: Path, *, recursive: bool) -> None:
        model = self.model
        there = model.below(path)
        expected = "ok"
        if "w" not in model.rights(who, path):
            expected = "denied"
        elif path not in model.names:
            expected = "not"
        elif not model.may_take_away(who, path):
            expected = "denied"
        elif len(there) > 1 and not recursive:
            expected = "not"
        happened, _ = self.do(
            self.catalog.names.remove(
                self.caller(who), p(text(path)), recursive=recursive, condition=ANY
            )
        )
        self._changed(happened, expected, "remove", who, path)
        if expected == "ok":
            for gone in there:
                del model.names[gone]
            self._disowned(path)

    @rule(who=callers, source=st.one_of(trees, named), to=named)
    def move(self, who: str, source: Path, to: Path) -> None:
        self._move(who, source, to)

    @rule(number=st.integers(0, 10_000))
    def move_by_a_user(self, number: int) -> None:
        """Move something that is there to where nothing is, by a user who may write to both."""
        model = self.model
        possible = [
            (who, source, to)
            for who in USERS
            for source in model.names
            for to in PATHS[1:]
            if {"r", "w"} <= model.rights(who, source)
            and "w" in model.rights(who, to)
            and source
            and to not in model.names
            and to[: len(source)] != source
            and model.names.get(to[:-1]) == "dir"
        ]
        if possible:
            self._move(*possible[number % len(possible)])

    @rule(
        who=users,
        path=st.sampled_from([("a",), ("b",)]),
        rights=st.sampled_from(["w", "rw", "rws"]).map(frozenset),
        life=lives,
    )
    def rename_by_an_owner(
        self, who: str, path: Path, rights: frozenset[str], life: float | None
    ) -> None:
        """Make him the owner of a datastore, and have him rename it to where he may do but this."""
        model = self.model
        if path not in model.names or who in model.revoked:
            return
        if ("c",) in model.names:
            self._remove(OPERATOR, ("c",), recursive=True)
        self._set_policy(OPERATOR, path, who, 0, 0)
        self._grant(OPERATOR, who, ("c",), rights, life)
        type(self).checks["rename by an owner"] += 1
        self._move(who, path, ("c",))

    def _move(self, who: str, source: Path, to: Path) -> None:
        """Move; and what no admin moves gives nobody any right anywhere."""
        given = self._all_given()
        is_admin = self.model.is_admin(who)
        self._move_compared(who, source, to)
        more = self._all_given() - given
        assert is_admin or not more, f"mv {source} {to} by {who} gave {more}"

    def _move_compared(self, who: str, source: Path, to: Path) -> None:
        model = self.model
        kind = model.names.get(source)
        fine = kind is not None and model.names.get(to[:-1]) == "dir"
        if source != to:
            fine = fine and to[: len(source)] != source
            if to in model.names:
                fine = fine and kind in LEAVES and model.names[to] in LEAVES
        if kind in LEAVES and len(to) == 1:
            fine = False
        allowed = model.may_move(who, source, to, USERS)
        allowed = allowed and (kind is None or model.may_take_away(who, source))
        expected = "denied" if not allowed else "ok" if fine else "not"
        tree = model.below(source) if expected == "ok" else []
        sharing = "s" in model.rights(who, source)
        before = {} if sharing else {path: self._readers(path) for path in tree}
        happened, _ = self.do(
            self.catalog.names.move(self.caller(who), p(text(source)), p(text(to)), condition=ANY)
        )
        self._changed(happened, expected, "move", who, source, to)
        if expected == "ok" and source != to:
            for old in tree:
                model.names[to + old[len(source) :]] = model.names.pop(old)
            held = model.policies.get(source, Policy()).owner
            held_ends = -math.inf if held is None else model.ends(held)
            policy = self._disowned(source)
            if policy is not None and len(to) == 1:
                model.policies[to] = policy
                if not model.keeps_owner(who):
                    policy.owner = None
                elif held is not None and held_ends > model.now_s:
                    policy.owner = self._owns(held.giver, held.whose, to, held.came_from)
        for old, could in before.items():
            now = self._readers(to + old[len(source) :])
            assert now <= could, f"mv {source} {to} by {who} let {now - could} in"

    def _all_given(self) -> set[tuple[str, Path, int, float | None]]:
        """Return who was given what, where and until when, by the catalogue itself."""
        return {
            (str(one.principal), one.path.names, int(one.rights), one.expires_s)
            for one in self.runner.run(self.catalog.grants.list(COORDINATOR))
        }

    # --- datastores ------------------------------------------------------------------------------

    @rule(
        who=givers,
        path=st.sampled_from([("a",), ("a",), ("b",)]),
        owner=st.sampled_from([None, "member", *USERS]),
        quota=st.sampled_from([None, None, 0, 1 << 30]),
        copies=st.sampled_from([None, None, 0, 1]),
    )
    def set_policy(
        self, who: str, path: Path, owner: str | None, quota: int | None, copies: int | None
    ) -> None:
        self._set_policy(who, path, owner, quota, copies)

    def _set_policy(
        self, who: str, path: Path, owner: str | None, quota: int | None, copies: int | None
    ) -> None:
        model = self.model
        expected = "ok"
        if not model.is_admin(who):
            expected = "denied"
        elif path not in model.names:
            expected = "not"
        policy = model.policies.get(path, Policy())
        had = "member" if policy.owner is None else policy.owner.whose
        lacks = policy.owner is not None and model.ends(policy.owner) <= model.now_s
        is_new = owner is not None and (owner != had or lacks)  # the grant is made again
        if expected == "ok" and is_new and owner in model.revoked:
            expected = "not"
        wanted = user(owner).principal if owner in USERS else owner
        happened, _ = self.do(
            self.catalog.datastores.set(
                self.caller(who),
                p(text(path)),
                copies=copies,
                quota_bytes=quota,
                owner=wanted,  # type: ignore[arg-type]
            )
        )
        self._changed(happened, expected, "set_policy", who, path, owner, quota, copies)
        if expected != "ok":
            return
        model.policies[path] = policy
        policy.quota = policy.quota if quota is None else quota
        policy.copies = policy.copies if copies is None else copies
        if is_new:
            if policy.owner is not None:
                policy.owner.ended = True
            support = model.support(who, path, frozenset("rws"))
            assert support is not None
            policy.owner = None if owner == "member" else self._owns(who, str(owner), path, support)

    def _owns(self, giver: str, who: str, path: Path, support: list[Held]) -> Held:
        """Take the grant that makes ``who`` the owner into account; return it."""
        known = {one.id for one in self.model.grants}
        (made,) = (
            one
            for one in self.runner.run(self.catalog.grants.list(COORDINATOR))
            if one.id not in known
        )
        assert list(made.sources) == [one.id for one in support]
        assert made.principal == user(who).principal
        assert (made.path.names, letters(made.rights)) == (path, frozenset("rws"))
        self.given[made.id] = made
        self.model.grants.append(
            Held(made.id, path, frozenset("rws"), who, giver, math.inf, support)
        )
        return self.model.grants[-1]

    def _disowned(self, path: Path) -> Policy | None:
        """Note that what was at ``path`` is no datastore any more, or has another name."""
        policy = self.model.policies.pop(path, None)
        if policy is not None and policy.owner is not None:
            policy.owner.ended = True
        return policy

    @rule(who=callers)
    def list_datastores(self, who: str) -> None:
        """What he may read is listed, each with the policy that was decided."""
        model = self.model
        happened, found = self.do(self.catalog.datastores.list(self.caller(who)))
        self.same(happened, self._unless_revoked(who), "list_datastores")
        if happened != "ok":
            return
        seen = {
            one.path.names: (
                None if one.owner is None else str(one.owner), one.quota_bytes, one.copies
            )
            for one in found
        }  # fmt: skip
        expected = {}
        for path in model.names:
            if len(path) == 1 and "r" in model.rights(who, path):
                policy = model.policies.get(path, Policy())
                owner = policy.owner and str(user(policy.owner.whose).principal)
                expected[path] = (owner, policy.quota, policy.copies)
        assert seen == expected, who

    def _readers(self, path: Path) -> set[str]:
        """Return who really sees the entry, by the catalogue itself."""
        found: set[str] = set()
        for who in USERS:
            happened, entry = self.do(self.catalog.names.stat(self.caller(who), p(text(path))))
            if happened == "ok" and self._is_whole(entry):
                found.add(who)
        return found

    @staticmethod
    def _is_whole(entry: Entry) -> bool:
        return entry.modified_ns is not None

    # --- looking ---------------------------------------------------------------------------------

    @rule(who=callers, path=paths)
    def look(self, who: str, path: Path) -> None:
        self._look(who, path)

    @rule(who=callers)
    def look_everywhere(self, who: str) -> None:
        for path in PATHS:
            self._look(who, path)

    def _look(self, who: str, path: Path) -> None:
        model, caller, at = self.model, self.caller(who), p(text(path))
        rights = model.rights(who, path)
        kind = model.names.get(path)
        there = "ok" if kind else "absent"
        knows = model.knows(who, path)

        happened, entry = self.do(self.catalog.names.stat(caller, at))
        self.same(happened, there if knows else "denied", "stat", who, path)
        if happened == "ok" and path:
            assert self._is_whole(entry) == ("r" in rights)
        if not knows:
            self._tells_nothing(who, entry, path)

        happened, found = self.do(names(self.catalog, text(path), caller))
        expected = there if knows else "denied"
        if knows and "r" not in rights:
            leads_on = any(model.is_way_below(who, path, (*path, name)) for name in "abc")
            if ("w" in rights and not leads_on) or kind in LEAVES:
                expected = "denied"
        self.same(happened, expected, "list", who, path)
        if happened == "ok" and kind == "dir":
            assert set(found) == {text(one) for one in model.seen_in(who, path)}

        happened, view = self.do(
            self.catalog.reads.open(caller, at, offset=0, length=0, if_version=0, batch=1)
        )
        expected = "denied" if "r" not in rights else "ok" if kind == "file" else "not"
        self._changed(happened, expected, "read", who, path)
        if happened == "ok":
            self.runner.run(self.catalog.reads.close(caller, view.lease))

    def _tells_nothing(self, who: str, error: CollectiveError, path: Path) -> None:
        """The refusal reads as the one for a name that nobody ever made."""
        other = FilePath((*path[:-1], "never")) if path else FilePath(("never",))
        if self.model.knows(who, other.names):
            return
        _, twin = self.do(self.catalog.names.stat(self.caller(who), other))
        assert str(twin).replace(str(other), "X") == str(error).replace(str(p(text(path))), "X")

    @rule(who=callers)
    def list_grants(self, who: str) -> None:
        happened, found = self.do(self.catalog.grants.list(self.caller(who)))
        self.same(happened, self._unless_revoked(who), "list_grants")
        if happened != "ok":
            return
        assert {one.id for one in found} == self.model.listed(who), who

    # --- the decision alone, after every step ----------------------------------------------------

    @invariant()
    def decisions_agree(self) -> None:
        type(self).steps["all"] += 1
        model = self.model
        gone = frozenset(user(who).principal for who in model.revoked)
        kept = [self.given[one.id] for one in model.grants if not one.ended]
        book = GrantBook(kept, gone)
        for who in (OPERATOR, *USERS):
            try:
                decider = Decider(self.caller(who), book, model.now_s)
            except ShutOutError:
                assert who in model.revoked
                continue
            assert who not in model.revoked
            assert decider.is_admin == model.is_admin(who), who
            for path in PATHS:
                assert letters(decider.rights(p(text(path)))) == model.rights(who, path)
                if who != OPERATOR:
                    assert (decider.visibility(p(text(path))) > 0) == model.knows(who, path)

    def teardown(self) -> None:
        self.runner.run(self.engines.end())
        self.runner.close()
        self.folder.cleanup()
