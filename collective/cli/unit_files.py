"""The systemd unit of one process of a member: what it may do, and what it gets.

Pure: settings in, text out.  The unit says nothing that the settings file says; what it adds is what
only the service manager can give: a user without a name of its own, a state and a log folder, the
code to join by, the watchdog, and a machine that is out of reach.  Sources: systemd.exec(5),
systemd.service(5), sd_notify(3).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from collective import __version__
from collective.core.errors import UsageError
from collective.core.settings import SERVE_ROLES, ServeSettings

UNIT_DIR: Final = "/etc/systemd/system"
SETTINGS_DIR: Final = "/etc/collective"
STATE_ROOT: Final = "/var/lib/collective"
LOG_ROOT: Final = "/var/log/collective"
CODE_CREDENTIAL: Final = "node.code"
CERTIFICATES_CREDENTIAL: Final = "certs"
PRIVILEGED_PORTS: Final = 1024
WATCHDOG_S: Final = 60
START_TIMEOUT_S: Final = 90
_STOP_MARGIN_S: Final = 20
"""Above the drain time: what a process allows itself to close (12 s), and a little."""
_NAME: Final = r"[a-z0-9](?:[a-z0-9-]{0,18}[a-z0-9])?"
"""A part of a user's name, which has at most 31 characters."""

_OF_THE_SYSTEM: Final = frozenset(
    f"/{name}".rstrip("/")
    for name in (
        *("", "etc", "home", "media", "mnt", "opt", "root", "run", "run/user", "srv", "tmp", "usr"),
        *("usr/local", "var", "var/cache", "var/lib", "var/log", "var/spool", "var/tmp"),
    )
)
"""As they stand; a folder in them may be collective's own.  The root is empty text."""
_WHOLE_TREES: Final = ("/bin", "/boot", "/dev", "/lib", "/lib64", "/proc", "/sbin", "/sys")
"""Of the system with all that lies in them."""

GIVE_FOLDER: Final = (
    '[ -d "$0" ] || mkdir -p -m 0700 "$0" || exit 1; '
    '[ "$(stat -L -c %u "$0")" = "$(stat -L -c %u "$1")" ] && exit 0; '
    '[ -z "$(ls -A -I lost+found "$0")" ] && exec chown --reference="$1" "$0"; '
    "echo \"$0 holds files of somebody else: name an empty folder, or if they are this unit's:"
    ' chown -R --reference=$1 $0" >&2; exit 1'
)
"""For sh, run as root: gives the folder $0 to the owner of $1 where it is new, empty or theirs already."""

_SANDBOX: Final = """\
# Nothing of the machine but its own folders, the network, and the clock to read.
CapabilityBoundingSet={capabilities}
NoNewPrivileges=yes
PrivateTmp=yes
PrivateDevices=yes
{users}ProtectSystem=strict
ProtectHome=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProcSubset=pid
LockPersonality=yes
MemoryDenyWriteExecute=yes
RemoveIPC=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
# AF_NETLINK is how the C library looks names up.
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
SystemCallErrorNumber=EPERM
UMask=0077
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitPlan:
    """What one unit is made of."""

    name: str
    """Of the settings file, the state folder and the user: ``collective-<name>``."""
    roles: tuple[str, ...]
    command: tuple[str, ...]
    """What runs ``collective``: absolute path first."""
    settings_file: str
    is_single_file: bool = False
    """Whether the command is the one-file package, which unpacks itself where the unit says."""
    code_file: str | None = None
    """Where the operator puts the code by which a node joins; None: the unit gives none."""
    folders: tuple[str, ...] = ()
    """What the process writes beside its state folder, such as a disk for chunks."""
    ports: tuple[int, ...] = ()
    drain_timeout_s: float = field(default=20.0)

    @property
    def unit(self) -> str:
        """The unit's name."""
        return unit_of(self.name)

    @property
    def user(self) -> str:
        """Whom the process runs as."""
        return f"collective-{self.name}"

    @property
    def state_dir(self) -> str:
        """Where it keeps what it has."""
        return f"{STATE_ROOT}/{self.name}"

    @property
    def certificates_dir(self) -> str:
        """Where the operator may put keys and certificates that the process is to begin with."""
        return f"{SETTINGS_DIR}/{self.name}.certs"


def unit_of(name: str) -> str:
    """Return the name of the unit of the process ``name``."""
    return f"collective-{name}.service"


def check_name(text: str) -> str:
    """Return a name for a unit; UsageError where it is none."""
    if not re.fullmatch(_NAME, text):
        raise UsageError(
            f"The name {text!r} must be 1 to 20 lower-case letters, digits and dashes."
        )
    return text


def check_folder(path: str) -> str:
    """Return ``path`` for a process to write; UsageError for a folder of the system, which is not its own."""
    normal = f"/{posixpath.normpath(path).lstrip('/')}"
    is_inside = any(f"{normal}/".startswith(f"{tree}/") for tree in _WHOLE_TREES)
    if posixpath.isabs(path) and (is_inside or normal.rstrip("/") in _OF_THE_SYSTEM):
        own = posixpath.join(normal, "collective")
        advice = (
            "name another folder" if is_inside else f"name one for collective alone, like {own}"
        )
        raise UsageError(f"The folder {normal} is the system's own; {advice}.")
    return path


def default_name(roles: Iterable[str]) -> str:
    """Return the name of a unit with ``roles``: that of the first, as roles are listed."""
    wanted = set(roles)
    return next(role for role in SERVE_ROLES if role in wanted)


def plan_of(
    settings: ServeSettings,
    *,
    name: str,
    command: tuple[str, ...],
    settings_file: str,
    is_single_file: bool = False,
) -> UnitPlan:
    """Return the plan of a unit for ``settings``, which ``settings_file`` holds."""
    listening = (
        settings.coordinator_address if "coordinator" in settings.roles else None,
        settings.bootstrap_address if settings.roles & {"coordinator", "bootstrap"} else None,
        settings.node_address if "node" in settings.roles else None,
        settings.metrics_address,
    )
    own_folder = (
        None
        if settings.introductions_dir is None or settings.domain is None
        else posixpath.join(settings.introductions_dir, settings.domain)
    )
    elsewhere = (settings.data_dir, settings.cert_dir, own_folder)
    return UnitPlan(
        name=name,
        roles=tuple(role for role in SERVE_ROLES if role in settings.roles),
        command=command,
        settings_file=settings_file,
        is_single_file=is_single_file,
        code_file=_code_file(settings, name),
        folders=tuple(
            dict.fromkeys(
                posixpath.normpath(check_folder(path))
                for path in elsewhere
                if path is not None and _is_outside(path, f"{STATE_ROOT}/{name}")
            )
        ),
        ports=tuple(one.port for one in listening if one is not None),
        drain_timeout_s=settings.drain_timeout_s,
    )


def _code_file(settings: ServeSettings, name: str) -> str | None:
    if "node" not in settings.roles or "coordinator" in settings.roles or settings.join_code:
        return None
    told = settings.join_code_file
    return told if told and posixpath.isabs(told) else f"{SETTINGS_DIR}/{name}.code"


def _is_outside(path: str, state_dir: str) -> bool:
    inside = posixpath.join(state_dir, "")
    return posixpath.isabs(path) and not posixpath.normpath(path).startswith(inside)


def unit_text(plan: UnitPlan) -> str:
    """Return the unit file."""
    return "\n".join((_unit(plan), _service(plan), "[Install]\nWantedBy=multi-user.target\n"))


def _unit(plan: UnitPlan) -> str:
    roles = " and ".join(plan.roles)
    lines = [
        f"# Made by collective {__version__}: systemd install; changes belong in a drop-in,",
        f"# systemctl edit {plan.unit}",
        "[Unit]",
        f"Description=collective: {roles} ({plan.name})",
        "Wants=network-online.target",
        "After=network-online.target time-sync.target",
        "# A node whose disk is not mounted refuses to begin anew on an empty folder; it is tried again.",
        "StartLimitIntervalSec=0",
    ]
    if plan.folders:
        lines.append("RequiresMountsFor=" + " ".join(map(_quoted, plan.folders)))
    return "\n".join(lines) + "\n"


def _service(plan: UnitPlan) -> str:
    command = " ".join(map(_argument, (*plan.command, "serve", "--config", plan.settings_file)))
    is_low = any(0 < port < PRIVILEGED_PORTS for port in plan.ports)
    capabilities = "CAP_NET_BIND_SERVICE" if is_low else ""
    lines = [
        "[Service]",
        "Type=notify",
        f"ExecStart={command}",
        "# Log level, advertised addresses and limits are read again: systemctl reload.",
        "ExecReload=/bin/sh -c 'kill -HUP $MAINPID'",
        "# A user for this unit alone, made by systemd where there is none of that name.",
        "DynamicUser=yes",
        f"User={plan.user}",
        f"StateDirectory=collective/{plan.name}",
        "StateDirectoryMode=0700",
        f"LogsDirectory=collective/{plan.name}",
        "LogsDirectoryMode=0750",
        f"WorkingDirectory=%S/collective/{plan.name}",
        *_unpacking(plan),
        *_credentials(plan),
        *_folders(plan),
        "Restart=always",
        "RestartSec=5s",
        "# Wrong settings get no better by trying again; a port that is taken or not there yet may.",
        "RestartPreventExitStatus=2",
        f"WatchdogSec={WATCHDOG_S}s",
        "# A start may take long, and says every second that it goes on; one that hangs is ended.",
        f"TimeoutStartSec={START_TIMEOUT_S}s",
        f"TimeoutStopSec={round(plan.drain_timeout_s) + _STOP_MARGIN_S}s",
        "LimitNOFILE=65536",
    ]
    if is_low:
        lines.append("AmbientCapabilities=CAP_NET_BIND_SERVICE")
    users = "" if is_low else "PrivateUsers=yes\n"
    return "\n".join(lines) + "\n" + _SANDBOX.format(capabilities=capabilities, users=users)


def _unpacking(plan: UnitPlan) -> list[str]:
    if not plan.is_single_file:
        return []
    return [
        "# Where the one-file package unpacks itself; it may be deleted while the unit is stopped.",
        f"CacheDirectory=collective/{plan.name}",
        "CacheDirectoryMode=0700",
        f"Environment=PEX_ROOT=%C/collective/{plan.name}",
    ]


def _credentials(plan: UnitPlan) -> list[str]:
    """Return what is handed over: readable by this process alone, whoever owns the originals."""
    lines = [
        "# Keys and certificates to begin with, where the operator put some; what is there stays until it runs out.",
        f"LoadCredential={CERTIFICATES_CREDENTIAL}:{plan.certificates_dir}",
        f"SetCredential={CERTIFICATES_CREDENTIAL}:none",
    ]
    if plan.code_file is not None:
        lines += [
            "# The code to join by, needed once: until it is there, the node waits for it.",
            f"LoadCredential={CODE_CREDENTIAL}:{_plain(plan.code_file)}",
            f"SetCredential={CODE_CREDENTIAL}:none",
            f"Environment=COLLECTIVE_JOIN_CODE_FILE=%d/{CODE_CREDENTIAL}",
        ]
    return lines


def _folders(plan: UnitPlan) -> list[str]:
    if not plan.folders:
        return []
    lines = [
        "# Folders elsewhere, once their disk is mounted: made for the unit's user, or given to it if empty."
    ]
    for folder in plan.folders:
        give = f"/bin/sh -c {_argument(GIVE_FOLDER)} {_argument(folder)}"
        lines += [
            f"ReadWritePaths=-{_quoted(folder)}",
            f"ExecStartPre=+{give} %S/collective/{plan.name}",
        ]
    return lines


def _quoted(word: str) -> str:
    """Return a word as unit files have it: specifiers escaped, quoted where it must be."""
    escaped = _plain(word.replace("\\", "\\\\").replace('"', '\\"'))
    return escaped if re.fullmatch(r"[\w@%+=:,./$-]+", escaped) else f'"{escaped}"'


def _plain(word: str) -> str:
    """Return a word with its specifiers escaped.

    UsageError for control characters: a line break would begin a directive of somebody's choosing.
    """
    if not word.isprintable():
        raise UsageError(f"{word!r} cannot stand in a unit; name it without control characters.")
    return word.replace("%", "%%")


def _argument(word: str) -> str:
    """Return a word of a command line, in which variables are escaped as well."""
    return _quoted(word.replace("$", "$$"))
