"""Who may do what, worked out from scratch by the words of the contract: slow, plain, no cleverness.

Nothing of ``collective.access.permissions`` is used here; rights are sets of letters, paths are tuples.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

Path: TypeAlias = tuple[str, ...]

NAMES = ("a", "b")
DEPTH = 3
PATHS: tuple[Path, ...] = (
    *(path for depth in range(DEPTH + 1) for path in itertools.product(NAMES, repeat=depth)),
    ("c",),
    ("c", "a"),
)
"""The names that are tried; ``/c`` is there for what is renamed."""
EVERYTHING = frozenset("rws")
OPERATOR = "operator"


@dataclass(eq=False)
class Held:
    """A grant."""

    id: str
    path: Path
    rights: frozenset[str]
    whose: str
    giver: str
    ends_s: float
    came_from: list[Held]
    ended: bool = False


@dataclass
class ModelInvite:
    """An invite, open until it is used up, has expired, was revoked or lost a right it passes on."""

    id: str
    maker: str
    grants: list[tuple[Path, frozenset[str], list[Held]]]
    uses_left: int
    ends_s: float
    revoked: bool = False


@dataclass
class Policy:
    """What an operator decided about a datastore."""

    owner: Held | None = None
    """The grant that its owner has by owning it; None: the member."""
    quota: int = 0
    copies: int = 0


@dataclass
class Model:
    """All that is known: names, datastores, grants, invites, who is revoked, the time."""

    now_s: float
    names: dict[Path, str] = field(default_factory=lambda: {(): "dir"})
    policies: dict[Path, Policy] = field(default_factory=dict)
    grants: list[Held] = field(default_factory=list)
    invites: list[ModelInvite] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)

    # --- rights ----------------------------------------------------------------------------------

    def ends(self, grant: Held) -> float:
        """Return when it ends: the first end of it and of everything above it; -inf if it has."""
        if grant.ended or grant.whose in self.revoked or grant.giver in self.revoked:
            return -math.inf
        return min([grant.ends_s, *(self.ends(above) for above in grant.came_from)])

    def of(self, who: str) -> list[Held]:
        return [one for one in self.grants if one.whose == who and self.ends(one) > self.now_s]

    def rights(self, who: str, path: Path) -> frozenset[str]:
        if who == OPERATOR:
            return EVERYTHING
        found: frozenset[str] = frozenset()
        for grant in self.of(who):
            if path[: len(grant.path)] == grant.path:
                found |= grant.rights
        return found

    def is_way(self, who: str, path: Path) -> bool:
        return any(grant.path[: len(path)] == path for grant in self.of(who))

    def knows(self, who: str, path: Path) -> bool:
        """Whether anything at all may be said to him about the path."""
        return bool(self.rights(who, path) & {"r", "w"}) or self.is_way(who, path)

    def is_admin(self, who: str) -> bool:
        if who == OPERATOR:
            return True
        roots = [one for one in self.of(who) if one.path == () and one.giver == OPERATOR]
        return frozenset().union(*(one.rights for one in roots)) == EVERYTHING

    def someone_gains(self, source: Path, target: Path, users: Iterable[str]) -> bool:
        """Whether by the move anybody has more on anything, there or not yet, than he had."""
        return any(
            self.rights(user, target + rest) - self.rights(user, source + rest)
            for user in users
            for rest in PATHS
        )

    def may_move(self, who: str, source: Path, target: Path, users: Iterable[str]) -> bool:
        here = self.rights(who, source)
        if not {"r", "w"} <= here or "w" not in self.rights(who, target):
            return False
        return "s" in here or not self.someone_gains(source, target, users)

    def keeps_owner(self, who: str) -> bool:
        """Whether a datastore that ``who`` renames goes on to belong to whom it belonged to.

        Rights are given by path, so a rename gives nobody any: the owner goes with it only where an
        admin moves it; else the datastore is the member's from then on.
        """
        return self.is_admin(who)

    def may_take_away(self, who: str, path: Path) -> bool:
        """Whether what is at ``path`` is his to remove or move, if he has the rights for that."""
        if len(path) != 1 or self.is_admin(who):
            return True
        policy = self.policies.get(path, Policy())
        if policy.quota or policy.copies:
            return False
        return policy.owner is None or policy.owner.whose == who

    def support(self, who: str, path: Path, rights: frozenset[str]) -> list[Held] | None:
        """Return the grants from which ``who`` may pass ``rights`` on; None if he may not.

        One that gives it all, the longest-lived; else the longest-lived for each right.
        """
        if who == OPERATOR:
            return []
        held = [one for one in self.of(who) if path[: len(one.path)] == one.path]
        held.sort(key=lambda one: (-self.ends(one), one.id))
        wanted = rights | {"s"}
        for one in held:
            if wanted <= one.rights:
                return [one]
        chosen: list[Held] = []
        for right in (right for right in "rws" if right in wanted):
            first = next((one for one in held if right in one.rights), None)
            if first is None:
                return None
            if first not in chosen:
                chosen.append(first)
        return chosen

    def listed(self, who: str) -> set[str]:
        """Return the ids that ``grant list`` shows him: his own, and all that came from them."""
        live = [one for one in self.grants if self.ends(one) > self.now_s]
        if self.is_admin(who):
            return {one.id for one in live}
        mine = {id(one) for one in live if one.whose == who}
        for _ in live:
            for one in live:
                if one.giver == who or any(id(above) in mine for above in one.came_from):
                    mine.add(id(one))
        return {one.id for one in live if id(one) in mine}

    def invite_state(self, invite: ModelInvite) -> str:
        if invite.revoked:
            return "revoked"
        if invite.ends_s <= self.now_s:
            return "expired"
        if invite.uses_left <= 0:
            return "used up"
        above = [one for _, _, came_from in invite.grants for one in came_from]
        ended = any(self.ends(one) <= self.now_s for one in above)
        return "void" if ended or invite.maker in self.revoked else "open"

    # --- names -----------------------------------------------------------------------------------

    def below(self, path: Path) -> list[Path]:
        return [other for other in self.names if other[: len(path)] == path]

    def seen_in(self, who: str, folder: Path) -> set[Path]:
        """Return what a listing of a folder shows him."""
        children = {path for path in self.names if path and path[:-1] == folder}
        if "r" in self.rights(who, folder):
            return children
        return {child for child in children if self.is_way_below(who, folder, child)}

    def is_way_below(self, who: str, folder: Path, child: Path) -> bool:
        return any(
            len(grant.path) > len(folder) and grant.path[: len(child)] == child
            for grant in self.of(who)
        )
