"""What cannot be undone is asked for on a terminal; a no does nothing, and scripts say --yes or do nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from collective.cli import app

NOWHERE = ("--coordinator", "127.0.0.1:1")
NOT_REACHABLE = 5


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Return the questions; the answer is no."""
    monkeypatch.setenv("COLLECTIVE_CONFIG_DIR", str(tmp_path))
    questions: list[str] = []

    def confirm(question: str, **_: object) -> bool:
        questions.append(question)
        return False

    monkeypatch.setattr("typer.confirm", confirm)
    return questions


def sit_at_a_terminal(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    for stream in ("stdin", "stderr"):
        monkeypatch.setattr(f"sys.{stream}.isatty", lambda: there)


@pytest.mark.parametrize(
    ("command", "question", "declined"),
    [
        (("pki", "rotate-ca", *NOWHERE), "replace the CA?", "Nothing was begun"),
        (("pki", "rotate-ca", "--finish", *NOWHERE), "End the old CA?", "Nothing was ended"),
        (
            ("pki", "rotate-ca", "--finish", "--force", *NOWHERE),
            "Whoever has not followed is shut out.",
            "Nothing was ended",
        ),
        (
            ("node", "adopt", "--all", *NOWHERE),
            "the newest there is?",
            "Nothing was adopted.",
        ),
        (
            ("node", "adopt", "--discard", *NOWHERE),
            "for good?",
            "Nothing was discarded.",
        ),
        (
            ("node", "remove", "nas", *NOWHERE),
            "Remove nas for good?",
            "Node nas was not removed.",
        ),
        (
            ("node", "remove", "nas", "--force", *NOWHERE),
            "What only it has is lost.",
            "Node nas was not removed.",
        ),
        (
            ("identity", "revoke", "eve@home.alice", *NOWHERE),
            "Shut eve@home.alice out for good?",
            "Nobody was shut out.",
        ),
        (("identity", "leave", "home"), "Forget home", "home was not left."),
        (
            ("peer", "remove", "home.bob", *NOWHERE),
            "End the peering with home.bob",
            "The peer stays.",
        ),
        (
            ("rm", "-r", "/media", *NOWHERE),
            "Remove /media with everything in it?",
            "/media was not removed.",
        ),
        (
            ("rm", "-r", "/@home.bob/media", *NOWHERE),
            "Remove /@home.bob/media with everything in it?",
            "/@home.bob/media was not removed.",
        ),
    ],
)
def test_what_cannot_be_undone_asks_first(
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: tuple[str, ...],
    question: str,
    declined: str,
) -> None:
    sit_at_a_terminal(monkeypatch, there=True)
    assert app.run(command) == 2
    (once,) = asked
    assert question in once
    assert declined in capsys.readouterr().err
    assert app.run([*command, "--yes"]) == NOT_REACHABLE
    sit_at_a_terminal(monkeypatch, there=False)
    capsys.readouterr()
    assert app.run(command) == 2
    told = capsys.readouterr().err
    assert told.startswith("Error: ")
    assert question in told
    assert told.endswith("if it is meant, give --yes.\n")
    assert app.run([*command, "--yes"]) == NOT_REACHABLE
    assert asked == [once]


@pytest.mark.parametrize(
    "command",
    [("rm", "-r", "/media/below"), ("rm", "/media"), ("rm", "-r", "/@home.bob/media/below")],
    ids=("a tree in a datastore", "an empty datastore", "a tree in a peer's datastore"),
)
def test_what_is_less_than_a_whole_datastore_goes_without_a_question(
    asked: list[str], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    sit_at_a_terminal(monkeypatch, there=True)
    assert app.run([*command, *NOWHERE]) == NOT_REACHABLE
    assert asked == []
