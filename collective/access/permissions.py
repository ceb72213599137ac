"""Decisions over grants: what a caller may do, what they may see, and what a move would give away.

Pure: grants and the time come in, decisions or typed errors go out.  Invariants:

* a grant covers its path and everything below it; rights of several grants add up;
* what was passed on (granted by anyone but a coordinator) holds only while every grant that it came
  from holds (where none is recorded: while its giver holds ``share`` and every right in it there);
* a revoked identity has no grants, and what it passed on has ended;
* a caller whose identity or key is revoked is refused as shut out, whatever it asks for: the book
  knows of a revocation before connections are closed, and such a caller lacks no grant;
* refusal follows from path and grants alone, never from what exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

from collective.access.grant_book import GrantBook
from collective.core.errors import PermissionDeniedError, ShutOutError
from collective.core.paths import FilePath
from collective.model.calls import Call
from collective.model.grants import Grant
from collective.model.rights import Right

ALL_RIGHTS = Right.READ | Right.WRITE | Right.SHARE


class Visibility(IntEnum):
    """How much of a path a caller may know."""

    NOTHING = 0
    WAY = 1
    """It lies above one of their grants: only that it exists, and the next name on the way."""
    EXISTENCE = 2
    """Write only: whether it exists and what it is."""
    FULL = 3


def covering(grants: Iterable[Grant], path: FilePath) -> Right:
    """Return the sum of the rights that ``grants`` (all live, of one principal) give on ``path``."""
    rights = Right.NONE
    for grant in grants:
        if path.starts_with(grant.path):
            rights |= grant.rights
    return rights


class Decider:
    """Answers for one caller at one moment."""

    def __init__(self, caller: Call, book: GrantBook, now_s: float) -> None:
        """Fix ``caller``, all grants and the time (Unix seconds).

        Raises:
            ShutOutError: the caller's identity or key is revoked.
        """
        if not caller.is_operator and (
            book.is_revoked(caller.principal) or book.is_revoked_key(caller.key_digest)
        ):
            raise ShutOutError
        self.caller = caller
        self._book = book
        self._now_s = now_s
        self._grants = () if caller.is_operator else tuple(book.of(caller.principal, now_s))

    @property
    def grants(self) -> Sequence[Grant]:
        """The caller's live grants (none for an operator, who needs none)."""
        return self._grants

    @property
    def is_admin(self) -> bool:
        """Whether this is the operator, or holds everything on ``/`` from the coordinator."""
        if self.caller.is_operator:
            return True
        given = Right.NONE
        for grant in self._grants:
            if grant.path.is_root and grant.granted_by.role == "coordinator":
                given |= grant.rights
        return given == ALL_RIGHTS

    def rights(self, path: FilePath) -> Right:
        """Return the caller's rights on ``path``."""
        return ALL_RIGHTS if self.caller.is_operator else covering(self._grants, path)

    def may(self, right: Right, path: FilePath) -> bool:
        """Tell whether the caller has every right in ``right`` on ``path``."""
        return right in self.rights(path)

    def is_way(self, path: FilePath) -> bool:
        """Tell whether ``path`` is a grant's path or lies above one."""
        return any(grant.path.starts_with(path) for grant in self._grants)

    def visibility(self, path: FilePath) -> Visibility:
        """Return how much the caller may know about ``path``."""
        rights = self.rights(path)
        if Right.READ in rights:
            return Visibility.FULL
        if Right.WRITE in rights:
            return Visibility.EXISTENCE
        return Visibility.WAY if self.is_way(path) else Visibility.NOTHING

    def next_names(self, path: FilePath) -> frozenset[str]:
        """Return the names in folder ``path`` that lead to grants below it."""
        depth = len(path.names)
        return frozenset(
            grant.path.names[depth]
            for grant in self._grants
            if len(grant.path.names) > depth and grant.path.starts_with(path)
        )

    def require(self, right: Right, path: FilePath) -> None:
        """Raise :class:`PermissionDeniedError` unless the caller has ``right`` on ``path``."""
        if not self.may(right, path):
            raise PermissionDeniedError(
                f"You have no {describe(right)} right on {path}; ask its owner for a grant."
            )

    def require_visible(self, path: FilePath) -> Visibility:
        """Return the visibility of ``path``; PermissionDeniedError if there is none."""
        found = self.visibility(path)
        if found is Visibility.NOTHING:
            raise PermissionDeniedError(f"You have no right on {path}; ask its owner for a grant.")
        return found

    def require_admin(self, action: str) -> None:
        """Raise :class:`PermissionDeniedError` unless the caller is an admin."""
        if not self.is_admin:
            raise PermissionDeniedError(
                f"Only an operator may {action}; use the coordinator's own certificate."
            )

    def require_move(self, source: FilePath, target: FilePath) -> None:
        """Check a move: read+write at the source, write at the target, share if anyone gains."""
        self.require(Right.READ | Right.WRITE, source)
        self.require(Right.WRITE, target)
        if not self.may(Right.SHARE, source) and self._anyone_gains(source, target):
            raise PermissionDeniedError(
                f"Moving {source} to {target} would let others in, which needs the share right on "
                f"{source}; ask its owner for it."
            )

    def require_share(self, path: FilePath, rights: Right) -> None:
        """Check that the caller may pass ``rights`` on ``path`` on to others."""
        if not self.is_admin:
            self.require(Right.SHARE | rights, path)

    def _anyone_gains(self, source: FilePath, target: FilePath) -> bool:
        for grant in self._book.live(self._now_s):
            if target.starts_with(grant.path):
                before = source
            elif grant.path.starts_with(target):
                before = FilePath((*source.names, *grant.path.names[len(target.names) :]))
            else:
                continue
            held = covering(self._book.of(grant.principal, self._now_s), before)
            if grant.rights & ~held:
                return True
        return False


def describe(rights: Right) -> str:
    """Return rights as people write them: ``read+write``."""
    return "+".join(bit.name.lower() for bit in Right if bit & rights and bit.name) or "no"
