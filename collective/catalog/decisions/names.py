"""What may be made, replaced, moved and removed in the tree of names: pure.

Rights are asked before (``access.permissions``), and what a quota says after (``quotas.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collective.core import limits
from collective.core.errors import ConflictError, NotFoundError, UsageError
from collective.core.paths import FilePath
from collective.model.entries import EntryKind
from collective.model.writing import Precondition

WORDS: Final = {
    EntryKind.FILE: "a file",
    EntryKind.DIRECTORY: "a directory",
    EntryKind.DATASTORE: "a datastore",
    EntryKind.LINK: "a symbolic link",
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a tree reaches down from its top, at most."""

    depth: int = 0
    """Levels below the top."""
    reach: int = 0
    """Bytes of the longest path below the top, relative to it."""

    def under(self, name: str) -> Bounds:
        """Return how far a folder reaches that has this tree under ``name``."""
        length = len(name.encode())
        return Bounds(self.depth + 1, length + 1 + self.reach if self.reach else length)


def absent(path: FilePath) -> NotFoundError:
    """Return the error for a path that does not exist."""
    return NotFoundError(f"{path} does not exist; list {path.parent} to see what does.")


def parent_missing(path: FilePath) -> NotFoundError:
    """Return the error for a write below a folder that does not exist."""
    return NotFoundError(f"Parent directory does not exist; run: collective mkdir -p {path.parent}")


def refuse_peer(path: FilePath) -> None:
    """Raise NotFoundError for what would be a peer's: a catalogue has its own member's names alone."""
    if path.names and path.names[0].startswith("@"):
        raise NotFoundError(f"/{path.names[0]} is no peer of this member; check its domain.")


def require_condition(path: FilePath, version: int | None, condition: Precondition) -> None:
    """Raise ConflictError unless what is at ``path`` meets ``condition``.

    Args:
        path: where it is.
        version: its number; 0 for a folder, None where nothing is.
        condition: of the caller.
    """
    if condition.if_absent and version is not None:
        raise ConflictError(f"{path} exists already; choose another name or allow replacing it.")
    if condition.if_version and (version or 0) != condition.if_version:
        raise ConflictError(
            f"{path} has version {version or 0}, not {condition.if_version}; read it again first."
        )


def new_folders(path: FilePath, there: Sequence[EntryKind], *, parents: bool) -> Sequence[str]:
    """Return the names at the end of ``path`` that are to be made, the uppermost first.

    Args:
        path: to be a folder.
        there: what its first names stand for, as far as there is anything.
        parents: make those above it too, and be content where all are there.

    Raises:
        ConflictError: it is there, or a file is in the way.
        NotFoundError: its parent is not there.
    """
    if path.is_root:
        if parents:
            return ()
        raise ConflictError("/ exists already; name a folder below it.")
    at = FilePath()
    for name, kind in zip(path.names, there, strict=False):
        at = at.child(name)
        if kind.is_leaf:
            raise ConflictError(f"{at} is {WORDS[kind]}; choose another name.")
    new = path.names[len(there) :]
    if not parents and not new:
        raise ConflictError(f"{path} exists already; choose another name.")
    if not parents and len(new) > 1:
        raise parent_missing(path)
    return new


def require_removable(path: FilePath) -> None:
    """Raise UsageError for the root, NotFoundError for a peer's."""
    refuse_peer(path)
    if path.is_root:
        raise UsageError("/ cannot be removed; name a datastore.")


def takes_tree(kind: EntryKind, *, recursive: bool) -> bool:
    """Tell whether a removal takes all that is below away first, step by step."""
    return recursive and not kind.is_leaf


def require_empty(path: FilePath, *, has_names: bool) -> None:
    """Raise ConflictError where names are below ``path``, and it is to be removed by itself."""
    if has_names:
        raise ConflictError(f"{path} is not empty; remove it with -r.")


def require_attributes(path: FilePath) -> None:
    """Raise UsageError for what has neither time nor mode that can be set: the root."""
    if path.is_root:
        raise UsageError("/ has neither time nor mode; name what is below it.")


def require_mode(path: FilePath, kind: EntryKind, mode: int | None) -> None:
    """Raise ConflictError where ``mode`` (None: as it is) is to be set of a link: it has none of its own."""
    if kind is EntryKind.LINK and mode is not None:
        raise ConflictError(f"{path} is a symbolic link, which has no mode of its own.")


def become_by_move(kind: EntryKind, *, is_at_top: bool) -> EntryKind:
    """Return what a thing of ``kind`` is where it was moved to: at the top level a datastore."""
    if kind.is_leaf:
        return kind
    return EntryKind.DATASTORE if is_at_top else EntryKind.DIRECTORY


def require_file_place(path: FilePath) -> None:
    """Raise UsageError where no file or link may lie: at top level there are only datastores."""
    if len(path.names) < 2:  # noqa: PLR2004 - a datastore and a name
        raise UsageError("A file cannot lie in /; write it into a datastore, like /media/name.")


def require_replaceable(path: FilePath, parent: EntryKind | None, there: EntryKind | None) -> None:
    """Raise unless a file or link may come to be at ``path``; see :func:`require_file_place`.

    Args:
        path: of at least two names.
        parent: what its parent is, and
        there: what is there already.

    Raises:
        ConflictError: one of them is of the wrong kind.
        NotFoundError: there is no parent.
    """
    _require_folder(path, parent)
    if there is not None and not there.is_leaf:
        raise ConflictError(f"{path} is a directory; choose another name.")


def require_movable(
    source: FilePath, target: FilePath, moved: EntryKind | None, parent: EntryKind | None
) -> None:
    """Raise unless what is at ``source`` may go to ``target``, as far as the kinds of things go.

    Args:
        source: where it is.
        target: where it shall be.
        moved: what it is, and
        parent: what the target's parent is; None where nothing is.
    """
    if moved is None:
        raise absent(source)
    if target.starts_with(source) and target != source:
        raise ConflictError(f"{source} cannot be moved into itself; choose another place.")
    _require_folder(target, parent)
    if moved.is_leaf and target.parent.is_root:
        raise ConflictError("A file cannot lie in /; move it into a datastore.")


def _require_folder(path: FilePath, parent: EntryKind | None) -> None:
    """Raise unless something may lie in the parent of ``path``."""
    if parent is None:
        raise parent_missing(path)
    if parent.is_leaf:
        raise ConflictError(f"{path.parent} is {WORDS[parent]}; choose another place.")


def require_no_root(source: FilePath, target: FilePath) -> None:
    """Raise UsageError for a move of the root or in its place, NotFoundError for one of a peer's."""
    refuse_peer(source)
    refuse_peer(target)
    if source.is_root or target.is_root:
        raise UsageError("/ cannot be moved or replaced; name what is below it.")


def require_gives_way(target: FilePath, moved: EntryKind, there: EntryKind | None) -> None:
    """Raise ConflictError unless what is at ``target`` gives way: a file or link does to one."""
    if there is not None and not (moved.is_leaf and there.is_leaf):
        raise ConflictError(f"{target} exists already; choose another name.")


def fits(target: FilePath, bounds: Bounds) -> bool:
    """Tell whether a tree that reaches so far keeps the limits of every path below ``target``."""
    longest_bytes = len(str(target).encode()) + (1 + bounds.reach if bounds.reach else 0)
    deepest = len(target.names) + bounds.depth
    return deepest <= limits.PATH_MAX_DEPTH and longest_bytes <= limits.PATH_MAX_BYTES


def reaches_no_further(source: FilePath, target: FilePath) -> bool:
    """Tell whether no path below gets deeper or longer by a move."""
    is_deeper = len(target.names) > len(source.names)
    return not is_deeper and len(str(target).encode()) <= len(str(source).encode())


def too_deep_below(source: FilePath) -> UsageError:
    """Return the error for a move that would break the limits of a path below."""
    return UsageError(
        f"What is below {source} would get a path that is too long or too deep; choose a shorter"
        " destination."
    )
