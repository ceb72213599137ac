"""The pages for operators and their friends, followed to the letter, one after the other on one machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pages.blocks import ROOT, blocks_of
from tests.pages.terminals import Home, home

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The machine of somebody who has followed the first hour, and of their friend."""
    with home(tmp_path_factory.mktemp("reader")) as made:
        made.follow(blocks_of(DOCS / "start" / "first-hour.md"))
        made.follow(blocks_of(DOCS / "start" / "friend.md"))
        yield made


def follow(reader: Home, name: str) -> str:
    return reader.follow(blocks_of(DOCS / "how-to" / f"{name}.md"))


def test_the_first_hour_and_the_ten_minutes_lead_to_a_member_and_a_friend_in_it(
    reader: Home,
) -> None:
    assert "Joined alice-homelab (home.alice) as mia@friends.net." in reader.said
    assert "exit code 4" in reader.said
    photo = "2026/cat.jpg"
    brought = (reader.folder / "photos-from-alice" / photo).read_bytes()
    assert brought == (reader.folder / "alice" / "photos" / photo).read_bytes()
    assert (reader.folder / "alice" / "alice-certs-backup.tar.gz").stat().st_size > 0


def test_a_disk_is_added(reader: Home) -> None:
    assert "alice-node-04" in follow(reader, "add-a-disk")


def test_a_node_is_drained(reader: Home) -> None:
    follow(reader, "drain")
    assert not (reader.folder / "alice" / "node1").exists()


def test_a_node_is_replaced(reader: Home) -> None:
    assert " 0 short of copies" in follow(reader, "replace-a-node")


def test_a_coordinator_is_restored_from_its_backup(reader: Home) -> None:
    listed = follow(reader, "restore").splitlines()[-8:]
    assert any("before.txt" in line for line in listed), listed
    assert not any("after.txt" in line for line in listed), listed


def test_a_member_is_watched(reader: Home) -> None:
    said = follow(reader, "monitoring")
    assert said.startswith("alive\nready\n")
    assert 'collective_cluster_health{member="alice"} ' in said


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_prometheus_takes_the_configuration_and_the_alerts(tmp_path: Path) -> None:
    blocks = [one for one in blocks_of(DOCS / "how-to" / "monitoring.md") if one.language == "yaml"]
    settings, rules = (one.text for one in blocks)
    for what, text in (("config", settings), ("rules", rules)):
        path = tmp_path / f"{what}.yml"
        path.write_text(text)
        done = subprocess.run(
            ["promtool", "check", what, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_asks_for_a_metric_that_there_is_and_says_what_to_do() -> None:
    from tools.docs.metrics import of_a_coordinator, of_every_process  # noqa: PLC0415 - heavy

    text = (DOCS / "how-to" / "monitoring.md").read_text()
    known = {one.name for one in (*of_every_process(), *of_a_coordinator())}
    asked = set(re.findall(r"\bcollective_\w+", text))
    assert len(asked) > 5
    assert asked <= known
    assert text.count("- alert: ") == text.count("          action: ") == text.count("expr: ")


def test_a_coordinator_says_where_it_is(reader: Home) -> None:
    follow(reader, "vpn-and-nat")


def test_a_coordinator_is_moved(reader: Home) -> None:
    follow(reader, "move-the-coordinator")


def test_a_person_is_shut_out_and_the_ca_replaced(reader: Home) -> None:
    assert "exit code 8" in follow(reader, "certificates")
