"""Settings of serve: precedence, validation, what roles need."""

from __future__ import annotations

import pytest

from collective.core.errors import SettingsError
from collective.core.settings import SETTINGS, ServeSettings, load_settings, unknown_variables
from collective.core.units import Address

ALICE = {"COLLECTIVE_MEMBER_ID": "alice", "COLLECTIVE_COORDINATOR_ADDRESS": "127.0.0.1:8001"}


def load(
    roles: tuple[str, ...] = ("coordinator",),
    environment: dict[str, str] | None = None,
    toml: bytes | None = None,
    **flags: str | None,
) -> ServeSettings:
    variables = dict(ALICE if environment is None else environment)

    def read_file(path: str) -> bytes:
        assert path == "settings.toml"
        assert toml is not None
        return toml

    if toml is not None:
        variables["COLLECTIVE_CONFIG"] = "settings.toml"
    return load_settings(roles, flags, variables, read_file)


def test_defaults_follow_the_member() -> None:
    settings = load()
    assert settings.domain == "alice.collective.local"
    assert settings.name == "alice-homelab"
    assert settings.copies == 3


def test_flag_before_variable_before_file() -> None:
    toml = b'copies = 5\nlog_level = "debug"\nstorage_capacity = "20TB"'
    variables = {**ALICE, "COLLECTIVE_COPIES": "4", "COLLECTIVE_LOG_LEVEL": "warning"}
    settings = load(environment=variables, toml=toml, log_level="error")
    assert settings.log_level == "error"
    assert settings.copies == 4
    assert settings.storage_capacity_bytes == 20 * 10**12


def test_roles_come_from_the_variable_and_addresses_may_be_a_list() -> None:
    variables = {**ALICE, "COLLECTIVE_ROLE": "coordinator,node", "COLLECTIVE_NODE_ADDRESS": ":1"}
    settings = load((), variables, b'advertise_address = ["a:1", "[::1]:2"]')
    assert settings.roles == {"coordinator", "node"}
    assert settings.advertise_addresses == (Address("a", 1), Address("::1", 2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"COLLECTIVE_MEMBER_ID": "Alice!"}, "COLLECTIVE_MEMBER_ID"),
        ({"COLLECTIVE_COPIES": "0"}, "COLLECTIVE_COPIES"),
        ({"COLLECTIVE_COPIES": "99"}, "from 1 to 16"),
        ({"COLLECTIVE_STORAGE_CAPACITY": "lots"}, "COLLECTIVE_STORAGE_CAPACITY"),
        ({"COLLECTIVE_STORAGE_CAPACITY": "1KiB"}, "at least"),
        ({"COLLECTIVE_LOG_LEVEL": "loud"}, "one of debug"),
        ({"COLLECTIVE_NODE_DOWN_AFTER": "nan"}, "at least"),
        ({"COLLECTIVE_NODE_DOWN_AFTER": "1s"}, "Timings must grow"),
        ({"COLLECTIVE_METRICS_ADDRESS": "9090:x"}, "COLLECTIVE_METRICS_ADDRESS"),
        ({"COLLECTIVE_JOIN_CODE": "x", "COLLECTIVE_JOIN_CODE_FILE": "y"}, "not both"),
    ],
)
def test_wrong_values_are_named(change: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load(environment={**ALICE, **change})


def test_unknown_key_in_the_file_is_refused() -> None:
    with pytest.raises(SettingsError, match="copeis"):
        load(toml=b"copeis = 3")


@pytest.mark.parametrize("toml", [b"copies = [", b"\xff", b"copies = true", b"copies = {a=1}"])
def test_malformed_file_is_refused(toml: bytes) -> None:
    with pytest.raises(SettingsError):
        load(toml=toml)


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("coordinator", "COLLECTIVE_MEMBER_ID"),
        ("node", "COLLECTIVE_NODE_ADDRESS"),
        ("bootstrap", "COLLECTIVE_BOOTSTRAP_ADDRESS"),
        ("king", "no role"),
    ],
)
def test_roles_need_their_settings(role: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load((role,), {})


def test_a_join_code_is_never_shown() -> None:
    with pytest.raises(SettingsError) as raised:
        load(environment={**ALICE, "COLLECTIVE_JOIN_CODE": "s3cret" * 1000})
    assert "s3cret" not in raised.value.message


def test_misspelt_variables_are_found() -> None:
    assert unknown_variables({"COLLECTIVE_COPEIS": "3", **ALICE}) == ("COLLECTIVE_COPEIS",)


def test_certificate_lifetimes_go_from_seconds_to_400_days() -> None:
    node = {"COLLECTIVE_NODE_ADDRESS": "127.0.0.1:1"}
    found = load(("node",), environment=node | {"COLLECTIVE_CERTIFICATE_LIFETIME": "12s"})
    assert found.certificate_lifetime_s == 12
    assert load(("node",), environment=node).expired_renewal_s == 90 * 86400
    off = load(("node",), environment=node | {"COLLECTIVE_EXPIRED_RENEWAL": "0"})
    assert off.expired_renewal_s == 0
    for wrong in ("1s", "401d"):
        with pytest.raises(SettingsError):
            load(("node",), environment=node | {"COLLECTIVE_CERTIFICATE_LIFETIME": wrong})


def test_every_setting_says_what_it_means_and_a_default_that_it_accepts() -> None:
    defaults = ServeSettings(roles=frozenset())
    for setting in SETTINGS:
        assert setting.meaning.endswith("."), setting.name
        if setting.otherwise is None:
            assert setting.parse(setting.default) == getattr(defaults, setting.attribute)
        elif setting.name not in {"domain", "name"}:
            assert not getattr(defaults, setting.attribute), setting.name


NODE = {"COLLECTIVE_NODE_ADDRESS": ":8101", "COLLECTIVE_NODE_SLOTS_DIR": "/nodes"}


def test_the_dirs_of_a_node_with_slots_are_in_its_slot() -> None:
    settings = load(("node",), NODE)
    assert (settings.node_slots_dir, settings.data_dir) == ("/nodes", "data")


@pytest.mark.parametrize(
    ("roles", "change", "words"),
    [
        (("node", "coordinator"), ALICE, "a node alone"),
        (("node",), {"COLLECTIVE_NODE_ID": "alice-node-01"}, "not both"),
        (
            ("node",),
            {"COLLECTIVE_DATA_DIR": "/data"},
            "COLLECTIVE_DATA_DIR is a folder in the slot",
        ),
        (("node",), {"COLLECTIVE_CERT_DIR": "../certs"}, "COLLECTIVE_CERT_DIR is a folder"),
    ],
)
def test_slots_go_with_no_other_place(
    roles: tuple[str, ...], change: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError, match=words):
        load(roles, {**NODE, **change})
