"""Finds code that reaches past the world: ``python -m tests.lint.world``, a part of ``make check``.

A name is resolved by the imports of its module (``from time import monotonic as now`` is found); a
method that only event loops have is found by its name, whatever it is called on.  What may reach out,
and why, stands in :data:`ALLOWED`; an entry that allows nothing any more is a finding as well.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).parents[2] / "collective"

CLOCK: Final = "clock"
CHANCE: Final = "chance"
DISK: Final = "disk"
THREADS: Final = "threads"
NETWORK: Final = "network"
PROCESS: Final = "process"
KEYS: Final = "keys"
REAL: Final = "real"

FORBIDDEN: Final[Mapping[str, str]] = {
    # whole modules, and names in others; a name stands for everything below it
    "time": CLOCK,
    "sched": CLOCK,
    "datetime.datetime.now": CLOCK,
    "datetime.datetime.utcnow": CLOCK,
    "datetime.datetime.today": CLOCK,
    "datetime.date.today": CLOCK,
    "random": CHANCE,
    "secrets": CHANCE,
    "uuid": CHANCE,
    "os.urandom": CHANCE,
    "os.getrandom": CHANCE,
    "socket": NETWORK,
    "socketserver": NETWORK,
    "select": NETWORK,
    "selectors": NETWORK,
    "http.client": NETWORK,
    "urllib.request": NETWORK,
    "asyncio.open_connection": NETWORK,
    "asyncio.start_server": NETWORK,
    "asyncio.open_unix_connection": NETWORK,
    "asyncio.start_unix_server": NETWORK,
    "threading.Thread": THREADS,
    "threading.Timer": THREADS,
    "threading.active_count": THREADS,
    "_thread": THREADS,
    "queue.Queue": THREADS,
    "concurrent.futures": THREADS,
    "asyncio.to_thread": THREADS,
    "aiofiles": THREADS,
    "multiprocessing": PROCESS,
    "subprocess": PROCESS,
    "signal": PROCESS,
    "os.fork": PROCESS,
    "os.system": PROCESS,
    "os.popen": PROCESS,
    "os.kill": PROCESS,
    "asyncio.create_subprocess_exec": PROCESS,
    "asyncio.create_subprocess_shell": PROCESS,
    "open": DISK,
    "io.open": DISK,
    "io.FileIO": DISK,
    "tempfile": DISK,
    "shutil.rmtree": DISK,
    "shutil.copy": DISK,
    "shutil.move": DISK,
    "fcntl": DISK,
    **{
        f"os.{name}": DISK
        for name in [
            "chmod",
            "chown",
            "fchmod",
            "fdatasync",
            "fdopen",
            "fstat",
            "fsync",
            "ftruncate",
            "link",
            "listdir",
            "lseek",
            "lstat",
            "makedirs",
            "mkdir",
            "open",
            "pread",
            "preadv",
            "pwrite",
            "pwritev",
            "read",
            "readlink",
            "remove",
            "removedirs",
            "rename",
            "renames",
            "replace",
            "rmdir",
            "scandir",
            "stat",
            "statvfs",
            "symlink",
            "sync",
            "truncate",
            "unlink",
            "utime",
            "walk",
            "write",
        ]
    },
    **{
        f"os.path.{name}": DISK
        for name in [
            "exists",
            "getmtime",
            "getsize",
            "isdir",
            "isfile",
            "islink",
            "lexists",
            "realpath",
        ]
    },
    "cryptography.x509.random_serial_number": KEYS,
    "cryptography.hazmat.primitives.asymmetric.ec.generate_private_key": KEYS,
    "cryptography.hazmat.primitives.asymmetric.rsa.generate_private_key": KEYS,
    "cryptography.hazmat.primitives.asymmetric.ed25519.Ed25519PrivateKey.generate": KEYS,
    "cryptography.hazmat.primitives.asymmetric.x25519.X25519PrivateKey.generate": KEYS,
    "cryptography.fernet.Fernet.generate_key": KEYS,
    "collective.core.clock.SystemClock": REAL,
    "collective.core.randomness.SystemRandomness": REAL,
    "collective.core.disk.OsDisk": REAL,
    "collective.core.world.OsThreads": REAL,
    "collective.core.world.real": REAL,
    "collective.core.world.real_world": REAL,
    "collective.core.world.threads.OsThreads": REAL,
    "collective.rpc.tls_links.TlsLinks": REAL,
}
FORBIDDEN_METHODS: Final[Mapping[str, str]] = {
    "run_in_executor": THREADS,
    "set_default_executor": THREADS,
    "add_reader": NETWORK,
    "add_writer": NETWORK,
    "connect_accepted_socket": NETWORK,
    "create_connection": NETWORK,
    "create_datagram_endpoint": NETWORK,
    "create_server": NETWORK,
    "create_unix_connection": NETWORK,
    "create_unix_server": NETWORK,
    "getaddrinfo": NETWORK,
    "sock_accept": NETWORK,
    "sock_connect": NETWORK,
    "add_signal_handler": PROCESS,
    "subprocess_exec": PROCESS,
}
"""Of event loops."""

_LOCAL: Final = "the user's own files: links, locks and modes, for which Disk has no words"
_ENTRY: Final = "an entry: here the world is made"
_DEMO: Final = "starts the program as processes, on a machine"
_STREAMS: Final = "standard input and output of the process"
ALLOWED: Final[Mapping[str, tuple[str, str]]] = {
    # module, or package with a slash: the kinds that it may use, and why
    "__main__.py": (THREADS, "ends the process where no other thread is left"),
    "core/world/": (f"{CLOCK} {THREADS} {REAL}", "the machine's world"),
    "core/clock.py": (CLOCK, "the machine's clocks"),
    "core/randomness.py": (CHANCE, "the machine's generator, and the seeded one"),
    "core/disk.py": (DISK, "the machine's file systems"),
    "core/shared_folder.py": (DISK, "the same, where others write as well"),
    "pki/certificates.py": (KEYS, "the one maker of keys, where no seed decides"),
    "rpc/server/acceptor.py": (NETWORK, "the listening sockets"),
    "rpc/client/connect.py": (NETWORK, "the connecting ones"),
    "rpc/client/own_addresses.py": (NETWORK, "asks the kernel for routes, and sends nothing"),
    "rpc/client/probing.py": (NETWORK, "looks at what answers, for a diagnosis"),
    "rpc/client/metrics_page.py": (
        NETWORK,
        "a question to a health listener, without an event loop",
    ),
    "roles/runtime/lifecycle.py": (REAL, _ENTRY),
    "roles/runtime/signals.py": (f"{PROCESS} {THREADS}", "a blocked loop hears signals too"),
    "roles/runtime/notify.py": (NETWORK, "the service manager's socket"),
    "roles/runtime/http.py": (NETWORK, "metrics and readiness, outside of the member"),
    "client/collective.py": (REAL, _ENTRY + ", for programs that give none"),
    "client/sync.py": (REAL, _ENTRY + ", for programs that give none"),
    "client/disk/": (DISK, _LOCAL),
    "client/single_file/put_get.py": (DISK, _LOCAL),
    "client/single_file/matching.py": (DISK, _LOCAL),
    "client/trees/putting.py": (DISK, _LOCAL),
    "client/trees/notes.py": (DISK, "notes on the user's own files, beside them"),
    "client/single_file/upload_notes.py": (
        f"{DISK} {THREADS}",
        "notes beside the user's own files, by aiofiles",
    ),
    "client/identity/config_dir.py": (DISK, "looks whether others may read the key"),
    "cli/app.py": (f"{DISK} {THREADS}", _STREAMS),
    "cli/options.py": (REAL, _ENTRY),
    "cli/unconnected.py": (REAL, _ENTRY),
    "cli/pki.py": (REAL, _ENTRY),
    "cli/systemd.py": (DISK, "looks whether the unit's user may read its settings"),
    "cli/serve.py": (REAL, _ENTRY),
    "cli/invite_redeem.py": (REAL, _ENTRY),
    "cli/init.py": (REAL, _ENTRY),
    "cli/diagnosis/owners.py": (DISK, "owners and modes, for which Disk has no words"),
    "cli/diagnosis/backups.py": (DISK, "looks into tars that may be anywhere"),
    "cli/setup/placing.py": (f"{DISK} {PROCESS}", "the operator's own files, and systemctl"),
    "cli/setup/waiting.py": (PROCESS, "systemctl, which says what a unit does"),
    "cli/transfer.py": (DISK, _STREAMS + "; whether a local path is a directory"),
    "cli/terminal/interrupts.py": (
        f"{DISK} {PROCESS}",
        "what Ctrl-C does is the process's own affair",
    ),
    "cli/demo/run.py": (f"{CLOCK} {DISK} {PROCESS}", _DEMO),
    "cli/demo/client.py": (f"{CHANCE} {DISK}", _DEMO),
    "cli/demo/member.py": (f"{CLOCK} {NETWORK} {PROCESS}", _DEMO),
    "cli/demo/steps.py": (f"{CLOCK} {THREADS}", _DEMO),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One use of what only the world may use."""

    path: str
    line: int
    name: str
    kind: str

    def __str__(self) -> str:
        return f"collective/{self.path}:{self.line}: {self.name} goes past the world ({self.kind})"


def uses(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, name and kind of everything in ``source`` that the world should give."""
    tree = ast.parse(source)
    known = _imported(tree)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Name | ast.Attribute) and id(node) not in inner:
            if isinstance(node, ast.Attribute) and node.attr in FORBIDDEN_METHODS:
                yield node.lineno, node.attr, FORBIDDEN_METHODS[node.attr]
                continue
            name = _resolved(node, known)
            names = [name] if name is not None else []
        else:
            continue
        for name in names:
            kind = _kind(name)
            if kind is not None:
                yield node.lineno, name, kind


def findings(path: str, source: str, allowed: Mapping[str, tuple[str, str]]) -> list[Finding]:
    """Return what ``path`` (below the package) uses and is not allowed to."""
    kinds = {kind for _, kind in _grants(path, allowed)}
    return [Finding(path, *use) for use in uses(source) if use[2] not in kinds]


def idle_grants(
    sources: Mapping[str, str], allowed: Mapping[str, tuple[str, str]]
) -> list[tuple[str, str]]:
    """Return the entries of ``allowed``, as (module, kind), that nothing needs any more."""
    needed: set[tuple[str, str]] = set()
    for path, source in sources.items():
        used = {kind for _, _, kind in uses(source)}
        needed |= {grant for grant in _grants(path, allowed) if grant[1] in used}
    every = {(where, kind) for where, (kinds, _) in allowed.items() for kind in kinds.split()}
    return sorted(every - needed)


def _grants(path: str, allowed: Mapping[str, tuple[str, str]]) -> set[tuple[str, str]]:
    return {
        (where, kind)
        for where, (kinds, _) in allowed.items()
        if path == where or (where.endswith("/") and path.startswith(where))
        for kind in kinds.split()
    }


def _imported(tree: ast.AST) -> dict[str, str]:
    """Return what each imported name stands for."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.asname:
                    known[alias.asname] = alias.name
                else:
                    top = alias.name.partition(".")[0]
                    known[top] = top
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def _resolved(node: ast.expr, known: Mapping[str, str]) -> str | None:
    """Return the full name of what ``node`` names; None for what is no imported or built-in name."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    base = known.get(node.id)
    if base is None:
        return node.id if not attributes and hasattr(builtins, node.id) else None
    return ".".join((base, *reversed(attributes)))


def _kind(name: str) -> str | None:
    """Return the kind of ``name``, or of the longest beginning of it that is forbidden."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        kind = FORBIDDEN.get(".".join(parts[:length]))
        if kind is not None:
            return kind
    return None


def main() -> int:
    """Print what is found; return the exit code."""
    sources = {
        str(path.relative_to(PACKAGE)): path.read_text(encoding="utf-8")
        for path in sorted(PACKAGE.rglob("*.py"))
        if "rpc/gen" not in str(path)
    }
    found = [
        str(one) for path, source in sources.items() for one in findings(path, source, ALLOWED)
    ]
    found += [
        f"tests/lint/world.py: {where} needs no {kind} any more; take it out of ALLOWED"
        for where, kind in idle_grants(sources, ALLOWED)
    ]
    sys.stdout.writelines(f"{line}\n" for line in found)
    sys.stdout.write(f"{len(sources)} modules, {len(found)} findings of the world's check.\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
