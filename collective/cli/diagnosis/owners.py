"""Whose files a data dir or cert dir holds, and whether others can read its keys.  Looks, and changes nothing."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from typing import Final

from collective.cli.diagnosis.findings import Finding, fine, problem, warning
from collective.core.errors import ExitCode

LOOKED_AT_MAX: Final = 20_000
"""Entries of one folder tree: a store has a file for each chunk."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def owners(what: str, folder: str, reference: str = "") -> Finding:
    """See whether everything in ``folder`` belongs to whoever has ``reference``, by default itself."""
    reference = reference or folder
    try:
        expected = os.stat(reference).st_uid
        strange = next((entry for entry in _tree(folder) if entry[1].st_uid != expected), None)
    except PermissionError as error:
        return problem(
            "owner",
            f"{what}: {error.filename} cannot be read as {_name(os.geteuid())}.",
            "run this as root, or as the user that the process runs as",
        )
    except OSError as error:
        return problem("owner", f"{what}: {folder}: {(error.strerror or '').lower()}.", "mount it")
    if strange is None:
        return fine("owner", f"{what}: everything in {folder} belongs to {_name(expected)}.")
    path, found = strange
    return problem(
        "owner",
        f"{what}: {path} belongs to {_name(found.st_uid)}, and not to {_name(expected)}, as the process"
        " does.",
        f"end the process, and give the files back: chown -R --reference={reference} {folder}/",
    )


def no_rights(folder: str) -> Finding | None:
    """Return that ``folder`` may not be looked at; None where it may, or is not there."""
    try:
        os.scandir(folder).close()
    except PermissionError as error:
        return shut("rights", error)
    except OSError:
        return None
    return None


def shut(check: str, error: PermissionError) -> Finding:
    """Return that something may not be looked at."""
    return problem(
        check,
        f"{error.filename} cannot be read as {_name(os.geteuid())}, so nothing in it is judged.",
        "run this as root, or as the user that the process runs as",
        ExitCode.PERMISSION_DENIED,
    )


def exposed_keys(cert_dir: str) -> list[Finding]:
    """Return the private keys and codes that others can read or change."""
    try:
        found = [
            path
            for path, facts in _tree(cert_dir)
            if path.endswith((".key", ".code")) and stat.S_IMODE(facts.st_mode) & _OTHERS
        ]
    except OSError:
        return []  # said by owners()
    return [exposed(path) for path in sorted(found)]


def exposed(path: str) -> Finding:
    """Return that others can read the secret file at ``path``."""
    return warning("key-mode", f"Others can read {path}.", f"chmod 600 {path}")


def is_exposed(path: str) -> bool:
    """Tell whether others can read or change the file at ``path``; False where there is none."""
    try:
        return bool(stat.S_IMODE(os.stat(path).st_mode) & _OTHERS)
    except OSError:
        return False


def age_s(path: str, now_s: float) -> float | None:
    """Return how long ago ``path``, or the newest thing in that folder, was written; None for never."""
    try:
        names = [os.path.join(path, one) for one in os.listdir(path)] if os.path.isdir(path) else []
        return now_s - max(os.stat(one).st_mtime for one in names or [path])
    except OSError:
        return None


def _tree(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield what lies in ``folder``, itself first; at most so many entries, folders before files."""
    waiting = [folder]
    left = LOOKED_AT_MAX
    yield folder, os.stat(folder)
    while waiting:
        with os.scandir(waiting.pop(0)) as entries:
            for entry in entries:
                left -= 1
                if not left:
                    return
                yield entry.path, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
