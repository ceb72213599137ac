"""A release is refused until everything is ready, and then leaves packages that anyone can make again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pytest
from cyclonedx.model.bom import Bom
from packaging.requirements import Requirement

from tests.integration.test_completion import completed
from tests.pages.blocks import blocks_of
from tests.release.repository import ENVIRONMENT, ROOT, commit, committed_tree, git

VERSION: Final = "9.8.7"
HERE: Final = f"{platform.machine()}:{sys.version_info[0]}.{sys.version_info[1]}"
"""The one target of these tests; ``test_every_target.py`` has all."""
PASSES: Final = "echo 1 >>ci-runs.log\n"
FAILS: Final = "echo mend me; exit 1\n"


def release(
    repository: Path, *arguments: str, umask: int = 0o022, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools.release", *arguments, "--target", HERE],
        cwd=repository,
        env=ENVIRONMENT | variables,
        capture_output=True,
        check=False,
        text=True,
        umask=umask,
    )


@dataclass(frozen=True, slots=True)
class Released:
    repository: Path
    packages: dict[str, Path]
    """By name, the version left out."""


def packages_in(folder: Path) -> dict[str, Path]:
    return {path.name.replace(VERSION, "VERSION"): path for path in folder.iterdir()}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    """What the script made of the tree that is tested."""
    repository = committed_tree(tmp_path_factory.mktemp("release") / "tree", ci=PASSES)
    ignored = repository / ".gitignore"
    ignored.write_text(ignored.read_text() + "ci-runs.log\n")
    commit(repository, "CI leaves a log")
    output = tmp_path_factory.mktemp("released")
    done = release(repository, "cut", VERSION, "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert (repository / "ci-runs.log").read_text() == "1\n"
    return Released(repository, packages_in(output))


# --- the release ---------------------------------------------------------------------------------


def test_a_release_sets_the_version_dates_the_changelog_and_tags(released: Released) -> None:
    repository = released.repository
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "rev-parse", f"v{VERSION}^{{commit}}") == git(
        repository, "rev-parse", "main"
    )
    assert git(repository, "cat-file", "-t", f"v{VERSION}") == "tag"
    assert f'__version__ = "{VERSION}"' in (repository / "collective/__init__.py").read_text()
    for name in ("compose/docker-compose.yml", "docs/compose.md"):
        assert set(re.findall(r"collective:(\d[\w.]*)", (repository / name).read_text())) == {
            VERSION
        }
    changelog = (repository / "CHANGELOG.md").read_text()
    assert re.search(rf"^## {VERSION}, \d{{4}}-\d\d-\d\d", changelog, re.MULTILINE)
    assert git(repository, "diff", "--name-only", "HEAD~").split() == [
        "CHANGELOG.md",
        "collective/__init__.py",
        "compose/docker-compose.yml",
        "docs/compose.md",
    ]
    assert git(repository, "worktree", "list").count("\n") == 0


def test_two_builds_of_one_commit_are_the_same_bytes(released: Released, tmp_path: Path) -> None:
    """In another folder, with another umask, time zone and hash seed."""
    clone = tmp_path / "a clone elsewhere"
    git(tmp_path, "clone", "--quiet", str(released.repository), str(clone))
    output = tmp_path / "again"
    done = release(
        clone, "build", "--output", str(output), umask=0o077, TZ="Asia/Tokyo", PYTHONHASHSEED="7"
    )
    assert done.returncode == 0, done.stderr
    again = packages_in(output)
    assert set(again) == set(released.packages)
    different = [
        name
        for name, path in released.packages.items()
        if path.read_bytes() != again[name].read_bytes()
    ]
    assert different == []


def test_the_checksums_are_of_all_files(released: Released) -> None:
    sums = released.packages["SHA256SUMS"]
    told = dict(line.split()[::-1] for line in sums.read_text().splitlines())
    assert set(told) == {path.name for path in released.packages.values()} - {sums.name}
    for name, digest in told.items():
        assert hashlib.sha256((sums.parent / name).read_bytes()).hexdigest() == digest


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which CI fails."""
    return committed_tree(tmp_path_factory.mktemp("refusing") / "tree", ci=FAILS)


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("0.0.1", "not newer than"),
        ("one", "is no version"),
        ("1.2.3+local", "not in its plain form"),
        ("7.0.0", "is there already"),
        ("9.0.0", "failed; mend what it says first"),
    ],
)
def test_a_release_is_refused(refusing: Path, version: str, said: str, tmp_path: Path) -> None:
    git(refusing, "tag", "--force", "v7.0.0")
    before = git(refusing, "rev-parse", "HEAD")
    done = release(refusing, "cut", version, "--output", str(tmp_path / "out"))
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tmp_path / "out").exists()
    assert git(refusing, "rev-parse", "HEAD") == before
    assert git(refusing, "tag") == "v7.0.0"


def test_a_tree_that_is_not_clean_is_refused(refusing: Path, tmp_path: Path) -> None:
    stray = refusing / "stray.txt"
    stray.write_text("not committed")
    try:
        done = release(refusing, "cut", "9.0.0", "--output", str(tmp_path / "out"))
    finally:
        stray.unlink()
    assert done.returncode == 1
    assert "The tree is not clean" in done.stderr
    assert "stray.txt" in done.stderr


def test_a_changelog_that_says_nothing_new_is_refused(tmp_path: Path) -> None:
    repository = committed_tree(tmp_path / "tree", ci=PASSES)
    (repository / "CHANGELOG.md").write_text("# Changelog\n")
    commit(repository, "nothing new")
    done = release(repository, "cut", "9.0.0", "--output", str(tmp_path / "out"))
    assert (done.returncode, "## Unreleased" in done.stderr) == (1, True)


def test_a_tree_that_ci_passed_is_not_run_again(tmp_path: Path) -> None:
    """As ``.ci/run`` notes it: its last lines, on a CI that does nothing else."""
    script = (ROOT / ".ci" / "run").read_text()
    note = script[script.index('# "make release" takes') : script.index('say "done"')]
    ci = f"set -euo pipefail\ntree=$(git rev-parse 'HEAD^{{tree}}')\n{note}"
    repository = committed_tree(tmp_path / "tree", ci=ci)
    subprocess.run(["bash", ".ci/run"], cwd=repository, env=ENVIRONMENT, check=True)
    passed = git(repository, "rev-parse", "HEAD^{tree}")
    assert (repository / ".git" / "ci-passed").read_text() == f"{passed}\n"
    code = "from pathlib import Path; from tools.release.cutting import _require_ci; _require_ci(Path.cwd())"
    asked = [sys.executable, "-c", code]
    told = subprocess.run(
        asked, cwd=repository, env=ENVIRONMENT, capture_output=True, check=True, text=True
    )
    assert told.stdout == ""
    (repository / "more").write_text("a change")
    commit(repository, "another tree")
    told = subprocess.run(
        asked, cwd=repository, env=ENVIRONMENT, capture_output=True, check=True, text=True
    )
    assert "has not passed on this tree yet" in told.stdout


# --- the packages --------------------------------------------------------------------------------


def test_the_wheel_has_what_the_program_reads_and_nothing_of_the_tests(released: Released) -> None:
    with zipfile.ZipFile(released.packages["collective-VERSION-py3-none-any.whl"]) as wheel:
        names = set(wheel.namelist())
    for needed in (
        "catalog/sqlite/newest_schema.sql",
        "catalog/sqlite/schema/0001_first.sql",
        "rpc/gen/descriptors.binpb",
        "py.typed",
    ):
        assert f"collective/{needed}" in names
    assert {name.split("/")[0] for name in names} == {
        "collective",
        f"collective-{VERSION}.dist-info",
    }


def test_the_source_archive_gives_the_same_wheel(released: Released, tmp_path: Path) -> None:
    with tarfile.open(released.packages["collective-VERSION.tar.gz"]) as tar:
        tar.extractall(tmp_path, filter="data")
        time_s = tar.getmembers()[0].mtime
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=tmp_path / f"collective-{VERSION}",
        env=os.environ | {"SOURCE_DATE_EPOCH": str(int(time_s))},
        check=True,
        capture_output=True,
    )
    name = f"collective-{VERSION}-py3-none-any.whl"
    wheel = released.packages["collective-VERSION-py3-none-any.whl"]
    assert (tmp_path / name).read_bytes() == wheel.read_bytes()


@pytest.fixture(scope="module")
def program(released: Released, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The one-file package under the name of the command, beside a Python and nothing else."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "collective").hardlink_to(
        released.packages[f"collective-VERSION-linux-{platform.machine()}"]
    )
    (folder / "python3").symlink_to(base_python())
    return folder / "collective"


def base_python() -> str:
    return str(Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info[1]}")


def bare(program: Path, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the package with an empty home, and a path that has its own folder alone."""
    return subprocess.run(
        [str(program), *arguments],
        env={"HOME": str(home), "PATH": str(program.parent)},
        capture_output=True,
        check=False,
        text=True,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_one_file_runs_on_a_bare_python(program: Path, home: Path) -> None:
    assert bare(program, home, "--version").stdout == f"collective {VERSION}\n"
    done = bare(program, home, "identity", "init", "--global-id", "mia@friends.example")
    assert done.returncode == 0, done.stderr
    assert "mia@friends.example" in bare(program, home, "identity", "show").stdout


def test_one_file_completes_in_bash(program: Path, home: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(bare(program, home, "completion", "bash").stdout)
    variables = {"HOME": str(home), "PATH": f"{program.parent}:{os.environ['PATH']}"}
    assert completed("bash", "collective node appr", script, variables).split() == ["approve"]


def test_a_unit_for_one_file_calls_it_and_gives_it_room_to_unpack(
    program: Path, home: Path
) -> None:
    done = bare(program, home, "systemd", "install", "--role", "node", "--print")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert f"ExecStart={program} serve --config /etc/collective/node.toml" in lines
    assert "CacheDirectory=collective/node" in lines
    assert "Environment=PEX_ROOT=%C/collective/node" in lines


def test_the_page_is_followed(released: Released, program: Path, tmp_path: Path) -> None:
    """All of packages.md but going back, which ``test_upgrade.py`` of the catalogue does."""
    files, home = tmp_path / "files", tmp_path / "home"
    files.mkdir()
    for path in released.packages.values():
        (files / path.name).symlink_to(path)
    for folder in ("bin", "share", ".local/share"):
        (home / folder).mkdir(parents=True)
    blocks = [
        one
        for one in blocks_of(ROOT / "docs" / "packages.md")
        if one.is_commands and one.reason is None and "DATA_DIR" not in one.text
    ]
    assert len(blocks) == 4
    script = "".join(one.text for one in blocks).replace("VERSION", VERSION)
    script = script.replace("sudo ", "").replace("/usr/local", str(home))
    script = script.replace("linux-x86_64", f"linux-{platform.machine()}")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=files,
        env={"HOME": str(home), "PATH": f"{home}/bin:{program.parent}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(": OK\n") == len(released.packages) - 1
    assert f"collective {VERSION}\n" in done.stdout
    for root in (home / ".local", home):
        assert (root / "share/man/man1/collective-put.1").is_file()
        assert (root / "share/bash-completion/completions/collective").is_file()


def test_pages_and_completions_lie_where_a_prefix_has_them(released: Released) -> None:
    with tarfile.open(released.packages["collective-VERSION-share.tar.gz"]) as tar:
        names = tar.getnames()
        page = tar.extractfile("share/man/man1/collective-put.1")
        assert page is not None
        assert f"collective {VERSION}".encode() in page.read()
    assert {name for name in names if not name.startswith("share/man/man1/collective")} == {
        "share/bash-completion/completions/collective",
        "share/zsh/site-functions/_collective",
        "share/fish/vendor_completions.d/collective.fish",
    }


def test_the_bill_of_materials_has_what_is_in_the_one_file(released: Released) -> None:
    text = released.packages["collective-VERSION.cdx.json"].read_text()
    parse: Any = getattr(Bom, "from_json")  # noqa: B009 - made by a decorator that hides it
    bom: Bom = parse(json.loads(text))
    told = {one.name: one for one in bom.components}
    assert {name: one.version for name, one in told.items()} == locked()
    assert bom.metadata.component is not None
    assert bom.metadata.component.version == VERSION
    with zipfile.ZipFile(
        released.packages[f"collective-VERSION-linux-{platform.machine()}"]
    ) as packed:
        deps = [name.split("/")[1] for name in packed.namelist() if name.startswith(".deps/")]
    files = {file.name: file for one in told.values() for file in one.components}
    own = {file.name for file in bom.metadata.component.components}
    assert {one for one in deps if one} == set(files) | own
    assert all(one.licenses for one in told.values())
    reached = reachable(bom, bom.metadata.component.bom_ref.value or "")
    assert {one.bom_ref.value for one in told.values()} <= reached


def locked() -> dict[str, str]:
    """Return what the lock has for here."""
    found = {}
    for line in (ROOT / "requirements-run.lock").read_text().splitlines():
        if not line.startswith(" "):
            wanted = Requirement(line.removesuffix("\\").strip())
            if wanted.marker is None or wanted.marker.evaluate():
                found[wanted.name] = str(next(iter(wanted.specifier)).version)
    return found


def reachable(bom: Bom, start: str) -> set[str]:
    below = {
        one.ref.value: [other.ref.value or "" for other in one.dependencies]
        for one in bom.dependencies
    }
    seen, left = set[str](), [start]
    while left:
        one = left.pop()
        if one not in seen:
            seen.add(one)
            left += below[one]
    return seen


def test_the_lock_of_users_pins_what_the_development_lock_pins() -> None:
    for name, version in locked().items():
        assert metadata.version(name) == version
