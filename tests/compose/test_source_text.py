"""Every command of the source text, read from it, typed on the host of the containers in the text's order."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable
from itertools import groupby
from typing import Final

import pytest

from collective.core.settings import load_settings, unknown_variables
from tests.compose.engine import LAB
from tests.compose.person import MOVIE, Person
from tests.compose.source_text import Command, commands, settings

pytestmark = [pytest.mark.compose, pytest.mark.slow, pytest.mark.timeout(1800)]

LEFT_OUT: Final = {
    "cd ../../": "the command is not built in a folder above; ./bin/collective is in the person's folder",
    "go build -o bin/collective ./cmd/collective/": "the product is a Python package",
    "open http://localhost:9090": "there is no desktop; Prometheus is asked by its API instead",
}
"""What does not run, and why.  Where only docker-compose 1.29 is to be had, ``docker compose`` is that."""
PLACEHOLDERS: Final = re.compile(r"\b(YOUR_INVITE_CODE|BOB_INVITE_CODE|INVITE_CODE)\b")
"""Stand for the code that the last ``invite generate`` printed."""
ENDLESS: Final = {"docker compose logs -f": 15}
"""What shows until it is interrupted, and after how many seconds it is."""
CODES: Final = {"docker exec alice-coordinator tar -czf": (0, 1)}
"""Exit codes beside 0: tar says 1 of a file that changed while it was read."""
BEFORE: Final = {"Storage Distribution": "./bin/collective identity switch alice-homelab"}
"""What a reader has to do between two sections: the one before it leaves Bob's collective the current one."""

COMMANDS: Final = commands()
SECTIONS: Final = [
    (name, list(those)) for name, those in groupby(COMMANDS, lambda one: one.heading)
]


def test_every_exception_is_of_the_text() -> None:
    texts = {one.text for one in COMMANDS}
    assert set(LEFT_OUT) | set(ENDLESS) <= texts
    assert set(BEFORE) <= {name for name, _ in SECTIONS}
    assert len(COMMANDS) > 60


def test_the_settings_of_the_text_are_settings() -> None:
    variables = dict(line.split("=", 1) for line in settings())
    assert unknown_variables(variables) == ()
    made = load_settings(["coordinator"], {}, variables, lambda _: b"")
    assert (made.member_id, made.cert_dir) == ("alice", "/collective/certs")


@pytest.mark.parametrize("number", range(len(SECTIONS)), ids=[name for name, _ in SECTIONS])
def test_commands_of(number: int, person: Person) -> None:
    heading, those = SECTIONS[number]
    if heading in BEFORE:
        person.types(BEFORE[heading])
    for command in those:
        run(person, command)
    if heading in AFTER:
        AFTER[heading](person)
    report(person)


def run(person: Person, command: Command) -> None:
    if command.text in LEFT_OUT:
        return
    if command.is_query:
        answer = ask(person, command.text)
        assert answer, f"{command.text} is empty"
        return
    text = command.text
    if PLACEHOLDERS.search(text):
        text = PLACEHOLDERS.sub(last_code(person), text)
    if text in ENDLESS:
        person.types(f"timeout {ENDLESS[text]} {text}", codes=(124,))
        return
    codes = next((codes for begin, codes in CODES.items() if text.startswith(begin)), (0,))
    person.types(text, codes=codes, timeout_s=1200)


def last_code(person: Person) -> str:
    done = next(
        done for text, done in reversed(person.printed) if "collective invite generate" in text
    )
    code = done.out.split()[-1]
    assert len(code) > 40
    return code


def ask(person: Person, query: str) -> list[object]:
    """Return what Prometheus answers, once it has scraped what is asked for."""
    url = "http://localhost:9090/api/v1/query?query=" + urllib.parse.quote(query)

    def look() -> list[object] | None:
        found = json.loads(person.types(f"curl -s '{url}'").out)
        assert found["status"] == "success"
        return list(found["data"]["result"]) or None

    return person.waits(look, f"answer to {query}")


# --- what must be true after a section ------------------------------------------------------------------


def after_start(person: Person) -> None:
    person.waits_healthy()


def after_files(person: Person) -> None:
    assert (
        person.types("./bin/collective read /shared/README.txt").out
        == "Welcome to the collective!\n"
    )
    movie = person.types(
        "./bin/collective read /shared/media/movie.mp4 | cmp - ~/Downloads/movie.mp4"
    )
    assert movie.out == ""
    assert len(MOVIE) > 8 << 20, "several chunks"


def after_scaling(person: Person) -> None:
    five = {f"alice-node-0{n}" for n in range(1, 6)}

    def all_five() -> bool:
        return set(person.nodes("alice")) == five

    person.waits(all_five, "five nodes")
    standing = person.nodes("alice")
    assert sorted(standing.values()) == ["approved"] * 3 + ["probation"] * 2
    new = sorted(node for node, how in standing.items() if how == "probation")
    shown = person.types(f"./bin/collective status {person.operator('alice')}").out
    assert f"collective node approve {new[0]}" in shown, shown
    person.types(f"./bin/collective node approve {' '.join(new)} {person.operator('alice')}")
    person.types("docker compose up -d --scale alice-node=3")
    person.waits(lambda: len(person.nodes("alice")) == 3, "three nodes")
    person.types("docker compose up -d --scale alice-node=5 --force-recreate", timeout_s=900)
    person.waits(all_five, "the same five nodes")
    assert set(person.nodes("alice").values()) == {"approved"}
    assert len(person.status("alice")["local_nodes"]) == 5, "nobody enrolled anew"
    person.types("./bin/collective read /shared/README.txt")


def after_restore(person: Person) -> None:
    person.types("docker restart alice-coordinator")
    person.waits(lambda: person.status("alice"), "a restored coordinator")
    assert (
        person.types("./bin/collective read /shared/README.txt").out
        == "Welcome to the collective!\n"
    )
    options = person.operator("alice")
    shown = person.types(f"./bin/collective status {options}").out
    assert "collective node adopt" in shown, shown
    person.types(f"./bin/collective node adopt --all --yes {options}")
    person.waits(
        lambda: (
            person.types("echo more | ./bin/collective write /shared/more.txt", codes=(0, 6)).code
            == 0
        ),
        "a write",
    )
    person.types("./bin/collective read /shared/media/movie.mp4 | cmp - ~/Downloads/movie.mp4")


def after_reset(person: Person) -> None:
    person.waits_healthy()
    assert person.status("alice")["files"]["total"] == 0, "a member that is new"


AFTER: Final[dict[str, Callable[[Person], None]]] = {
    "1. Start the Federation": after_start,
    "3. Work with Files": after_files,
    "Scaling Storage Nodes": after_scaling,
    "Backup and Recovery": after_restore,
    "Reset Everything": after_reset,
}


def report(person: Person) -> None:
    """Keep what each command printed, for people."""
    lines = []
    for text, done in person.printed:
        shown = (done.out + done.err).rstrip()
        short = shown if len(shown) < 1500 else shown[:1500] + "\n…"
        lines.append(f"$ {text}\n[{done.code}]\n{short}\n")
    (LAB / "printed.txt").write_text("\n".join(lines))
