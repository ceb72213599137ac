"""The Compose example and the engine of its tests; no engine is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.compose.engine import NoEngineError, compose_command


def tools(folder: Path, *names: str, has_plugin: bool) -> dict[str, str]:
    """Return an environment in which there are programs of ``names`` alone."""
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\nexit {0 if has_plugin else 1}\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("names", "has_plugin", "command"),
    [
        (["docker"], True, ["docker", "compose"]),
        (["docker", "docker-compose"], True, ["docker", "compose"]),
        (["docker", "docker-compose"], False, ["docker-compose"]),
    ],
)
def test_either_compose_will_do(
    names: list[str], has_plugin: bool, command: list[str], tmp_path: Path
) -> None:
    assert compose_command(tools(tmp_path, *names, has_plugin=has_plugin)) == command


@pytest.mark.parametrize("names", [[], ["docker"], ["docker-compose"]])
def test_without_either_the_tests_are_left_out(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(NoEngineError):
        compose_command(tools(tmp_path, *names, has_plugin=False))
