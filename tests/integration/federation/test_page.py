"""docs/federation.md, followed to the letter: five commands from two members to a shared folder.

Only Bob's domain is another, a code is the one that was printed, and the operators' credentials stand for sudo.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.federation.houses import Houses, Person, running_houses

PAGE = (Path(__file__).parents[3] / "docs" / "federation.md").read_text()
PHOTO = b"a photo" * 100_000


@pytest.fixture(scope="module")
def houses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Houses]:
    with running_houses(tmp_path_factory.mktemp("houses"), "alice", "bob") as made:
        yield made


def lines() -> Iterator[tuple[str, list[str]]]:
    """Yield who types a command, and its words, of the three blocks at the page's beginning."""
    section = PAGE.split("## Two machines, one shared folder\n")[1].split("\n## ")[0]
    for block in re.findall(r"```text\n(.*?)```", section, re.DOTALL):
        for line in block.replace("garage.bob", "home.bob").splitlines():
            who, command = line.split("$", 1)
            words = shlex.split(command, comments=True)
            assert words[words[0] == "sudo"] == "collective"
            yield who, words


def test_five_commands_lead_two_members_to_a_shared_folder(houses: Houses) -> None:
    bob = Person(houses["bob"], "bob")
    home = Path(bob.environment["HOME"])
    (home / "photos").mkdir(parents=True)
    (home / "photos" / "cat.jpg").write_bytes(PHOTO)
    code = ""
    typed = list(lines())
    assert [words[1] for _, words in typed[2:7]][-1] == "put", "five after Bob has joined"
    for who, words in typed:
        meant = [_meant(word, code, home) for word in words if word not in {"sudo", "collective"}]
        if words[0] == "sudo":
            done = houses[who].cli(*meant)
        else:
            done = bob.cli(*meant, stdin=code.encode() if "-" in meant else b"")
        if {"invite"} & set(words):
            code = done.text.splitlines()[-1]
    assert houses["alice"].read("/shared/photos/cat.jpg") == PHOTO
    assert houses["bob"].read("/mine/cat.jpg") == PHOTO
    assert (home / "back" / "cat.jpg").read_bytes() == PHOTO


def _meant(word: str, code: str, home: Path) -> str:
    return code if word == "CODE" else word.replace("~", str(home))
