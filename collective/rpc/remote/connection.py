"""Control calls to the coordinator: one deadline and one retry rule for all of them.

The calls of a transfer outlive a coordinator that restarts: those that may be repeated without
harm are, for a bounded time.  Single commands fail at once, so that nobody waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar, Final, Generic, Protocol, Self, TypeVar

from collective.core.clock import Clock
from collective.core.errors import AwayError, BusyError, CollectiveError, UnreachableError
from collective.rpc import deadlines
from collective.rpc.links import Channel

Request_contra = TypeVar("Request_contra", contravariant=True)
Response_co = TypeVar("Response_co", covariant=True)
Request = TypeVar("Request")
Response = TypeVar("Response")
Stub = TypeVar("Stub")

CALL_TIMEOUT_S: Final = 10.0
"""Deadline of one call."""
RETRY_S: Final = 15.0
"""How long a coordinator is tried that cannot be reached in the middle of a transfer."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0


Explain = Callable[[str], str]
"""Returns what is said to people of a coordinator that cannot be reached, given what went wrong."""


class _AsksForPage(Protocol):
    page_token: str


class _HasNextPage(Protocol):
    next_page_token: str


PagedRequest = TypeVar("PagedRequest", bound=_AsksForPage)
PagedResponse = TypeVar("PagedResponse", bound=_HasNextPage)


class Method(Protocol[Request_contra, Response_co]):
    """A unary method of a stub."""

    async def __call__(
        self,
        message: Request_contra,
        /,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the stubs have it so
        metadata: Any = None,
    ) -> Response_co:
        """Make the call."""
        ...


class Control:
    """Calls to the coordinator, with deadlines and retries."""

    def __init__(
        self,
        clock: Clock,
        *,
        call_timeout_s: float = CALL_TIMEOUT_S,
        retry_s: float = RETRY_S,
        metadata: Mapping[str, str] | None = None,
        explain: Explain | None = None,
    ) -> None:
        """Wait as long as is said here, by ``clock``; ``metadata`` goes with each call.

        ``explain`` says on where the coordinator itself cannot be reached.
        """
        self._metadata = metadata
        self._explain = explain
        self._clock = clock
        self._call_timeout_s = call_timeout_s
        self._retry_s = retry_s

    async def call(
        self, method: Method[Request, Response], request: Request, *, waits_s: float = 0.0
    ) -> Response:
        """Make one call; UnreachableError when there is no answer within the deadline.

        ``waits_s``: how long the coordinator may wait before it answers, beside the deadline.
        """
        try:
            return await deadlines.call(
                lambda timeout_s: method(request, timeout=timeout_s, metadata=self._metadata),
                self._call_timeout_s + waits_s,
            )
        except UnreachableError as error:
            if self._explain is None or type(error) is not UnreachableError:
                raise
            raise UnreachableError(self._explain(error.message)) from error

    async def pages(
        self, method: Method[PagedRequest, PagedResponse], request: PagedRequest
    ) -> AsyncIterator[PagedResponse]:
        """Yield every page of an answer; ``request``'s token goes on with them."""
        while True:
            page = await self.call(method, request)
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def begin(self, method: Method[Request, Response], request: Request) -> Response:
        """Make the first call of something, as :meth:`persist`; AwayError at once where a peer is away."""
        return await self._persist(method, request, (AwayError,))

    async def persist(self, method: Method[Request, Response], request: Request) -> Response:
        """Make a call that may be repeated, again and again until ``retry_s`` is over."""
        return await self._persist(method, request, ())

    async def _persist(
        self,
        method: Method[Request, Response],
        request: Request,
        final: tuple[type[CollectiveError], ...],
    ) -> Response:
        until_s = self._clock.monotonic_s() + self._retry_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return await self.call(method, request)
            except final:
                raise
            except (UnreachableError, BusyError):
                if self._clock.monotonic_s() + pause_s > until_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


class Remote(Generic[Stub]):
    """The calls of one service at one coordinator; what inherits from it names the service."""

    SERVICE: ClassVar[type[Any]]
    """The class of its stub."""

    def __init__(self, control: Control, stub: Stub) -> None:
        """Call ``stub`` with the deadlines of ``control``."""
        self._control = control
        self._stub = stub

    @classmethod
    def over(cls, channel: Channel, control: Control) -> Self:
        """Return what calls over ``channel`` with the deadlines of ``control``."""
        return cls(control, channel.stub(cls.SERVICE))
