"""A member of an early version and one of this version: they peer, and reach each other's files.

Who invites may be of the first commit that reads bundles with fields of a later version (those before it refuse
every bundle that is not exactly as theirs; ``STRICT``, the first with federation, stands for them), and who
accepts of the first that reads codes which say whom they admit.
"""

from __future__ import annotations

import random
import subprocess
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import pytest

from tests.lab.houses import PEOPLE, Lab, running_lab, running_strangers
from tests.lab.network import why_not

pytestmark = pytest.mark.slow

STRICT: Final = "83965da8dd3acf8df926aee4ee3f83cd9ba2a924"
EARLY: Final = {
    "alice": "0b34269de280d4ae9e02fffddf663e236da0d2a9",
    "bob": "33ef186d0f39a8cbacdc97dd723a5df48eb4ba04",
}
HERE: Final = Path(__file__).parents[2]
CONTENT: Final = random.Random(7).randbytes(5 * 1024 * 1024 + 3)
MEMBERS: Final = ("alice", "bob")


def checkout(commit: str, folder: Path) -> Path:
    """Put the files of a commit into ``folder``; skips where the history does not reach so far."""
    if reason := why_not():
        pytest.skip(f"hosts of their own for members: {reason}")
    done = subprocess.run(["git", "archive", commit], cwd=HERE, capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"the history does not reach to {commit}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="tar")
    return folder


@pytest.fixture(scope="module", params=MEMBERS)
def lab(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Alice invited bob; one of them is of an early version."""
    early = EARLY[request.param]
    code = {MEMBERS.index(request.param): checkout(early, tmp_path_factory.mktemp("early"))}
    with running_lab(tmp_path_factory.mktemp("skew"), members=MEMBERS, code=code) as made:
        yield made


both_ways = pytest.mark.parametrize(("here", "there"), [MEMBERS, MEMBERS[::-1]])


@both_ways
def test_each_sees_the_other(lab: Lab, here: str, there: str) -> None:
    status = lab.people[here].cli("status", "--json").json()
    assert [(one["domain"], one["is_healthy"]) for one in status["peers"]] == [
        (f"home.{there}", True)
    ]


@both_ways
def test_files_of_the_other_are_read_and_written(lab: Lab, here: str, there: str) -> None:
    person, path = lab.people[here], f"/@home.{there}/shared/by-{PEOPLE[here]}"
    person.cli("write", path, stdin=CONTENT)
    assert person.cli("read", path).out == CONTENT
    assert lab.people[there].cli("read", f"/shared/by-{PEOPLE[here]}").out == CONTENT
    assert f"by-{PEOPLE[here]}" in person.cli("ls", f"/@home.{there}/shared").text.split()
    assert person.cli("stat", path, "--json").json()["size"] == len(CONTENT)
    assert person.cli("read", f"/@home.{there}/shared/absent", check=False).code == 3
    assert person.cli("read", f"/@home.{there}/elsewhere", check=False).code == 4


@both_ways
def test_files_are_copied_to_and_from_the_other(lab: Lab, here: str, there: str) -> None:
    person, name = lab.people[here], f"copied-by-{PEOPLE[here]}"
    person.cli("write", f"/shared/{name}", stdin=CONTENT)
    person.cli("cp", f"/shared/{name}", f"/@home.{there}/shared/{name}")
    assert lab.people[there].cli("read", f"/shared/{name}").out == CONTENT
    person.cli("cp", f"/@home.{there}/shared/{name}", f"/shared/{name}-back")
    assert person.cli("read", f"/shared/{name}-back").out == CONTENT


@pytest.mark.parametrize("strict", MEMBERS)
def test_a_version_that_cannot_read_the_others_code_or_bundle_says_so(
    strict: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    code = {MEMBERS.index(strict): checkout(STRICT, tmp_path_factory.mktemp("strict"))}
    with running_strangers(tmp_path_factory.mktemp("skew"), members=MEMBERS, code=code) as lab:
        alice, bob = (lab.houses[name] for name in MEMBERS)
        invite = alice.cli("peer", "invite", "home.bob").text.splitlines()[-1]
        refused = bob.cli("peer", "accept", invite, "--yes", check=False)
        assert refused.code not in (0, 1)
        assert "update collective" in refused.err
