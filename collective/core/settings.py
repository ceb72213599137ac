"""Settings of ``serve``: flags before variables before a TOML file.

Every setting has one name: ``storage_capacity`` in TOML and for flags is
``COLLECTIVE_STORAGE_CAPACITY`` as a variable.  All text is validated here; whatever is wrong
raises :class:`SettingsError` with one sentence that names the setting and where it came from.
"""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, TypeVar

from collective.core import limits
from collective.core.errors import SettingsError, UsageError
from collective.core.ids import (
    Domain,
    MemberId,
    NodeId,
    parse_domain,
    parse_member_id,
    parse_node_id,
)
from collective.core.units import Address, parse_addresses, parse_duration_s, parse_size

PREFIX: Final = "COLLECTIVE_"
CONFIG_VARIABLE: Final = "COLLECTIVE_CONFIG"
CONFIG_MAX_BYTES: Final = 1 << 20
JOIN_CODE_MAX_CHARS: Final = 4096
OWN_JOIN_CODE: Final = "join/node.code"
"""Where a coordinator writes the node join code, below its cert dir."""
CLIENT_VARIABLES: Final = frozenset(
    PREFIX + name
    for name in (
        "COORDINATOR",
        "CURRENT",
        "CA",
        "CERT",
        "KEY",
        "CONFIG",
        "CONFIG_DIR",
        "HOME",
        "PASSPHRASE",
    )
)

ServeRole = Literal["coordinator", "node", "bootstrap"]
LogLevel = Literal["debug", "info", "warning", "error"]
SERVE_ROLES: Final[tuple[ServeRole, ...]] = ("coordinator", "node", "bootstrap")
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("debug", "info", "warning", "error")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """Everything that ``serve`` was told, checked.  Durations in seconds, sizes in bytes."""

    roles: frozenset[ServeRole]
    member_id: MemberId | None = None
    """Set for a coordinator; a node learns its member by enrolment."""
    domain: Domain | None = None
    """Set wherever ``member_id`` is."""
    name: str | None = None
    """The name proposed to those who join; set wherever ``member_id`` is."""
    coordinator_address: Address | None = None
    """Where the coordinator listens, or where a node finds it."""
    bootstrap_address: Address | None = None
    advertise_addresses: tuple[Address, ...] = ()
    bootstrap_advertise_addresses: tuple[Address, ...] = ()
    node_address: Address | None = None
    node_id: NodeId | None = None
    storage_capacity_bytes: int | None = None
    """None: what the disk has free."""
    join_code: str | None = None
    join_code_file: str | None = None
    copies: int = 3
    metrics_address: Address | None = None
    log_level: LogLevel = "info"
    data_dir: str = "data"
    cert_dir: str = "certs"
    heartbeat_interval_s: float = limits.HEARTBEAT_INTERVAL_S
    node_suspect_after_s: float = limits.NODE_SUSPECT_AFTER_S
    node_down_after_s: float = limits.NODE_DOWN_AFTER_S
    node_lost_after_s: float = limits.NODE_LOST_AFTER_S
    collection_grace_s: float = 3600.0
    """How long an unreferenced chunk stays before it is collected."""
    snapshot_interval_s: float = 300.0
    scrub_cycle_s: float = 14 * 86400.0
    drain_timeout_s: float = 20.0
    """How long running calls may take to end after SIGTERM."""
    join_code_uses: int = 100
    join_code_validity_s: float = 30 * 86400.0
    certificate_lifetime_s: float = 30 * 86400.0
    """Of the certificates that the coordinator issues; they renew at two thirds of it."""
    expired_renewal_s: float = 90 * 86400.0
    """How long after its end a certificate may renew itself at the bootstrap; 0: never."""

    @property
    def quorum(self) -> int:
        """Copies on disk that an acknowledged write needs."""
        return self.copies // 2 + 1


@dataclass(frozen=True, slots=True)
class _Setting:
    """How one setting is named and read; ``attribute`` is where it ends in ServeSettings."""

    name: str
    attribute: str
    parse: Callable[[str], Any]

    @property
    def variable(self) -> str:
        return PREFIX + self.name.upper()


def _text(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise UsageError("it is empty.")
    return text.strip()


def _name(text: str) -> str:
    text = _text(text)
    if len(text) > 63 or not text.isprintable() or "/" in text:  # noqa: PLR2004 - a DNS label's length
        raise UsageError("a name has at most 63 printable characters and no '/'.")
    return text


def _join_code(text: str) -> str:
    text = _text(text)
    if len(text) > JOIN_CODE_MAX_CHARS:
        raise UsageError("it is too long for a join code.")
    return text


def _choice(options: tuple[T, ...]) -> Callable[[str], T]:
    def parse(text: str) -> T:
        for option in options:
            if text.strip().lower() == option:
                return option
        raise UsageError("it must be one of " + ", ".join(map(str, options)) + ".")

    return parse


def _count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.strip().isdecimal() or not least <= int(text) <= most:
            raise UsageError(f"it must be a whole number from {least} to {most}.")
        return int(text)

    return parse


def _duration(least_s: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = parse_duration_s(text)
        if not least_s <= seconds < float("inf"):
            raise UsageError(f"it must be at least {least_s:g} s.")
        return seconds

    return parse


def _lifetime(text: str) -> float:
    seconds = _duration(limits.CERTIFICATE_LIFE_LEAST_S)(text)
    if seconds > limits.CERTIFICATE_LIFE_MOST_S:
        raise UsageError("a certificate may be valid for at most 400 days.")
    return seconds


def _capacity(text: str) -> int:
    size = parse_size(text)
    if size < limits.CHUNK_STORED_MAX_BYTES:
        raise UsageError(f"it must be at least {limits.CHUNK_STORED_MAX_BYTES} bytes.")
    return size


_SETTINGS: Final[tuple[_Setting, ...]] = (
    _Setting("member_id", "member_id", parse_member_id),
    _Setting("domain", "domain", parse_domain),
    _Setting("name", "name", _name),
    _Setting("coordinator_address", "coordinator_address", Address.parse),
    _Setting("bootstrap_address", "bootstrap_address", Address.parse),
    _Setting("advertise_address", "advertise_addresses", parse_addresses),
    _Setting("bootstrap_advertise_address", "bootstrap_advertise_addresses", parse_addresses),
    _Setting("node_address", "node_address", Address.parse),
    _Setting("node_id", "node_id", parse_node_id),
    _Setting("storage_capacity", "storage_capacity_bytes", _capacity),
    _Setting("join_code", "join_code", _join_code),
    _Setting("join_code_file", "join_code_file", _text),
    _Setting("copies", "copies", _count(1, limits.COPIES_MAX)),
    _Setting("metrics_address", "metrics_address", Address.parse),
    _Setting("log_level", "log_level", _choice(LOG_LEVELS)),
    _Setting("data_dir", "data_dir", _text),
    _Setting("cert_dir", "cert_dir", _text),
    _Setting("heartbeat_interval", "heartbeat_interval_s", _duration(0.05)),
    _Setting("node_suspect_after", "node_suspect_after_s", _duration(0.1)),
    _Setting("node_down_after", "node_down_after_s", _duration(0.1)),
    _Setting("node_lost_after", "node_lost_after_s", _duration(0.1)),
    _Setting("collection_grace", "collection_grace_s", _duration(0.0)),
    _Setting("snapshot_interval", "snapshot_interval_s", _duration(0.1)),
    _Setting("scrub_cycle", "scrub_cycle_s", _duration(1.0)),
    _Setting("drain_timeout", "drain_timeout_s", _duration(0.0)),
    _Setting("join_code_uses", "join_code_uses", _count(1, 1_000_000)),
    _Setting("join_code_validity", "join_code_validity_s", _duration(1.0)),
    _Setting("certificate_lifetime", "certificate_lifetime_s", _lifetime),
    _Setting("expired_renewal", "expired_renewal_s", _duration(0.0)),
)
SETTING_NAMES: Final = tuple(setting.name for setting in _SETTINGS)
"""Names of all settings, as flags (with dashes) and as TOML keys."""


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
    for setting in _SETTINGS:
        found = _find(setting, flags, environment, table)
        if found is not None:
            text, source = found
            values[setting.attribute] = _parsed(setting, text, source)
    wanted = tuple(roles)
    if not wanted:
        said = environment.get(PREFIX + "ROLE") or _as_text("role", table.get("role", ""))
        wanted = tuple(said.replace(",", " ").split())
    return _complete(_roles(wanted), values)


def unknown_variables(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return variables that look like ours and are none, for a warning at start."""
    known = {setting.variable for setting in _SETTINGS} | CLIENT_VARIABLES | {PREFIX + "ROLE"}
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
    setting: _Setting,
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


def _parsed(setting: _Setting, text: str, source: str) -> object:
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


def _need(settings: ServeSettings, role: str, *attributes: str) -> None:
    for attribute in attributes:
        if getattr(settings, attribute) is None:
            variable = next(s.variable for s in _SETTINGS if s.attribute == attribute)
            raise SettingsError(f"The role {role} needs {variable}.")


assert {s.attribute for s in _SETTINGS} | {"roles"} == {f.name for f in fields(ServeSettings)}
