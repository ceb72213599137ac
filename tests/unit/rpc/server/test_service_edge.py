"""What every call passes, whichever way it came: rights, context, and what its failure becomes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from collective.core.errors import (
    CollectiveError,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    ShutOutError,
)
from collective.core.ids import Domain, GlobalId, NodeId, SpiffeId
from collective.core.randomness import SeededRandomness
from collective.pki.certificates import Certified
from collective.rpc.headers import REQUEST_ID_KEY
from collective.rpc.server import context
from collective.rpc.server.context import CallContext
from collective.rpc.server.service_edge import ServiceEdge
from collective.rpc.tls.gate import REVOKED

ALICE = Domain("home.alice")
NODE = Certified(SpiffeId.node(ALICE, NodeId("n")), "1", 0.0, 1.0)
USER = Certified(SpiffeId.user(ALICE, GlobalId("ann", ALICE)), "2", 0.0, 1.0)
STAT = "/collective.v1.files.Files/Stat"


class End:
    """The way back, as far as the edge uses it."""

    def __init__(self, *, left: bool = False) -> None:
        self.left = left
        self.failures: list[tuple[CollectiveError, str]] = []

    async def fail(self, error: CollectiveError, request_id: str) -> None:
        self.failures.append((error, request_id))

    def has_left(self) -> bool:
        return self.left


class Seen:
    """Hears of refusals."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def call(self, call: CallContext, error: CollectiveError) -> None:
        self.calls.append((call.method, error.code))

    def connection(self, source: str, error: CollectiveError) -> None:
        raise AssertionError("no connection is refused here")


class Scene:
    """An edge whose services are for users alone, and one call at it."""

    def __init__(self, objection: str | None = None) -> None:
        self.served: list[tuple[str, str]] = []
        self.seen = Seen()
        self.edge = ServiceEdge(
            lambda _: objection,
            {"collective.v1.files.Files": frozenset(("user",))},
            SeededRandomness(1),
            lambda method, code, _seconds: self.served.append((method, code)),
            self.seen,
        )
        self.end = End()

    async def call(
        self,
        method: Callable[[], Awaitable[None]],
        peer: Certified | None = USER,
        *,
        name: str = STAT,
        request_id: str = "abc",
    ) -> CallContext:
        call = self.edge.call(peer, name, {REQUEST_ID_KEY: request_id}, None, "host")
        await asyncio.create_task(self.edge.serve(call, method, self.end))
        return call


async def nothing() -> None:
    """A method that succeeds."""


def failing(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def method() -> None:
        raise error

    return method


async def test_a_method_runs_in_the_context_of_its_call() -> None:
    scene, found = Scene(), []

    async def method() -> None:
        found.append(context.current())
        assert scene.edge.active_calls == 1

    call = await scene.call(method)
    assert found == [call]
    assert (call.peer, call.request_id, call.source) == (USER, "abc", "host")
    assert scene.served == [(STAT, "ok")]
    assert scene.edge.active_calls == 0
    assert scene.end.failures == []
    await scene.edge.wait_idle()


async def test_a_malformed_request_id_is_replaced() -> None:
    call = await Scene().call(nothing, request_id="no id\n")
    assert len(call.request_id) == 16


@pytest.mark.parametrize("peer", [NODE, None])
async def test_whose_role_a_service_is_not_for_is_refused(peer: Certified | None) -> None:
    scene = Scene()
    await scene.call(failing(AssertionError("it was called")), peer)
    ((error, request_id),) = scene.end.failures
    assert isinstance(error, PermissionDeniedError)
    assert request_id == "abc"
    assert scene.seen.calls == [(STAT, PermissionDeniedError.code)]


async def test_a_service_that_is_not_named_is_for_nobody_and_health_for_all() -> None:
    scene = Scene()
    await scene.call(failing(AssertionError("it was called")), name="/other.Service/Do")
    assert [type(error) for error, _ in scene.end.failures] == [PermissionDeniedError]
    await scene.call(nothing, NODE, name="/grpc.health.v1.Health/Check")
    assert scene.served[-1] == ("/grpc.health.v1.Health/Check", "ok")


@pytest.mark.parametrize(
    ("objection", "kind"), [(REVOKED, ShutOutError), ("expired", PermissionDeniedError)]
)
async def test_who_counts_no_longer_is_told_why(
    objection: str, kind: type[CollectiveError]
) -> None:
    scene = Scene(objection)
    await scene.call(failing(AssertionError("it was called")))
    assert [type(error) for error, _ in scene.end.failures] == [kind]


async def test_an_error_on_purpose_reaches_the_caller_as_it_is() -> None:
    scene, error = Scene(), NotFoundError("There is no /a.")
    await scene.call(failing(error))
    assert scene.end.failures == [(error, "abc")]
    assert scene.served == [(STAT, NotFoundError.code)]


async def test_a_defect_reaches_the_caller_as_one_and_without_its_words() -> None:
    scene = Scene()
    await scene.call(failing(KeyError("secret")))
    ((error, _),) = scene.end.failures
    assert isinstance(error, InternalError)
    assert "secret" not in error.message
    assert scene.served == [(STAT, InternalError.code)]


async def test_what_fails_because_the_caller_left_is_told_to_nobody() -> None:
    scene = Scene()
    scene.end.left = True
    await scene.call(failing(ConnectionResetError()))
    assert scene.end.failures == []


async def test_a_status_that_a_method_chose_itself_passes() -> None:
    scene = Scene()
    with pytest.raises(GRPCError):
        await scene.call(failing(GRPCError(Status.NOT_FOUND, "x")))
    assert scene.served == [(STAT, "protocol")]


async def test_a_cancelled_call_is_counted_and_over() -> None:
    scene, began = Scene(), asyncio.Event()

    async def method() -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(scene.call(method))
    await began.wait()
    serving = [
        one for one in asyncio.all_tasks() if one is not task and one is not asyncio.current_task()
    ]
    for one in serving:
        one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.served == [(STAT, "cancelled")]
    await scene.edge.wait_idle()
