"""The tree that packages are made of: a commit's files, without anything that lies beside them."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

VERSION_FILE: Final = "collective/__init__.py"
VERSION_LINE: Final = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


def git(repository: Path, *arguments: str) -> str:
    """Run git there; return what it prints, without the last line's end."""
    done = subprocess.run(  # noqa: S603 - git, with arguments of our own
        ["git", *arguments],  # noqa: S607 - the one on the path
        cwd=repository,
        capture_output=True,
        check=True,
        text=True,
    )
    return done.stdout.rstrip("\n")


@dataclass(frozen=True, slots=True)
class Source:
    """One commit, unpacked."""

    tree: Path
    commit: str
    time_s: int
    """When it was committed (Unix seconds): every time in a package is this one, or none."""

    @property
    def version(self) -> str:
        """What the commit says of itself."""
        found = VERSION_LINE.search((self.tree / VERSION_FILE).read_text())
        assert found is not None, f"{VERSION_FILE} has no version"
        return found[1]


def unpack(repository: Path, folder: Path, revision: str = "HEAD") -> Source:
    """Put the files of a commit into ``folder``, which is made; return them."""
    commit = git(repository, "rev-parse", f"{revision}^{{commit}}")
    packed = subprocess.run(  # noqa: S603 - git, with a commit's id
        ["git", "archive", "--format=tar", commit],  # noqa: S607 - the one on the path
        cwd=repository,
        capture_output=True,
        check=True,
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.extractall(folder, filter="data")
    return Source(folder, commit, int(git(repository, "show", "-s", "--format=%ct", commit)))
