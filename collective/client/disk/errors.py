"""What this machine refused, as errors of ours."""

from __future__ import annotations

import errno
import os
from typing import Final

from collective.core.errors import CollectiveError, ConflictError, NotFoundError, UsageError

FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
"""There is no room."""


class LocalError(CollectiveError):
    """A file on this machine cannot be read or written."""

    code = "local_file"


def local_error(error: OSError, local: str) -> CollectiveError:
    """Return the error for what happened at the local name ``local``."""
    reason = error.strerror or str(error)
    if isinstance(error, FileNotFoundError):
        folder = os.path.dirname(os.path.abspath(local))
        if not os.path.isdir(folder):
            return NotFoundError(f"There is no local directory {folder!r}; make it first.")
        return NotFoundError(f"Local file {local!r} does not exist.")
    if error.errno == errno.ELOOP:
        return ConflictError(f"Local {local!r} is a symbolic link, which is not followed.")
    if isinstance(error, IsADirectoryError | NotADirectoryError):
        return UsageError(f"{local!r}: {reason}.")
    return LocalError(f"Local file {local!r} cannot be used: {reason}.")
