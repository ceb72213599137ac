"""Where the settings of one process come from, and what must fit together."""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from collective.core.errors import SettingsError, UsageError
from collective.core.ids import (
    Domain,
)
from collective.core.settings.declared import (
    CLIENT_VARIABLES,
    OWN_JOIN_CODE,
    PREFIX,
    SERVE_ROLES,
    SETTING_NAMES,
    SETTINGS,
    ServeRole,
    ServeSettings,
    Setting,
)

CONFIG_VARIABLE: Final = "COLLECTIVE_CONFIG"
CONFIG_MAX_BYTES: Final = 1 << 20


def load_settings(
    roles: Iterable[str],
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    read_file: Callable[[str], bytes],
) -> ServeSettings:
    """Return the settings of one process.

    Args:
        roles: What ``--role`` said; empty falls back to ``COLLECTIVE_ROLE`` and the file's ``role``.
        flags: Setting name to what the flag said; None where the flag was not given.
        environment: Variables; empty ones count as unset.
        read_file: Returns a file's bytes; OSError where that fails.

    Raises:
        SettingsError: Something is unknown, malformed, missing or contradictory.
    """
    table = _read_table(environment.get(CONFIG_VARIABLE, ""), read_file)
    unknown = sorted(set(flags) - set(SETTING_NAMES))
    if unknown:
        raise SettingsError(f"There is no setting {unknown[0]!r}.")
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        found = _find(setting, flags, environment, table)
        if found is not None:
            text, source = found
            values[setting.attribute] = _parsed(setting, text, source)
    wanted = tuple(roles)
    if not wanted:
        said = environment.get(PREFIX + "ROLE") or _as_text("role", table.get("role", ""))
        wanted = tuple(said.replace(",", " ").split())
    return _complete(_roles(wanted), values)


def file_settings(
    path: str, read_file: Callable[[str], bytes], roles: Iterable[str] = ()
) -> ServeSettings:
    """Return what the settings file at ``path`` says without flags and variables; raises as above."""
    return load_settings(roles, {}, {CONFIG_VARIABLE: path}, read_file)


def unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return variables that look like ours and are none, for a warning at start."""
    known = {setting.variable for setting in SETTINGS} | CLIENT_VARIABLES | {PREFIX + "ROLE"}
    return tuple(
        sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    )


def _read_table(path: str, read_file: Callable[[str], bytes]) -> Mapping[str, Any]:
    if not path:
        return {}
    try:
        raw = read_file(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(f"The settings file {path} cannot be read: {reason}.") from error
    if len(raw) > CONFIG_MAX_BYTES:
        raise SettingsError(f"The settings file {path} is over {CONFIG_MAX_BYTES} bytes.")
    try:
        table = tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"The settings file {path} is no TOML: {error}.") from error
    unknown = sorted(set(table) - set(SETTING_NAMES) - {"role"})
    if unknown:
        raise SettingsError(f"The settings file {path} has a key that nobody knows: {unknown[0]}.")
    return table


def _as_text(name: str, value: object) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise SettingsError(f"The setting {name} in the settings file has the wrong type.")
    return str(value)


def _find(
    setting: Setting,
    flags: Mapping[str, str | None],
    environment: Mapping[str, str],
    table: Mapping[str, Any],
) -> tuple[str, str] | None:
    flag = flags.get(setting.name)
    if flag is not None:
        return flag, "--" + setting.name.replace("_", "-")
    variable = environment.get(setting.variable)
    if variable:
        return variable, setting.variable
    if setting.name in table:
        return _as_text(setting.name, table[setting.name]), f"the key {setting.name}"
    return None


def _parsed(setting: Setting, text: str, source: str) -> object:
    try:
        return setting.parse(text)
    except (UsageError, OverflowError) as error:
        shown = "" if setting.name == "join_code" else f" {text!r}"
        raise SettingsError(f"The value{shown} of {source} is wrong: {error}") from error


def _roles(wanted: tuple[str, ...]) -> frozenset[ServeRole]:
    if not wanted:
        raise SettingsError("Say what to serve: --role coordinator, node or bootstrap.")
    roles: set[ServeRole] = set()
    for text in wanted:
        role = next((known for known in SERVE_ROLES if known == text), None)
        if role is None:
            raise SettingsError(f"There is no role {text!r}; roles are {', '.join(SERVE_ROLES)}.")
        roles.add(role)
    return frozenset(roles)


def _complete(roles: frozenset[ServeRole], values: dict[str, Any]) -> ServeSettings:
    """Fill in what follows from other settings and check what must fit together."""
    values["roles"] = roles
    if "member_id" in values:
        member = values["member_id"]
        values.setdefault("domain", Domain(f"{member}.collective.local"))
        values.setdefault("name", f"{member}-homelab")
    settings = ServeSettings(**values)
    if "coordinator" in roles:
        _need(settings, "coordinator", "member_id", "coordinator_address")
    elif settings.member_id is None and settings.domain is not None:
        raise SettingsError("COLLECTIVE_DOMAIN without COLLECTIVE_MEMBER_ID says too little.")
    if "node" in roles:
        _need(settings, "node", "node_address")
    if "bootstrap" in roles:
        _need(settings, "bootstrap", "bootstrap_address")
        if "coordinator" not in roles:
            _need(settings, "bootstrap", "coordinator_address")
    if {"coordinator", "node"} <= roles and not settings.join_code:
        # A process that holds both roles joins itself: by the code that its coordinator writes.
        values.setdefault("join_code_file", posixpath.join(settings.cert_dir, OWN_JOIN_CODE))
        settings = ServeSettings(**values)
    if settings.join_code and settings.join_code_file:
        raise SettingsError("Give COLLECTIVE_JOIN_CODE or COLLECTIVE_JOIN_CODE_FILE, not both.")
    _check_slots(settings)
    timings = (
        settings.heartbeat_interval_s,
        settings.node_suspect_after_s,
        settings.node_down_after_s,
        settings.node_lost_after_s,
    )
    if not timings[0] < timings[1] <= timings[2] <= timings[3]:
        raise SettingsError(
            "Timings must grow: heartbeat interval, then node suspect, down and lost after."
        )
    return settings


def _check_slots(settings: ServeSettings) -> None:
    """Slots are for processes that are nodes and nothing else, with their dirs inside."""
    if settings.node_slots_dir is None:
        return
    if settings.roles != {"node"}:
        raise SettingsError("COLLECTIVE_NODE_SLOTS_DIR is for a process that is a node alone.")
    if settings.node_id is not None:
        raise SettingsError(
            "Give COLLECTIVE_NODE_SLOTS_DIR or COLLECTIVE_NODE_ID, not both: a slot has its own id."
        )
    for variable, path in (("DATA_DIR", settings.data_dir), ("CERT_DIR", settings.cert_dir)):
        parts = path.split("/")
        if path.startswith("/") or ".." in parts:
            raise SettingsError(
                f"With COLLECTIVE_NODE_SLOTS_DIR, {PREFIX}{variable} is a folder in the slot, like"
                f" 'data', not {path}."
            )


def _need(settings: ServeSettings, role: str, *attributes: str) -> None:
    for attribute in attributes:
        if getattr(settings, attribute) is None:
            variable = next(s.variable for s in SETTINGS if s.attribute == attribute)
            raise SettingsError(f"The role {role} needs {variable}.")
