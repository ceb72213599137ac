"""A release: checks first, then one commit that sets the version, the packages of it, and its tag.

The commit is made in a worktree of its own, and the branch is moved to it only when every package is there:
a release that fails leaves repository and branch as they were.  Nothing is pushed.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from packaging.version import InvalidVersion, Version

from tools.release.building import CHECKSUMS
from tools.release.source import VERSION_FILE, VERSION_LINE, git
from tools.release.targets import Target

CHANGELOG: Final = "CHANGELOG.md"
IMAGE_FILES: Final = ("compose/docker-compose.yml", "docs/compose.md")
"""Name the image of the Compose example, which has the version's number."""
CI: Final = ".ci/run"
PASSED: Final = "ci-passed"
"""In the git directory: the trees that CI passed, an id each line; ``.ci/run`` adds to it."""
_IMAGE: Final = re.compile(r"\bcollective:\d+(?:\.\w+)*")
_UNRELEASED: Final = re.compile(r"^## Unreleased(?=:|$)", re.MULTILINE)


class NotReadyError(Exception):
    """Something is missing for a release; the message says what to do."""


def cut(repository: Path, version: str, output: Path, targets: Sequence[Target]) -> list[Path]:
    """Make the release ``version`` of HEAD; return its packages, which are in ``output``.

    Raises NotReadyError, with nothing changed, where the tree, the version, the changelog or CI stand
    against it, or the packages are not what they should be.
    """
    _require_clean(repository)
    tag = _require_new(repository, version)
    if not _UNRELEASED.search((repository / CHANGELOG).read_text()):
        raise NotReadyError(f"{CHANGELOG} has no heading '## Unreleased'; say what is new there.")
    _require_ci(repository)
    with _worktree(repository) as tree:
        commit = _commit(tree, version)
        made = _build(tree, output, targets)
    _check(made, version)
    git(repository, "merge", "--quiet", "--ff-only", commit)
    git(repository, "tag", "--annotate", tag, "--message", f"collective {version}", commit)
    return made


def _require_clean(repository: Path) -> None:
    changed = git(repository, "status", "--porcelain")
    if changed:
        raise NotReadyError(f"The tree is not clean; commit or remove:\n{changed}")


def _require_new(repository: Path, version: str) -> str:
    """Return the tag of a version that is of the right form, and newer than what there is."""
    found = VERSION_LINE.search((repository / VERSION_FILE).read_text())
    assert found is not None, f"{VERSION_FILE} has no version"
    try:
        wanted = Version(version)
    except InvalidVersion as error:
        raise NotReadyError(f"{version!r} is no version; give one like 0.2.0.") from error
    if str(wanted) != version or wanted.local or wanted <= Version(found[1]):
        raise NotReadyError(f"{version} is not newer than {found[1]}, or not in its plain form.")
    tag = f"v{version}"
    if git(repository, "tag", "--list", tag):
        raise NotReadyError(f"The tag {tag} is there already; choose the next version.")
    return tag


def _require_ci(repository: Path) -> None:
    """Take the word of an earlier run on the very same tree, else run it now."""
    tree = git(repository, "rev-parse", "HEAD^{tree}")
    record = repository / git(repository, "rev-parse", "--git-common-dir") / PASSED
    if record.exists() and tree in record.read_text().split():
        return
    sys.stdout.write(f"{CI} has not passed on this tree yet; it runs now.\n")
    sys.stdout.flush()
    if subprocess.run(["bash", CI], cwd=repository, check=False).returncode:  # noqa: S603, S607 - the repository's own
        raise NotReadyError(f"{CI} failed; mend what it says first.")
    _require_clean(repository)


@contextmanager
def _worktree(repository: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git(repository, "worktree", "add", "--quiet", "--detach", str(tree), "HEAD")
        try:
            yield tree
        finally:
            git(repository, "worktree", "remove", "--force", str(tree))


def _commit(tree: Path, version: str) -> str:
    """Set the version, that of the image too, and date the changelog; return the commit."""
    source = tree / VERSION_FILE
    source.write_text(VERSION_LINE.sub(f'__version__ = "{version}"', source.read_text()))
    for name in IMAGE_FILES:
        text, count = _IMAGE.subn(f"collective:{version}", (tree / name).read_text())
        if not count:
            raise NotReadyError(f"{name} does not name the image collective:VERSION any more.")
        (tree / name).write_text(text)
    changelog = tree / CHANGELOG
    heading = f"## {version}, {datetime.now(UTC):%Y-%m-%d}"
    changelog.write_text(_UNRELEASED.sub(heading, changelog.read_text(), count=1))
    git(tree, "commit", "--quiet", "--all", "--message", f"release: {version}")
    return git(tree, "rev-parse", "HEAD")


def _build(tree: Path, output: Path, targets: Sequence[Target]) -> list[Path]:
    """Make the packages with the code of the commit itself."""
    wanted = [part for one in targets for part in ("--target", f"{one.processor}:{one.version}")]
    subprocess.run(  # noqa: S603 - our own interpreter
        [
            sys.executable,
            "-m",
            "tools.release",
            "build",
            "--output",
            str(output.absolute()),
            *wanted,
        ],
        cwd=tree,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    lines = (output / CHECKSUMS).read_text().splitlines()
    return [*(output / line.split(maxsplit=1)[1] for line in lines), output / CHECKSUMS]


def _check(made: Sequence[Path], version: str) -> None:
    """Start the one-file package of this machine: what is released must say its version."""
    for path in made:
        if path.name == f"collective-{version}-linux-{platform.machine()}":
            done = subprocess.run(  # noqa: S603 - what was just built
                [str(path), "--version"], capture_output=True, check=False, text=True
            )
            if done.stdout != f"collective {version}\n":
                raise NotReadyError(f"{path.name} does not start:\n{done.stdout}{done.stderr}")
