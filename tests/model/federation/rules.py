"""Who may do what at three members, worked out from the words of the contract: slow, plain, no cleverness.

Nothing of the product is used here.  A member is its domain, a person is who vouches for them and a name, a
path is a tuple of names, rights are sets of letters, an answer is an exit code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

Path: TypeAlias = tuple[str, ...]
Rights: TypeAlias = frozenset[str]

DONE, USAGE, ABSENT, DENIED, CONFLICT = 0, 2, 3, 4, 8
IMPOSSIBLE: Final = -1
"""Allowed, but not possible as things are: 2, 3 or 8, whichever; another test's."""
ALL: Final[Rights] = frozenset("rws")
NOTHING: Final[Rights] = frozenset()


class Who(NamedTuple):
    """Somebody for whom a member vouches; without a name: the member's coordinator, and in grants everybody."""

    voucher: str
    name: str = ""

    @property
    def is_operator(self) -> bool:
        return not self.name


@dataclass(eq=False)
class Right:
    """A grant."""

    id: str
    path: Path
    rights: Rights
    whose: Who
    giver: Who
    ends_s: float
    came_from: list[Right]
    is_gone: bool = False


@dataclass
class Rules:
    """One member: its tree, its grants, its peers, and whom it shut out."""

    domain: str
    names: dict[Path, str] = field(default_factory=lambda: {(): ""})
    """Folders have no content."""
    grants: list[Right] = field(default_factory=list)
    peers: set[str] = field(default_factory=set)
    shut_out: set[Who] = field(default_factory=set)
    now_s: float = 0.0

    # --- rights ----------------------------------------------------------------------------------

    def holds(self, grant: Right) -> bool:
        """What was passed on ends with the right it came from, and all ends with who is shut out."""
        if grant.is_gone or grant.ends_s <= self.now_s:
            return False
        if grant.whose in self.shut_out or grant.giver in self.shut_out:
            return False
        return all(self.holds(above) for above in grant.came_from)

    def given_to(self, who: Who) -> list[Right]:
        """Return the grants that count for somebody: theirs, and those of all for whom their member vouches."""
        everybody = Who(who.voucher)
        return [one for one in self.grants if one.whose in {who, everybody} and self.holds(one)]

    def is_own_operator(self, who: Who) -> bool:
        return who == Who(self.domain)

    def refusal(self, who: Who) -> int:
        """Return what those are told who are shut out: a certificate of this member's own counts no more."""
        return CONFLICT if who.voucher == self.domain else DENIED

    def rights(self, who: Who, path: Path) -> Rights:
        if self.is_own_operator(who):
            return ALL
        held = [one.rights for one in self.given_to(who) if path[: len(one.path)] == one.path]
        return NOTHING.union(*held)

    def is_admin(self, who: Who) -> bool:
        if self.is_own_operator(who):
            return True
        root = [one for one in self.given_to(who) if not one.path and one.giver == Who(self.domain)]
        return NOTHING.union(*(one.rights for one in root)) == ALL

    def leads_on(self, who: Who, path: Path) -> set[Path]:
        """Return the names in a folder that lie on the way to grants below it."""
        depth = len(path)
        return {
            one.path[: depth + 1]
            for one in self.given_to(who)
            if len(one.path) > depth and one.path[:depth] == path
        }

    def knows(self, who: Who, path: Path) -> bool:
        """Whether path and grants allow that anything be said to them of it."""
        if self.rights(who, path) & {"r", "w"}:
            return True
        return any(one.path[: len(path)] == path for one in self.given_to(who))

    def everybody(self) -> set[Who]:
        """Return everybody who could gain by a move, one who has nothing of their own at each member too."""
        found = {one.whose for one in self.grants if one.whose.name}
        return found | {Who(domain, "nobody") for domain in (self.domain, *self.peers)}

    def someone_gains(self, source: Path, target: Path) -> bool:
        rests = {one.path[len(target) :] for one in self.grants} | {()}
        return any(
            self.rights(who, target + rest) - self.rights(who, source + rest)
            for who in self.everybody()
            for rest in rests
        )

    # --- grants ----------------------------------------------------------------------------------

    def receiver(self, text: str) -> Who | None:
        """Return whom a grant is for; None where the member that would vouch is no peer."""
        if text.startswith("@"):
            return Who(text[1:]) if self.trusts(text[1:]) else None
        name, _, voucher = text.partition(" via ")
        if voucher:
            return Who(voucher, name) if self.trusts(voucher) else None
        domain = name.partition("@")[2]
        return Who(domain if domain in self.peers else self.domain, name)

    def trusts(self, domain: str) -> bool:
        return domain == self.domain or domain in self.peers

    def may_share(self, who: Who, path: Path, rights: Rights) -> bool:
        return rights | {"s"} <= self.rights(who, path)

    def to_give(self, who: Who, path: Path, rights: Rights, text: str) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        if not self.may_share(who, path, rights):
            return DENIED
        receiver = self.receiver(text)
        if receiver is None:
            return ABSENT
        return CONFLICT if receiver in self.shut_out else DONE

    def comes_from(self, who: Who, path: Path, rights: Rights, named: Sequence[str]) -> list[Right]:
        """Return the rights that a new grant says it came from, which must be the giver's and suffice."""
        held = {one.id: one for one in self.given_to(who)}
        assert set(named) <= held.keys(), "passes on what the giver has not"
        sources = [held[one] for one in named]
        assert all(path[: len(one.path)] == one.path for one in sources), "passes on what is above"
        if not self.is_own_operator(who):
            given = NOTHING.union(*(one.rights for one in sources))
            assert rights | {"s"} <= given, "passes on more than was had"
        return sources

    def to_end(self, who: Who, grant: Right | None) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        is_there = grant is not None and not grant.is_gone
        if self.is_admin(who):
            return DONE if is_there else ABSENT
        if grant is None or not is_there or who not in {grant.whose, grant.giver}:
            return DENIED
        return DONE

    def end(self, grant: Right) -> None:
        grant.is_gone = True
        for one in self.grants:
            if grant in one.came_from and not one.is_gone:
                self.end(one)

    def shown(self, who: Who) -> set[str]:
        """Return the grants that are listed: one's own, what one gave, and what came from those.

        What others were passed on from a right of everybody is their affair.
        """
        held = [one for one in self.grants if self.holds(one)]
        if self.is_admin(who):
            return {one.id for one in held}
        found = {one.id for one in held if who in {one.whose, one.giver}}
        for _ in held:
            found |= {one.id for one in held if any(up.id in found for up in one.came_from)}
        return found | {one.id for one in held if one.whose == Who(who.voucher)}

    def drop_peer(self, domain: str) -> None:
        self.peers.discard(domain)
        for one in self.grants:
            if domain in {one.whose.voucher, one.giver.voucher}:
                self.end(one)

    # --- names -----------------------------------------------------------------------------------

    def is_folder(self, path: Path) -> bool:
        return self.names.get(path) == ""

    def below(self, path: Path) -> list[Path]:
        return [one for one in self.names if one[: len(path)] == path]

    def stat(self, who: Who, path: Path) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        if not self.knows(who, path):
            return DENIED
        return DONE if path in self.names else ABSENT

    def list(self, who: Who, path: Path) -> int:
        found = self.stat(who, path)
        if found in {DENIED, CONFLICT} or "r" in self.rights(who, path):
            return found
        if "w" in self.rights(who, path) and not self.leads_on(who, path):
            return DENIED
        if found == DONE and not self.is_folder(path):
            return DENIED
        return found

    def seen_in(self, who: Who, path: Path, *, deep: bool) -> set[Path]:
        if path in self.names and not self.is_folder(path):
            return {path}
        found = {one for one in self.names if len(one) == len(path) + 1 and one[:-1] == path}
        if "r" not in self.rights(who, path):
            found &= self.leads_on(who, path)
        if deep:
            for folder in [one for one in found if self.is_folder(one)]:
                found |= self.seen_in(who, folder, deep=True)
        return found

    def read(self, who: Who, path: Path) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        if "r" not in self.rights(who, path):
            return DENIED
        if path not in self.names:
            return ABSENT
        return IMPOSSIBLE if self.is_folder(path) else DONE

    def write(self, who: Who, path: Path) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        if "w" not in self.rights(who, path):
            return DENIED
        if len(path) < 2 or not self.is_folder(path[:-1]) or self.is_folder(path):
            return IMPOSSIBLE
        return DONE

    def mkdir(self, who: Who, path: Path) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        if "w" not in self.rights(who, path):
            return DENIED
        return DONE if path not in self.names and self.is_folder(path[:-1]) else IMPOSSIBLE

    def remove(self, who: Who, path: Path, *, deep: bool) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        if "w" not in self.rights(who, path):
            return DENIED
        if not path:
            return IMPOSSIBLE
        if path not in self.names:
            return ABSENT
        return IMPOSSIBLE if len(self.below(path)) > 1 and not deep else DONE

    def move(self, who: Who, source: Path, target: Path) -> int:
        if who in self.shut_out:
            return self.refusal(who)
        here = self.rights(who, source)
        gives_access = "s" not in here and self.someone_gains(source, target)
        if not {"r", "w"} <= here or "w" not in self.rights(who, target) or gives_access:
            return DENIED
        if source and target and source not in self.names:
            return ABSENT
        return DONE if self.can_move(source, target) else IMPOSSIBLE

    def can_move(self, source: Path, target: Path) -> bool:
        if not source or not target or not self.is_folder(target[:-1]):
            return False
        is_leaf = not self.is_folder(source)
        if is_leaf and len(target) == 1:
            return False
        if source == target:
            return True
        if target in self.names and (not is_leaf or self.is_folder(target)):
            return False
        return target[: len(source)] != source

    def moved(self, source: Path, target: Path) -> None:
        for old in self.below(source):
            self.names[target + old[len(source) :]] = self.names.pop(old)


@dataclass
class Federation:
    """The members, and how a call gets from one to another."""

    members: dict[str, Rules]

    def way(self, who: Who, owner: str) -> int:
        """Return what becomes of a call on its way to the member that decides; DONE: it gets there."""
        home = self.members[who.voucher]
        if who in home.shut_out:
            return CONFLICT
        if owner == home.domain:
            return DONE
        if owner not in home.peers:
            return ABSENT
        if who.is_operator or home.domain not in self.members[owner].peers:
            return DENIED
        return DONE

    def copy(self, who: Who, source: tuple[str, Path], target: tuple[str, Path]) -> int:
        """It needs what reading the source and writing the target need."""
        home = self.members[who.voucher]
        if who in home.shut_out or source == target:
            return CONFLICT
        for owner in (source[0], target[0]):
            if owner != home.domain and owner not in home.peers:
                return ABSENT
        for owner, path, decide in (
            (*source, self.members[source[0]].read),
            (*target, self.members[target[0]].write),
        ):
            found = self.way(who, owner)
            found = found if found != DONE else decide(who, path)
            if found != DONE:
                return found
        return DONE

    def is_same(self, who: Who, source: tuple[str, Path], target: tuple[str, Path]) -> bool:
        """Tell whether they may read both, and there is no difference."""
        texts = []
        for owner, path in (source, target):
            rules = self.members[owner]
            if self.way(who, owner) != DONE or rules.read(who, path) != DONE:
                return False
            texts.append(rules.names[path])
        return texts[0] == texts[1]


NEVER: Final = math.inf
