"""Where the names of a tree that is downloaded land on this machine: below its root, each for itself.

Names come from others.  None of them leads through a symbolic link, so nothing is written outside of
the root that was named; and none takes the place of another that the file system holds for the same
(``README`` and ``readme``, or one name in two forms of Unicode): the first that comes is kept, the
others are refused by name.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from contextlib import suppress
from typing import Final

from collective.client.parts import NEVER_REMOTE
from collective.core.errors import ConflictError, UsageError
from collective.core.randomness import Randomness

_COMPOSED, _DECOMPOSED = "\u00e9", "e\u0301"


class Landing:
    """The local directory ``root``, which is made if absent; blocking."""

    def __init__(self, root: str, randomness: Randomness, *, folds: bool | None = None) -> None:
        """Make ``root``.

        Args:
            root: the directory that was named; it may be a link itself.
            randomness: names what is made there to find out how the file system takes names.
            folds: whether different names may be one there; None finds out.
        """
        try:
            os.makedirs(root, exist_ok=True)
        except OSError as error:
            raise _unmakeable(root, error) from error
        self._root: Final = root
        self._folders: set[tuple[str, ...]] = {()}
        self._folds = folds_names(root, randomness) if folds is None else folds
        self._known: dict[tuple[str, ...], str] = {}

    def folder(self, names: tuple[str, ...]) -> str:
        """Make the directory ``names`` below the root, with those above it; return its path.

        Raises UsageError or ConflictError where something else is in its place.
        """
        for depth in range(1, len(names) + 1):
            above = names[:depth]
            if above not in self._folders:
                self._check_own(above)
                _make(os.path.join(self._root, *above))
                self._folders.add(above)
        return os.path.join(self._root, *names)

    def file(self, names: tuple[str, ...]) -> str:
        """Return the path for the file ``names``, whose directory is made."""
        self.folder(names[:-1])
        self._check_own(names)
        return os.path.join(self._root, *names)

    def _check_own(self, names: tuple[str, ...]) -> None:
        """Raise ConflictError if another name of the tree has this one's place."""
        if not self._folds:
            return
        first = self._known.setdefault(tuple(map(_folded, names)), names[-1])
        if first != names[-1]:
            raise ConflictError(
                f"This file system holds {names[-1]!r} and {first!r} for one name; get one of them"
                " into another directory."
            )


def folds_names(folder: str, randomness: Randomness) -> bool:
    """Tell whether ``folder`` holds names for one that differ in case or in their Unicode form."""
    unique = f".{randomness.token(8).hex()}{NEVER_REMOTE}"
    path = os.path.join(folder, f"{unique}a{_COMPOSED}")
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError:
        return True  # it does not take such names: be careful
    try:
        others = (f"{unique}A{_COMPOSED}", f"{unique}a{_DECOMPOSED}")
        return any(os.path.lexists(os.path.join(folder, other)) for other in others)
    finally:
        with suppress(OSError):
            os.unlink(path)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())


def _make(path: str) -> None:
    try:
        with suppress(FileExistsError):
            os.mkdir(path)
        mode = os.lstat(path).st_mode
    except OSError as error:
        raise _unmakeable(path, error) from error
    if stat.S_ISLNK(mode):
        raise UsageError(
            f"Local {path!r} is a symbolic link, which is not followed; remove it, or get into"
            " another directory."
        )
    if not stat.S_ISDIR(mode):
        raise UsageError(f"Local {path!r} is no directory; move it away, or get elsewhere.")


def _unmakeable(path: str, error: OSError) -> UsageError:
    return UsageError(f"Local directory {path!r} cannot be made: {error.strerror or error}.")
