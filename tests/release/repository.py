"""A repository of its own with the tree that is tested, changed files and all."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
_COMMITTER: Final = {
    f"GIT_{who}_{what}": told
    for who in ("AUTHOR", "COMMITTER")
    for what, told in (("NAME", "tests"), ("EMAIL", "tests@collective.example"))
}
ENVIRONMENT: Final = {
    **{key: value for key, value in os.environ.items() if not key.startswith("GIT_")},
    **_COMMITTER,
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(repository: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=repository,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def committed_tree(folder: Path, *, ci: str) -> Path:
    """Commit what is tested to a new repository, with ``ci`` for what CI does; skips without git.

    Something new is there to be released, also where the tree is a release itself.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip(f"not a git repository: {listed.stderr.decode().strip()}")
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / ".ci" / "run").write_text(ci)
    changelog = folder / "CHANGELOG.md"
    told = changelog.read_text()
    if "## Unreleased" not in told:
        changelog.write_text(told.replace("\n## ", "\n## Unreleased\n\n- Something new.\n\n## ", 1))
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder, "all of it")
    return folder


def commit(repository: Path, message: str) -> None:
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", message)
