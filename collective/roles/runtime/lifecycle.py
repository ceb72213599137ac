"""The life of a process: start, ready, drain, stop.

Roles start in the order given and stop in reverse.  The first SIGTERM or SIGINT drains, the
second ends the process at once (everything acknowledged is on disk anyway).  SIGHUP has the settings
read again (``reloading.py``).  A process that has not
ended when its drain time and the time to close are over is ended by a watch that depends on neither
the event loop nor a free interpreter, with the stack of every thread on stderr.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import structlog

from collective.core import open_files
from collective.core.errors import CollectiveError, ExitCode
from collective.core.settings import ServeSettings, unknown_variables
from collective.core.world import World
from collective.roles.runtime import descriptors, logs, signals
from collective.roles.runtime.handed_over import take_certificates
from collective.roles.runtime.http import ObserveListener
from collective.roles.runtime.metrics import Metrics
from collective.roles.runtime.notify import Notifier
from collective.roles.runtime.reloading import Reload, Source
from collective.roles.runtime.watchdog import Watchdog
from collective.roles.runtime.workers import Workers
from collective.rpc.links import Links
from collective.rpc.loops import loop_factory
from collective.rpc.tls_links import TlsLinks

READY_POLL_S: Final = 0.1
STOP_TIMEOUT_S: Final = 8.0
"""How long all roles together may take to close, once they have drained."""
EXIT_TIMEOUT_S: Final = 4.0
"""How long tasks and threads may take to end after that."""
GC_THRESHOLDS: Final = (20_000, 5, 5)
"""The last two bound what floods of calls leave lying: cycles that were old when they ended."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a role is built from."""

    settings: ServeSettings
    metrics: Metrics
    world: World
    links: Links
    environment: Mapping[str, str]


class Supervisor:
    """Where roles put their background tasks; one that fails ends the process."""

    def __init__(self, group: asyncio.TaskGroup) -> None:
        """Tasks run in ``group``."""
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run ``work`` until it ends or the process stops; cancel the task to end it early."""
        task = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cancel_all(self) -> None:
        """Cancel what still runs."""
        for task in tuple(self._tasks):
            task.cancel()


class Role(Protocol):
    """One role of the process."""

    @property
    def name(self) -> str:
        """``coordinator``, ``node`` or ``bootstrap``."""
        ...

    async def start(self, supervisor: Supervisor) -> None:
        """Open files, listen, spawn background work; return when that is under way."""
        ...

    def ready(self) -> bool:
        """Whether the role has started and serves; must not block.

        A role that serves but takes no writes is ready here, and says so by ``why_unready``.
        """
        ...

    async def drain(self) -> None:
        """Take no new work and finish what runs; may be cancelled at any await."""
        ...

    async def stop(self) -> None:
        """Close everything; called once, also after a failed start."""
        ...


@runtime_checkable
class ExplainsItself(Protocol):
    """A role that can say why it is not ready, or that it takes no writes although it is."""

    def why_unready(self) -> str:
        """Return a sentence, or nothing; must not block."""
        ...


def run(
    settings: ServeSettings,
    build: Callable[[Runtime], Sequence[Role]],
    world: World,
    environment: Mapping[str, str] | None = None,
    *,
    read_again: Callable[[], ServeSettings] | None = None,
) -> int:
    """Serve until told to stop; return the process's exit code.

    Args:
        settings: Checked settings.
        build: Makes the roles, in the order to start them; raises CollectiveError.
        world: Of the process.
        environment: Variables of the process; the real ones by default.
        read_again: Reads the settings anew when SIGHUP asks for it; blocking.
    """
    environment = os.environ if environment is None else environment
    faulthandler.enable(sys.stderr)  # also for the SIGABRT of a service manager that waited in vain
    logs.configure(settings.log_level, sys.stderr)
    runtime = Runtime(settings, Metrics(), world, TlsLinks(world), environment)
    log = structlog.get_logger("collective.runtime")
    allowed, wanted = open_files.raise_limit(), descriptors.wanted(settings)
    if allowed < wanted:
        log.warning(
            "few open files allowed",
            allowed=allowed,
            wanted=wanted,
            advice="when all connections are taken, there are none left for disks; raise the hard "
            "limit (ulimit -Hn, LimitNOFILE of systemd)",
        )
    for name in unknown_variables(environment):
        log.warning("variable not known", variable=name)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        loop = runner.get_loop()
        stop = Stop(loop, settings.drain_timeout_s)
        source = Source(read_again or (lambda: settings))

        def reload() -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(source.asked.set)

        signals.hear(stop.ask, reload)
        return runner.run(_serve_until(stop, source, runtime, build))


def settle_garbage_collector() -> None:
    """Keep the collector from walking, again and again, what lives to the end anyway.

    Modules, generated messages and open files are set aside, and collections become rarer: HTTP/2
    makes many short-lived cycles, and by the default thresholds the collector took 40 % of the
    interpreter's time in a coordinator that served small calls.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def end_within(seconds: float) -> None:
    """End the process with exit code 1 unless it has ended by itself in ``seconds``.

    Whatever it hangs in then (a statement, a disk, a loop) is told by the stacks of all threads.
    Replaces what an earlier call said.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=sys.stderr)


class Stop:
    """What tells the process to end, and sees that it does; asked from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, drain_s: float) -> None:
        """Stop what runs on ``loop``, which may take ``drain_s`` seconds to drain."""
        self.event: Final = asyncio.Event()
        self._loop = loop
        self._drain_s = drain_s
        self._was_asked = False

    def ask(self) -> None:
        """Begin to drain; asked once more, end the process at once."""
        if self._was_asked:
            structlog.get_logger("collective.runtime").warning("stopped at once by second signal")
            os._exit(ExitCode.FAILURE)
        self._was_asked = True
        end_within(self._drain_s + STOP_TIMEOUT_S + EXIT_TIMEOUT_S)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends anyway
            self._loop.call_soon_threadsafe(self.event.set)


async def _serve_until(
    stop: Stop, source: Source, runtime: Runtime, build: Callable[[Runtime], Sequence[Role]]
) -> int:
    try:
        notifier = Notifier(runtime.environment)
        return await serve(
            runtime, build, stop.event, notifier, settle_garbage_collector, source=source
        )
    finally:
        if stop.event.is_set():
            end_within(EXIT_TIMEOUT_S)


async def serve(
    runtime: Runtime,
    build: Callable[[Runtime], Sequence[Role]],
    stop: asyncio.Event,
    notifier: Notifier,
    settle: Callable[[], None] = lambda: None,
    *,
    source: Source | None = None,
) -> int:
    """Run the roles until ``stop`` is set or something fails; return the exit code.

    ``settle`` is called once all have started: what concerns the whole interpreter is the caller's.
    ``source`` says where settings are read again from; by default they never are.
    """
    source = source or Source(lambda: runtime.settings)
    log = structlog.get_logger("collective.runtime")
    try:
        await runtime.world.threads.run(
            take_certificates,
            runtime.environment,
            runtime.settings.cert_dir,
            runtime.world.disk,
            runtime.world.clock.wall_s(),
        )
        roles = tuple(build(runtime))
        async with asyncio.TaskGroup() as group:
            await _live(runtime, roles, stop, notifier, settle, source, Supervisor(group))
    except CollectiveError as error:
        log.error("cannot go on", reason=error.message)  # noqa: TRY400 - a sentence, no traceback
        return error.exit_code
    except BaseExceptionGroup as failures:
        return _explain(failures)
    log.info("stopped")
    return ExitCode.DONE


async def _live(
    runtime: Runtime,
    roles: Sequence[Role],
    stop: asyncio.Event,
    notifier: Notifier,
    settle: Callable[[], None],
    source: Source,
    supervisor: Supervisor,
) -> None:
    log = structlog.get_logger("collective.runtime")
    settings = runtime.settings
    reload = Reload(settings, source, roles, notifier, runtime.world.threads)
    listener = ObserveListener(runtime.metrics.exposition, lambda: _unready(roles, stop))
    workers = Workers("runtime", runtime.metrics, runtime.world.clock, runtime.world.randomness)
    started: list[Role] = []
    runtime.metrics.readiness(lambda: not _unready(roles, stop))
    try:
        if settings.metrics_address is not None:
            where = await listener.start(settings.metrics_address)
            log.info("metrics served", address=str(where))
        workers.start(supervisor.spawn, [Watchdog(runtime.metrics.loop_lag, notifier)])

        def ready(status: str) -> None:
            notifier.ready(status)
            workers.start(supervisor.spawn, [reload])

        starting = supervisor.spawn(_start(roles, started, ready, settle, supervisor), "start")
        await stop.wait()
        log.info("draining")
        notifier.stopping()
        starting.cancel()
        await _drain(started, reload.current.drain_timeout_s)
    finally:
        await _stop(started)
        await listener.stop()
        await workers.stop()
        supervisor.cancel_all()


async def _start(
    roles: Sequence[Role],
    started: list[Role],
    tell_ready: Callable[[str], None],
    settle: Callable[[], None],
    supervisor: Supervisor,
) -> None:
    log = structlog.get_logger("collective.runtime")
    for role in roles:
        started.append(role)
        await role.start(supervisor)
        log.info("role started", role=role.name)
    settle()
    while not all(role.ready() for role in roles):  # noqa: ASYNC110 - roles only answer when asked
        await asyncio.sleep(READY_POLL_S)
    names = ", ".join(role.name for role in roles)
    log.info("ready", roles=names)
    tell_ready(f"serving {names}")


async def _drain(roles: Iterable[Role], timeout_s: float) -> None:
    log = structlog.get_logger("collective.runtime")
    try:
        async with asyncio.timeout(timeout_s):
            for role in reversed(tuple(roles)):
                await role.drain()
    except TimeoutError:
        log.warning("drain cut short", after_s=timeout_s)


async def _stop(started: Sequence[Role]) -> None:
    log = structlog.get_logger("collective.runtime")
    ends_s = asyncio.get_running_loop().time() + STOP_TIMEOUT_S
    for role in reversed(started):
        try:
            async with asyncio.timeout_at(ends_s):
                await role.stop()
        except Exception:
            log.exception("role did not stop cleanly", role=role.name)


def _unready(roles: Sequence[Role], stop: asyncio.Event) -> tuple[str, ...]:
    if stop.is_set():
        return ("draining",)
    return tuple(why for role in roles if (why := _why(role)))


def _why(role: Role) -> str:
    """Return why ``role`` does not serve, or takes no writes; empty when it does both."""
    reason = role.why_unready() if isinstance(role, ExplainsItself) else ""
    if role.ready():
        return f"{role.name} takes no writes: {reason}" if reason else ""
    return f"{role.name} is not ready: {reason}" if reason else f"{role.name} is not ready"


def _explain(failures: BaseExceptionGroup[BaseException]) -> int:
    """Log each failure of the group; return the exit code of the first."""
    log = structlog.get_logger("collective.runtime")
    codes: list[int] = []
    for failure in _leaves(failures):
        if isinstance(failure, CollectiveError):
            log.error("cannot go on", reason=failure.message)
            codes.append(failure.exit_code)
        elif isinstance(failure, OSError) and failure.filename is not None:
            why = (failure.strerror or type(failure).__name__).lower()
            reason = f"{failure.filename} cannot be used: {why}; give it to this user, or mend it."
            log.error("cannot go on", reason=reason)
            log.debug("where it failed", exc_info=failure)
            codes.append(ExitCode.FAILURE)
        else:
            log.error("a part of the process failed", exc_info=failure)
            codes.append(ExitCode.FAILURE)
    return codes[0]


def _leaves(failures: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for failure in failures.exceptions:
        if isinstance(failure, BaseExceptionGroup):
            yield from _leaves(failure)
        else:
            yield failure
