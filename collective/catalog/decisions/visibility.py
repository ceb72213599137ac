"""What a caller is shown of what they may not read whole, and of what is counted: pure, over their grants.

How much of a path they may know is ``access.permissions``'.  Refusals follow from path and grants alone, so
that they tell nobody what exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from collective.access.permissions import Decider, Visibility
from collective.core.errors import PermissionDeniedError
from collective.core.paths import FilePath
from collective.model.entries import Entry, EntryKind
from collective.model.rights import Right


def require_listing(decider: Decider, path: FilePath) -> None:
    """Raise PermissionDeniedError unless the caller may list ``path``, be it only the way to their grants."""
    if decider.require_visible(path) is Visibility.EXISTENCE and not decider.next_names(path):
        raise PermissionDeniedError(f"You may write to {path} but not read it; ask for a grant.")


def names_shown(decider: Decider, folder: FilePath) -> Sequence[str] | None:
    """Return the names in ``folder`` that the caller is shown, in order; None: all.

    Above their grants these are the names that lead to them.
    """
    if decider.may(Right.READ, folder):
        return None
    return sorted(decider.next_names(folder))


def is_shown_whole(decider: Decider, path: FilePath) -> bool:
    """Tell whether the caller is shown what is at ``path`` with all that is known of it."""
    return decider.may(Right.READ, path)


def knows_all_of(visibility: Visibility, path: FilePath) -> bool:
    """Tell whether ``stat`` tells everything: of the root it does to whoever knows of anything below."""
    return visibility is Visibility.FULL or path.is_root


def only_that_it_is(path: FilePath, kind: EntryKind) -> Entry:
    """Return what is told to those who may know of a thing, and not read it: that it is, and what."""
    return Entry(path, kind)


def as_seen(decider: Decider, entry: Entry) -> Entry:
    """Return as much of ``entry`` as the caller may know who may write there."""
    return entry if is_shown_whole(decider, entry.path) else only_that_it_is(entry.path, entry.kind)


def readable_tops(decider: Decider) -> list[FilePath]:
    """Return the paths that the caller's grants let them read, none of them below another."""
    tops: list[FilePath] = []
    for path in sorted({grant.path for grant in decider.grants}):
        is_new = not tops or not path.starts_with(tops[-1])
        if is_new and Right.READ in decider.rights(path):
            tops.append(path)
    return tops


def read_whole(decider: Decider, datastores: Iterable[FilePath]) -> list[FilePath]:
    """Return the datastores that the caller may read whole, whose policy and health they are told."""
    return [path for path in datastores if decider.visibility(path) is Visibility.FULL]
