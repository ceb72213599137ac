"""The state of a member as people see it: what is read first, in any width, with colours or without."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from collective.cli.overview import RepairPace, duration, health, node_row, node_tones, overview
from collective.cli.status import show
from collective.cli.terminal import output
from collective.cli.terminal.style import Style, Tone, bar
from collective.model.status import ChunkHealth, Space, Status
from tests.values import a_node, a_status

LONG = (
    "Node attic has been away for three days; look at its machine, or: collective node remove attic"
)


def with_chunks(short: int, unavailable: int = 0, **given: object) -> Status:
    told = a_status(**given)
    return replace(
        told, totals=replace(told.totals, health=ChunkHealth(10, short, unavailable, ()))
    )


def test_what_is_read_first_says_whether_anybody_has_to_do_anything() -> None:
    assert health(with_chunks(0, nodes=(a_node(is_healthy=True),))).text == "all is well"
    away = health(
        with_chunks(2, nodes=(a_node(is_healthy=True), a_node(is_healthy=False)), warnings=(LONG,))
    )
    assert away.text == "2 chunks short of copies, 1 of 2 nodes not up, 1 warning below"
    assert away.tone is Tone.POOR
    lost = health(with_chunks(2, 1))
    assert lost.text.startswith("1 chunk unavailable, 2 chunks short")
    assert lost.tone is Tone.BAD


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
@pytest.mark.parametrize("has_colours", [False, True])
def test_an_overview_fits_its_terminal(columns: int, has_colours: bool) -> None:
    told = with_chunks(2, warnings=(LONG,), space=Space(10**12, 4 * 10**11))
    lines = Style(has_colours, columns).fields(overview(told))
    shown = [re.sub("\x1b\\[[0-9]*m", "", line) for line in lines]
    assert max(map(len, shown)) <= columns
    assert (shown != lines) == has_colours
    assert " ".join(" ".join(shown).split()).endswith(LONG), "nothing is cut off"


def test_on_a_pipe_each_line_stays_one_and_has_no_colour() -> None:
    [line] = [
        line
        for line in Style().fields(overview(a_status(warnings=(LONG,))))
        if line.startswith("Warning")
    ]
    assert line == f"Warning      {LONG}"


def test_words_from_outside_move_no_cursor() -> None:
    told = a_status(warnings=("\x1b[2Jgone \u202e",))
    assert Style(has_colours=True, columns=80).fields(overview(told))[-1] == (
        "Warning      \x1b[33m\\x1b[2Jgone \\u202e\x1b[0m"
    )


@pytest.mark.parametrize(
    ("environment", "no_color", "is_coloured"),
    [
        ({}, False, True),
        ({}, True, False),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, False, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    no_color: bool,
    is_coloured: bool,
) -> None:
    assert Style.of_stdout(environment, no_color=no_color) == Style(), "a pipe"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    style = Style.of_stdout(environment, no_color=no_color)
    assert style.has_colours == is_coloured
    assert style.columns


def test_a_table_with_colours_keeps_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = (a_node(is_healthy=True), a_node(is_healthy=False, used_bytes=96, capacity_bytes=100))
    told = a_status(nodes=nodes)
    show(told, Style())
    bare = capsys.readouterr().out
    show(told, Style(has_colours=True, columns=200))
    coloured = capsys.readouterr().out
    assert re.sub("\x1b\\[[0-9]*m", "", coloured) == bare
    assert node_tones(nodes) == {(0, 1): Tone.GOOD, (1, 1): Tone.BAD, (1, 5): Tone.BAD}
    assert node_row(nodes[1])[5] == "96%"
    assert max(map(len, output.table_lines(("A", "B"), [("x", "y " * 90)], 80))) <= 80


def test_how_long_a_repair_takes_is_told_by_its_pace() -> None:
    pace = RepairPace()
    assert pace.left_s() is None
    pace.note(0.0, 100)
    assert pace.left_s() is None, "one look shows no pace"
    pace.note(10.0, 80)
    assert pace.left_s() == 40.0
    told = Style().fields(overview(with_chunks(80), pace))
    assert "Repair       at the pace seen here, done in about 40 s" in told
    pace.note(20.0, 500)
    assert pace.left_s() is None, "another node went: begun anew"
    pace.note(30.0, 0)
    assert pace.left_s() is None
    assert not any(line.startswith("Repair") for line in Style().fields(overview(with_chunks(0))))


def test_times_and_bars_are_short() -> None:
    assert [duration(one) for one in (0.4, 61, 3 * 3600 + 12 * 60, 90_000)] == [
        "0 s",
        "1 min 1 s",
        "3 h 12 min",
        "1 d 1 h",
    ]
    assert bar(0.5, 4) == "[##  ]"
    assert (bar(-1, 4), bar(7, 4)) == ("[    ]", "[####]")
