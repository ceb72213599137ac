"""What README and docs say of the program is what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import collective
from collective.cli.app import GROUPS, run
from collective.core.errors import ExitCode

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]


def test_the_table_of_exit_codes_has_each_of_them_and_the_readme_links_it() -> None:
    section = OPERATIONS.split("## Exit codes")[1].split("\n## ")[0]
    told = [int(number) for number in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert told == [*sorted(ExitCode), 130]
    assert "docs/operations.md#exit-codes" in README


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"collective {collective.__version__}\n"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_commands_that_pages_name_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """In code; what ends with a number is a label of something that is signed."""
    named: set[tuple[str, ...]] = set()
    for page in PAGES:
        text = page.read_text()
        found = re.findall(r"`collective\s+([a-z]+)(?:\s+([a-z-]+))?[^`]*(?<! \d)`", text)
        for block in re.findall(r"```.*?```", text, re.DOTALL):
            found += re.findall(
                r"^(?:\w+\$ +)?collective ([a-z]+)(?: ([a-z-]+))?", block, re.MULTILINE
            )
        named |= {(one, sub) if one in GROUPS and sub else (one,) for one, sub in found}
    assert {("peer", "invite"), ("grant", "add"), ("cp",)} <= named
    for one in sorted(named):
        assert run([*one, "--help"]) == 0, one
    capsys.readouterr()
