"""Paths inside a member's storage: parsed once at the edge, a value of its own type after that.

Rules (spec, "Paths"): absolute, ``/``-separated, UTF-8, case-sensitive, kept exactly as given;
repeated slashes collapse; ``.``/``..``, NUL and control characters, names over 255 bytes, paths
over 4,096 bytes and depth over 128 are refused.  ``/@DOMAIN/…`` is a peer's tree.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from collective.core import limits
from collective.core.errors import UsageError
from collective.core.ids import Domain, parse_domain

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_name(name: str) -> None:
    """Raise :class:`UsageError` unless ``name`` can be one component of a path."""
    if name in {".", ".."}:
        raise UsageError("A path may not contain '.' or '..'; name the file directly.")
    if _CONTROL.search(name):
        raise UsageError("A path may not contain control characters.")
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise UsageError("A path must be valid UTF-8; rename the file first.") from error
    if size > limits.NAME_MAX_BYTES:
        raise UsageError(f"A name may have at most {limits.NAME_MAX_BYTES} bytes; this has {size}.")


def check_target(target: bytes) -> None:
    """Raise :class:`UsageError` unless ``target`` can be where a symbolic link points to.

    Any bytes can that a file system takes: where they lead concerns nobody here.
    """
    if not 0 < len(target) <= limits.LINK_TARGET_MAX_BYTES:
        raise UsageError(
            f"The target of a symbolic link has 1 to {limits.LINK_TARGET_MAX_BYTES} bytes,"
            f" not {len(target)}."
        )
    if b"\0" in target:
        raise UsageError("The target of a symbolic link may not hold NUL.")


def _is_plain(text: str) -> bool:
    """Tell whether ``text`` is so short and simple that no rule can be broken."""
    return (
        len(text) <= limits.PATH_MAX_DEPTH
        and text.isascii()
        and text.isprintable()
        and "/." not in text
    )


class FilePath(NamedTuple):
    """An absolute path as the tuple of its names; ``()`` is the root."""

    names: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> FilePath:
        """Return the path in ``text``, or raise :class:`UsageError` saying which rule it breaks."""
        if not text.startswith("/"):
            raise UsageError(f"Path {text!r} must begin with '/'.")
        names = tuple(filter(None, text.split("/")))
        if _is_plain(text):  # most are, and a listing has thousands
            return cls(names)
        for name in names:
            check_name(name)
        path = cls(names)
        path.check_size()
        return path

    def check_size(self) -> None:
        """Raise :class:`UsageError` where the path is too deep or too long."""
        if len(self.names) > limits.PATH_MAX_DEPTH:
            raise UsageError(f"A path may be at most {limits.PATH_MAX_DEPTH} names deep.")
        if len(str(self).encode()) > limits.PATH_MAX_BYTES:
            raise UsageError(f"A path may have at most {limits.PATH_MAX_BYTES} bytes.")

    def __str__(self) -> str:
        return "/" + "/".join(self.names)

    @property
    def is_root(self) -> bool:
        """Whether this is ``/``."""
        return not self.names

    @property
    def name(self) -> str:
        """The last name; empty for the root."""
        return self.names[-1] if self.names else ""

    @property
    def parent(self) -> FilePath:
        """The folder that holds this; the root is its own parent."""
        return FilePath(self.names[:-1])

    def child(self, name: str) -> FilePath:
        """Return ``name`` below this path."""
        return FilePath((*self.names, name))

    def starts_with(self, prefix: FilePath) -> bool:
        """Whether this is ``prefix`` or lies below it."""
        return self.names[: len(prefix.names)] == prefix.names

    @property
    def peer_domain(self) -> Domain | None:
        """The peer's domain of ``/@DOMAIN/…``, else None."""
        if self.names and self.names[0].startswith("@"):
            return parse_domain(self.names[0][1:])
        return None
