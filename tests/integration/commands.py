"""Runs the program many times, and loads it once.

Most of what a short command costs is imports, and much of what a service does in a test: a second on a busy
machine, and tests start a thousand commands and hundreds of services.  A server process loads the program,
and forks for each; so each still has a process of its own, with its own environment, folder and streams,
and nothing that it does reaches the next one.  What is about starting or interrupting the program runs the
real executable instead (``test_contract.py``, ``test_readme.py``, ``test_quick_start.py``, ``test_sigterm.py``).
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Final, NoReturn, Protocol

_PACKAGES: Final = ("cli", "client", "rpc.gen", "roles")
"""Of ``collective``: what commands and services import, much of it only when they run."""
_REQUEST_MAX_BYTES: Final = 200_000


def run_command(
    arguments: Sequence[str],
    *,
    stdin: bytes,
    environment: Mapping[str, str],
    timeout_s: float,
    host: Host,
) -> tuple[int, bytes, bytes]:
    """Run one command over pipes; return its exit code, negative for a signal, and what it wrote."""
    with ExitStack() as stack:
        ends = [_pipe(stack) for _ in range(3)]
        theirs = (ends[0][0], ends[1][1], ends[2][1])
        request = {
            "arguments": list(arguments), "environment": dict(environment), "cwd": os.getcwd(),
        }  # fmt: skip
        running = host.commands.start(request, tuple(one.fileno() for one in theirs))
        for one in theirs:
            one.close()
        pool = stack.enter_context(ThreadPoolExecutor(3))
        pool.submit(_feed, ends[0][1], stdin)
        out, err = (pool.submit(end[0].read) for end in ends[1:])
        code = running.wait(timeout_s)
        return code, out.result(), err.result()


def _pipe(stack: ExitStack) -> tuple[BinaryIO, BinaryIO]:
    reading, writing = os.pipe()
    return (
        stack.enter_context(open(reading, "rb")),
        stack.enter_context(open(writing, "wb", buffering=0)),
    )


def _feed(end: BinaryIO, content: bytes) -> None:
    with end, suppress(BrokenPipeError):  # it need not read all
        view = memoryview(content)
        while view:
            view = view[end.write(view) :]


class Forked:
    """A process under way; what tests use of ``subprocess.Popen``."""

    def __init__(self, told: socket.socket) -> None:
        """Hear of it over ``told``."""
        self._told = told
        self.pid = _number(told)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return how it ended, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return how it ended, negative for a signal; subprocess.TimeoutExpired while it runs."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = _number(self._told)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0) from None
            except AssertionError:  # who watched it is gone
                with suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)
                self.returncode = -signal.SIGKILL
            self._told.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Running:
    """A command under way."""

    def __init__(self, process: Forked, what: object) -> None:
        """Take over ``process``, which does ``what``."""
        self._process = process
        self._what = what

    def wait(self, timeout_s: float) -> int:
        """Return how it ended; subprocess.TimeoutExpired after it was killed."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise subprocess.TimeoutExpired(str(self._what), timeout_s) from None


class CommandServer:
    """The other end of the server process, which starts with the first command or service."""

    forks_services: ClassVar = False
    """Whether services are forked too: in tests they are, and what is measured is always executed."""

    def __init__(self, host: Host) -> None:
        """Start nothing yet; commands will run on ``host``."""
        self._host = host
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, request: Mapping[str, Any], streams: Sequence[int]) -> Running:
        """Begin a command with these descriptors for its streams."""
        return Running(Forked(self._fork(request, streams)), request["arguments"])

    def start_service(
        self, arguments: Sequence[str], environment: Mapping[str, str], log: BinaryIO
    ) -> Forked:
        """Begin a service in a session of its own, which reads nothing and writes to ``log``."""
        request = {
            "arguments": list(arguments), "environment": dict(environment), "cwd": os.getcwd(),
            "own_session": True,
        }  # fmt: skip
        with open(os.devnull, "rb") as nothing:
            return Forked(self._fork(request, (nothing.fileno(), log.fileno(), log.fileno())))

    def _fork(self, request: Mapping[str, Any], streams: Sequence[int]) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            if self._socket is None:
                self._process, self._socket = _started(self._host)
            raw = json.dumps(request).encode("utf-8", "surrogateescape")
            socket.send_fds(self._socket, [raw], [*streams, theirs.fileno()])
        return ours

    def close(self) -> None:
        """End the server process; commands that run go on."""
        with self._lock:
            if self._socket is not None and self._process is not None:
                self._socket.close()
                self._process.wait()
                self._socket = None


class Host(Protocol):
    """Where processes run: a machine, and what is installed there."""

    @property
    def code(self) -> Path | None:
        """The folder of another version of the program and its tests; None: this one."""

    @property
    def commands(self) -> CommandServer:
        """Where its commands start."""

    def inside(self) -> AbstractContextManager[None]:
        """What this thread starts or connects meanwhile is on the host."""


class _ThisMachine:
    """Where the tests run."""

    code = None

    def __init__(self) -> None:
        self.commands = CommandServer(self)

    @contextmanager
    def inside(self) -> Iterator[None]:
        yield


HERE: Final[Host] = _ThisMachine()


def _started(host: Host) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, host.inside():
        os.set_inheritable(theirs.fileno(), True)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.commands", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd=host.code,
        )
    return process, ours


def _number(source: socket.socket) -> int:
    raw = source.recv(16, socket.MSG_WAITALL)
    assert len(raw) == 16, "the command server has ended"
    return int(raw)


# --- the server ----------------------------------------------------------------------------------


def serve(requests: socket.socket) -> None:
    """Fork for each request, until the tests that ask have ended."""
    for name in _PACKAGES:
        package = importlib.import_module(f"collective.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Ctrl-C is for the tests, which end what they began.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        raw, fds, _, _ = socket.recv_fds(requests, _REQUEST_MAX_BYTES, 4)
        if not raw:
            return
        if os.fork() == 0:
            requests.close()
            _watch(json.loads(raw.decode("utf-8", "surrogateescape")), fds)
        for fd in fds:
            os.close(fd)


def _watch(request: dict[str, Any], fds: Sequence[int]) -> NoReturn:
    """Run the command in a child; tell its pid and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, told = fds
    pid = os.fork()
    if pid == 0:
        os.close(told)
        _become(request, streams)
    try:
        with (
            socket.socket(fileno=told) as answer,
            suppress(BrokenPipeError),
        ):  # nobody asks any more
            answer.sendall(b"%16d" % pid)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            answer.sendall(b"%16d" % code)
    finally:
        os._exit(0)


def _become(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    from collective.__main__ import main  # noqa: PLC0415 - loaded already, in the server only
    from collective.cli.app import run  # noqa: PLC0415

    for number, fd in enumerate(streams):
        os.dup2(fd, number)
        os.close(fd)
    # The server's own were made for other files, of which these have kept what they are.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for the whole process
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.argv = ["collective", *request["arguments"]]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request.get("own_session"):
        os.setsid()
        main()  # exits as the executable does: threads are waited for, and what is to run at the end runs
    code = 1
    try:
        code = run(request["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - the edge of a process
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        serve(inherited)
