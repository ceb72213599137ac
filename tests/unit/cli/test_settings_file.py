"""The settings file that ``init`` and ``join`` write is one that ``serve`` reads, and tells the truth."""

from __future__ import annotations

import re

import pytest

from collective.cli.setup.settings_file import settings_text, toml_value
from collective.core.settings import SETTINGS, load_settings
from collective.roles.bootstrap.app import BootstrapRole
from collective.roles.coordinator.app import RELOADABLE as COORDINATOR
from collective.roles.node.app import RELOADABLE as NODE
from collective.roles.runtime.reloading import LOG_LEVEL

CHOSEN = {
    "coordinator": {
        "member_id": "alice",
        "coordinator_address": "0.0.0.0:8001",
        "bootstrap_address": "0.0.0.0:9001",
    },
    "node": {"node_address": "0.0.0.0:8101", "join_code_file": 'odd "name"\\x'},
    "bootstrap": {"bootstrap_address": "0.0.0.0:9001", "coordinator_address": "c:8001"},
}


@pytest.mark.parametrize("role", CHOSEN)
def test_what_is_written_is_read(role: str) -> None:
    text = settings_text([role], CHOSEN[role], "a test")
    settings = load_settings((), {}, {"COLLECTIVE_CONFIG": "x"}, lambda _: text.encode())
    assert settings.roles == {role}
    if role == "node":
        assert settings.join_code_file == CHOSEN[role]["join_code_file"]


@pytest.mark.parametrize("role", CHOSEN)
def test_every_default_that_is_shown_can_be_taken_as_it_stands(role: str) -> None:
    text = settings_text([role], CHOSEN[role], "a test")
    shown = re.sub(r'^# (\w+ = ".*")$', r"\1", text, flags=re.MULTILINE)
    assert shown.count("\n# log_level") == 0
    load_settings((), {}, {"COLLECTIVE_CONFIG": "x"}, lambda _: shown.encode())


def test_no_secret_is_offered_in_a_file_for_everybody() -> None:
    assert not re.search(r"\bjoin_code =", settings_text(["node"], CHOSEN["node"], "a test"))


@pytest.mark.parametrize(
    ("role", "taken"),
    [
        ("coordinator", COORDINATOR),
        ("node", NODE),
        ("bootstrap", BootstrapRole.reloadable.fget(None)),  # type: ignore[attr-defined]
    ],
)
def test_what_is_marked_as_reloaded_is_what_the_role_takes(
    role: str, taken: frozenset[str]
) -> None:
    marked = {one.attribute for one in SETTINGS if one.is_reloaded([role])}
    assert marked == taken | {LOG_LEVEL}


def test_a_file_has_the_settings_of_its_roles_alone() -> None:
    offered = {
        role: set(
            re.findall(r"^(?:# )?(\w+) =", settings_text([role], chosen, "a test"), re.MULTILINE)
        )
        for role, chosen in CHOSEN.items()
    }
    for_nodes = {"node_slots_dir", "node_id", "storage_capacity", "scrub_cycle"}
    assert for_nodes <= offered["node"]
    assert not for_nodes & (offered["coordinator"] | offered["bootstrap"])
    assert {"copies", "domain"} <= offered["coordinator"] - offered["node"] - offered["bootstrap"]
    assert "bootstrap_advertise_address" in offered["coordinator"] & offered["bootstrap"]


@pytest.mark.parametrize(
    ("roles", "is_taken"),
    [(["node"], True), (["coordinator"], False), (["coordinator", "node"], False)],
)
def test_a_node_follows_its_coordinator_unless_that_is_its_own(
    roles: list[str], is_taken: bool
) -> None:
    (setting,) = (one for one in SETTINGS if one.name == "coordinator_address")
    assert setting.is_reloaded(roles) is is_taken


def test_a_value_stays_one_line() -> None:
    assert toml_value('a"b\n\x7f') == '"a\\"b\\n\\u007f"'
