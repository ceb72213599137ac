"""Which settings there are: names, meanings, defaults, and the object that they end in."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Final, Literal

from collective.core import limits
from collective.core.ids import (
    Domain,
    MemberId,
    NodeId,
    parse_domain,
    parse_member_id,
    parse_node_id,
)
from collective.core.settings.values import (
    capacity_bytes,
    certificate_lifetime_s,
    choice,
    count,
    duration_s,
    join_code_text,
    name_text,
    some_text,
)
from collective.core.units import Address, format_duration, parse_addresses

PREFIX: Final = "COLLECTIVE_"
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
_EVERY_ROLE: Final[frozenset[ServeRole]] = frozenset(SERVE_ROLES)
_COORDINATOR: Final[frozenset[ServeRole]] = frozenset(("coordinator",))
_NODE: Final[frozenset[ServeRole]] = frozenset(("node",))
_BOOTSTRAP: Final[frozenset[ServeRole]] = frozenset(("coordinator", "bootstrap"))
"""A coordinator serves bootstrap too."""
LOG_LEVELS: Final[tuple[LogLevel, ...]] = ("debug", "info", "warning", "error")


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
    introductions_dir: str | None = None
    """Where members find each other's bundles, and peer by them."""
    metrics_address: Address | None = None
    log_level: LogLevel = "info"
    data_dir: str = "data"
    cert_dir: str = "certs"
    node_slots_dir: str | None = None
    """Where a node takes a slot: ``data_dir`` and ``cert_dir`` are then relative to that."""
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


@dataclass(frozen=True, slots=True)
class Setting:
    """How one setting is named and read; ``attribute`` is where it ends in ServeSettings."""

    name: str
    attribute: str
    parse: Callable[[str], Any]
    meaning: str
    """One sentence for people."""
    otherwise: str | None = None
    """What holds where it is not set, in words; None: the default of ServeSettings, a value."""
    roles: frozenset[ServeRole] = _EVERY_ROLE
    """Whom it concerns: others take no notice of it."""
    reloaded_by: frozenset[ServeRole] = frozenset()
    """Who takes a change while running; a test compares it with the roles' own word."""
    fixed_by: frozenset[ServeRole] = frozenset()
    """In whose company nobody takes a change: they keep what they began with."""

    def is_reloaded(self, roles: Collection[str]) -> bool:
        """Tell whether a process of ``roles`` takes a change of it while it runs."""
        return self.fixed_by.isdisjoint(roles) and not self.reloaded_by.isdisjoint(roles)

    @property
    def default(self) -> str:
        """What holds where it is not set, for people; empty for nothing."""
        if self.otherwise is not None:
            return self.otherwise
        value = next(f.default for f in fields(ServeSettings) if f.name == self.attribute)
        return format_duration(value) if isinstance(value, float) else str(value)

    @property
    def variable(self) -> str:
        """The environment variable."""
        return PREFIX + self.name.upper()


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "member_id",
        "member_id",
        parse_member_id,
        "The member; lower-case letters, digits and dashes.",
        "",
        roles=_COORDINATOR,
    ),
    Setting(
        "domain",
        "domain",
        parse_domain,
        "The member's domain, fixed when its CA is made.",
        "<member>.collective.local",
        roles=_COORDINATOR,
    ),
    Setting(
        "name",
        "name",
        name_text,
        "The name proposed to those who join.",
        "<member>-homelab",
        roles=_COORDINATOR,
    ),
    Setting(
        "coordinator_address",
        "coordinator_address",
        Address.parse,
        "Where the coordinator listens; for a node: where to find it.",
        "",
        reloaded_by=_NODE,
        fixed_by=_BOOTSTRAP,
    ),
    Setting(
        "bootstrap_address",
        "bootstrap_address",
        Address.parse,
        "Where bootstrap listens.",
        "",
        roles=_BOOTSTRAP,
    ),
    Setting(
        "advertise_address",
        "advertise_addresses",
        parse_addresses,
        "Where others find the coordinator or node; a list.",
        "",
        reloaded_by=_COORDINATOR | _NODE,
    ),
    Setting(
        "bootstrap_advertise_address",
        "bootstrap_advertise_addresses",
        parse_addresses,
        "Where others find bootstrap; a list.",
        "",
        roles=_BOOTSTRAP,
        reloaded_by=_COORDINATOR,
    ),
    Setting(
        "node_address", "node_address", Address.parse, "Where the node listens.", "", roles=_NODE
    ),
    Setting(
        "node_id",
        "node_id",
        parse_node_id,
        "The node's id.",
        "given by the coordinator",
        roles=_NODE,
    ),
    Setting(
        "storage_capacity",
        "storage_capacity_bytes",
        capacity_bytes,
        "Bytes that the node may use, like 512MiB or 20TB.",
        "what the disk has free",
        roles=_NODE,
        reloaded_by=_NODE,
    ),
    Setting(
        "join_code",
        "join_code",
        join_code_text,
        "The code by which a node enrols.",
        "",
        roles=_NODE,
    ),
    Setting(
        "join_code_file", "join_code_file", some_text, "A file with that code.", "", roles=_NODE
    ),
    Setting(
        "copies", "copies", count(1, limits.COPIES_MAX), "Copies of each chunk.", roles=_COORDINATOR
    ),
    Setting(
        "introductions_dir",
        "introductions_dir",
        some_text,
        "A folder of signed bundles, by which members peer unattended.",
        "none",
        roles=_COORDINATOR,
    ),
    Setting(
        "metrics_address",
        "metrics_address",
        Address.parse,
        "Where /metrics, /healthz and /readyz are served, without TLS.",
        "nowhere",
    ),
    Setting(
        "log_level",
        "log_level",
        choice(LOG_LEVELS),
        "debug, info, warning or error.",
        reloaded_by=_EVERY_ROLE,
    ),
    Setting("data_dir", "data_dir", some_text, "Where catalogue and chunks lie."),
    Setting("cert_dir", "cert_dir", some_text, "Where keys and certificates lie."),
    Setting(
        "node_slots_dir",
        "node_slots_dir",
        some_text,
        "A folder that equal nodes share; each takes a slot with data and certs of its own.",
        "none",
        roles=_NODE,
    ),
    Setting(
        "heartbeat_interval", "heartbeat_interval_s", duration_s(0.05), "How often nodes call."
    ),
    Setting(
        "node_suspect_after",
        "node_suspect_after_s",
        duration_s(0.1),
        "Silence after which a node gets no new chunks.",
        roles=_COORDINATOR,
    ),
    Setting(
        "node_down_after",
        "node_down_after_s",
        duration_s(0.1),
        "Silence after which it is down.",
        roles=_COORDINATOR,
    ),
    Setting(
        "node_lost_after",
        "node_lost_after_s",
        duration_s(0.1),
        "Silence after which its chunks are copied again.",
        roles=_COORDINATOR,
    ),
    Setting(
        "collection_grace",
        "collection_grace_s",
        duration_s(0.0),
        "How long a chunk that no file uses stays.",
        roles=_COORDINATOR,
    ),
    Setting(
        "snapshot_interval",
        "snapshot_interval_s",
        duration_s(0.1),
        "How often the catalogue is copied for restoring.",
        roles=_COORDINATOR,
    ),
    Setting(
        "scrub_cycle",
        "scrub_cycle_s",
        duration_s(1.0),
        "How long a node takes to verify all that it stores once.",
        roles=_NODE,
    ),
    Setting(
        "drain_timeout",
        "drain_timeout_s",
        duration_s(0.0),
        "How long running calls may take to end after SIGTERM.",
        reloaded_by=_EVERY_ROLE,
    ),
    Setting(
        "join_code_uses",
        "join_code_uses",
        count(1, 1_000_000),
        "How often the node join code may be used.",
        roles=_COORDINATOR,
        reloaded_by=_COORDINATOR,
    ),
    Setting(
        "join_code_validity",
        "join_code_validity_s",
        duration_s(1.0),
        "How long the node join code is good.",
        roles=_COORDINATOR,
        reloaded_by=_COORDINATOR,
    ),
    Setting(
        "certificate_lifetime",
        "certificate_lifetime_s",
        certificate_lifetime_s,
        "Of the certificates issued; at most 400 days.",
        roles=_COORDINATOR,
        reloaded_by=_COORDINATOR,
    ),
    Setting(
        "expired_renewal",
        "expired_renewal_s",
        duration_s(0.0),
        "How long after its end a certificate may renew itself; 0: never.",
        roles=_COORDINATOR,
    ),
)
SETTING_NAMES: Final = tuple(setting.name for setting in SETTINGS)
"""Names of all settings, as flags (with dashes) and as TOML keys."""

assert {s.attribute for s in SETTINGS} | {"roles"} == {f.name for f in fields(ServeSettings)}
