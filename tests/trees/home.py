"""A member for tests of trees: real coordinator, nodes and client, over a simulated network and disks.

Local files are the machine's own: they are what is tested.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, TypeVar
from unittest import mock

from collective.client.collective import Collective
from collective.core import limits
from collective.core.world import World
from collective.pki.credentials import Credentials
from tests.simulation.loop import VirtualLoop
from tests.simulation.member import COORDINATOR, COORDINATOR_ADDRESS, Member
from tests.simulation.trace import Trace
from tests.simulation.tuning import CHUNK_BYTES, tuned

T = TypeVar("T")

NODES: Final = ("n1", "n2", "n3")
HOLE_LEAST_BYTES: Final = CHUNK_BYTES
Before = Callable[[], None]
"""Called before each piece of blocking work of the client: whoever else uses the machine has a turn."""


class Home:
    """A member that runs while work is done with it, and stands still between."""

    def __init__(self) -> None:
        """Found the member."""
        self.loop = VirtualLoop()
        self.member = Member(0, self.loop, Trace(lambda: self.loop.now_s))
        self._credentials: Credentials | None = None
        self._folders = 0
        self.loop.run(self._found())

    async def _found(self) -> None:
        member = self.member
        member.start_coordinator()
        await member.until_ready(COORDINATOR)
        code = member.node_code()
        for name in NODES:
            member.start_node(name, code=code)
        await member.until_ready(*NODES)
        machine = member.machine("operator")
        process, world, _ = machine.begin()
        self._credentials = member.operator_credentials(world)
        del process
        machine.kill()

    def fresh_path(self) -> str:
        """Return a path that nothing is at, in a datastore of its own."""
        self._folders += 1
        return f"/t{self._folders}"

    def run(
        self,
        work: Callable[[Collective], Awaitable[T]],
        *,
        state_dir: str | None = None,
        before: Before | None = None,
    ) -> T:
        """Connect as the operator, do ``work`` and return what it returns."""
        machine = self.member.machine("operator")
        process, world, links = machine.begin()
        assert self._credentials is not None
        credentials = self._credentials
        seen = world if before is None else world._replace(threads=Interrupted(world, before))

        async def use() -> T:
            async with Collective.connect(
                credentials, (COORDINATOR_ADDRESS,), world=seen, links=links, state_dir=state_dir
            ) as home:
                return await work(home)

        async def main() -> T:
            found: T = await machine.run(process, use())
            return found

        try:
            done: T = self.loop.run(main())
        finally:
            machine.kill()
        return done

    def close(self) -> None:
        """Stop the member, as its operator does."""

        async def stop() -> None:
            for name in (*NODES, COORDINATOR):
                await self.member.stop(name)

        self.loop.run(stop())
        self.loop.close()
        self.member.vfs.forget()


class Interrupted:
    """Threads of a world, before each piece of whose work somebody else has a turn."""

    def __init__(self, world: World, before: Before) -> None:
        """Call ``before`` each time."""
        self._threads = world.threads
        self._before = before

    def pool(self, workers: int, name: str) -> Any:
        """Return a pool."""
        return _InterruptedPool(self._threads.pool(workers, name), self._before)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._threads, name)


class _InterruptedPool:
    def __init__(self, pool: Any, before: Before) -> None:
        self._pool = pool
        self._before = before

    def _after_others(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def both(*args: Any, **kwargs: Any) -> Any:
            self._before()
            return work(*args, **kwargs)

        return both

    async def run(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return await self._pool.run(self._after_others(work), *args, **kwargs)

    async def run_to_end(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return await self._pool.run_to_end(self._after_others(work), *args, **kwargs)

    def start(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> None:
        self._pool.start(self._after_others(work), *args, **kwargs)

    async def close(self) -> None:
        await self._pool.close()

    def abandon(self) -> None:
        self._pool.abandon()


@contextmanager
def founded() -> Iterator[Home]:
    """Give a member whose chunks, and the holes that count, are small."""
    with ExitStack() as stack:
        stack.enter_context(tuned())
        stack.enter_context(mock.patch.object(limits, "HOLE_LEAST_BYTES", HOLE_LEAST_BYTES))
        gc.enable()
        home = Home()
        try:
            yield home
        finally:
            home.close()
