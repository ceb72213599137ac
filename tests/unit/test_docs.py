"""What README and docs say of the program is what the program does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import collective
from collective.cli.app import run
from collective.core.errors import ExitCode
from collective.core.settings import load_settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
README = (ROOT / "README.md").read_text()
SYSTEMD = ROOT / "docs" / "systemd"


def test_the_table_of_exit_codes_has_each_of_them_and_the_readme_links_it() -> None:
    section = OPERATIONS.split("## Exit codes")[1].split("\n## ")[0]
    told = [int(number) for number in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)]
    assert told == [*sorted(ExitCode), 130]
    assert "docs/operations.md#exit-codes" in README


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"collective {collective.__version__}\n"


@pytest.mark.parametrize("name", ["coordinator", "node"])
def test_the_settings_files_of_the_units_are_settings(name: str) -> None:
    path = str(SYSTEMD / f"{name}.toml")
    settings = load_settings(
        (), {}, {"COLLECTIVE_CONFIG": path}, lambda file: Path(file).read_bytes()
    )
    assert settings.roles == {name}


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / "collective@coordinator.service"
    text = (SYSTEMD / "collective@.service").read_text()
    assert "ExecStart=/usr/local/bin/collective serve " in text
    unit.write_text(text.replace("/usr/local/bin/collective", shutil.which("true") or "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not said, said
    assert done.returncode == 0, done.stderr
