"""The manual says of every command what its help says."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from collective.cli.app import COMMANDS, GROUPS, build, run
from collective.cli.man_pages import _EXIT_CODES, _text, pages, title
from collective.core.errors import ExitCode


@pytest.fixture(scope="module")
def manual() -> Mapping[str, str]:
    return pages(typer.main.get_command(build()))


def plain(page: str) -> str:
    """Return a page's words without roff."""
    text = re.sub(r"^\.(BR?|TP|SH|PP|TH) ?", "", page, flags=re.MULTILINE)
    return re.sub(r"\s+", " ", text.replace("\\-", "-").replace("\\(dq", '"').replace("\\&", ""))


def test_every_command_and_group_has_a_page(manual: Mapping[str, str]) -> None:
    assert {title([name]) for name in COMMANDS} | {"collective"} <= set(manual)
    for group in GROUPS:
        assert any(name.startswith(f"{title([group])}-") for name in manual), group


@pytest.mark.parametrize("words", [["put"], ["serve"], ["invite", "generate"], ["peer"]])
def test_a_page_has_all_that_help_says(
    words: list[str], manual: Mapping[str, str], capsys: Any
) -> None:
    assert run([*words, "--help"]) == ExitCode.DONE
    options = capsys.readouterr().out.split("Options:")[1].split("Commands:")[0]
    told = re.sub(r"\s+", " ", options).strip()
    page = plain(manual[title(words)])
    for sentence in told.split(" --")[1:]:
        assert re.sub(r"\s+", " ", sentence).split(" -")[0].strip() in page, sentence


def test_the_exit_codes_are_all_there() -> None:
    assert [code for code, _ in _EXIT_CODES] == sorted(ExitCode)


def test_nothing_in_a_page_is_taken_for_a_request(manual: Mapping[str, str]) -> None:
    allowed = re.compile(r"\.(TH|SH|TP|PP|B|BR|nh|ad)\b")
    for name, page in manual.items():
        for line in page.splitlines():
            assert not line.startswith("'"), (name, line)
            assert not line.startswith(".") or allowed.match(line), (name, line)


def test_words_of_help_are_no_requests_and_no_escapes() -> None:
    assert _text(".so /etc/passwd\n'x \\n -") == "\\&.so /etc/passwd\n\\&'x \\en \\-"


def test_groff_reads_every_page_without_a_warning(manual: Mapping[str, str]) -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("groff is not installed")
    done = subprocess.run(
        [groff, "-man", "-ww", "-z", "-Tutf8", "-"],
        input="".join(manual.values()).encode(),
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""


def test_pages_are_printed_and_written(tmp_path: Path, capsys: Any) -> None:
    assert run(["man", "node", "list"]) == ExitCode.DONE
    printed = capsys.readouterr().out
    assert printed.startswith('.TH "COLLECTIVE\\-NODE\\-LIST"')
    assert run(["man", "--output-dir", str(tmp_path)]) == ExitCode.DONE
    assert (tmp_path / "man1" / "collective-node-list.1").read_text() == printed
    assert len(capsys.readouterr().out.splitlines()) == len(list((tmp_path / "man1").iterdir()))
    assert run(["man", "no", "such"]) == ExitCode.NOT_FOUND
    assert "There is no command 'no such'" in capsys.readouterr().err
