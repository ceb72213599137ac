# ruff: noqa: SIM117 - a server inside, its clients indented below it
"""Calls that go together: each is still a call of its own, over real listeners and channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpclib.const import Cardinality
from grpclib.const import Status as GrpcStatus

from collective.core.errors import (
    BusyError,
    NotFoundError,
    PermissionDeniedError,
    ShutOutError,
    UnreachableError,
    UsageError,
    first_error,
)
from collective.core.ids import Domain, SpiffeId, SpiffeRole
from collective.core.units import Address
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore
from collective.rpc.batching import calling, serving
from collective.rpc.batching.bounds import (
    BATCH_MAX_CALLS,
    CALL_MAX_BYTES,
    EXCHANGES_MAX,
    UNDER_WAY_MAX,
)
from collective.rpc.batching.rule import EXCHANGE, FIRST_ALONE
from collective.rpc.client.channel import RpcChannel
from collective.rpc.gen.collective.v1.batches import (
    BatchedAnswer,
    BatchedCall,
    BatchesStub,
    CallBatch,
)
from collective.rpc.gen.collective.v1.status import MemberStatusStub, Status
from collective.rpc.server import context
from collective.rpc.server.listener import TlsListener
from collective.rpc.tls.contexts import server_context
from collective.rpc.tls.gate import PeerGate
from tests.integration.rpc.conftest import ALICE, COORDINATOR, USER, Overview, Pki, Serve, Served
from tests.worlds import LINKS, REAL

BOB = Domain("garage.bob")
BOBS = SpiffeId.coordinator(BOB)

GET_STATUS = "/collective.v1.status.MemberStatus/GetStatus"
STREAMED = "/collective.v1.status.MemberStatus/Watch"


class Method:
    """GetStatus, whose callers are let go one by one."""

    def __init__(self, overview: Overview) -> None:
        self.calls: list[context.CallContext] = []
        self.cancelled: list[str] = []
        self.ends: dict[str, asyncio.Future[Status]] = {}
        self._news = asyncio.Event()
        overview.answer = self._run

    async def _run(self) -> Status:
        call = context.current()
        self.calls.append(call)
        end: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self.ends[call.request_id] = end
        self._news.set()
        try:
            return await end
        except asyncio.CancelledError:
            self.cancelled.append(call.request_id)
            self._news.set()
            raise

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Return once ``is_so()`` holds after a call came or was cancelled."""
        while not is_so():
            self._news.clear()
            await self._news.wait()

    async def begun(self, names: Iterable[str]) -> None:
        """Return once the calls ``names`` run."""
        wanted = set(names)
        await self.until(lambda: wanted <= self.ends.keys())

    def answer(self, name: str) -> None:
        """End the call ``name``."""
        self.ends[name].set_result(Status(member_id=name))


def batches_of(channel: RpcChannel) -> calling.CallBatches:
    """Return the batches of ``channel``, which has some."""
    found = channel._batches
    assert found is not None
    return found


async def get(channel: RpcChannel, name: str, timeout_s: float = 30.0) -> str:
    """Call by the request id ``name``."""
    stub = channel.stub(MemberStatusStub)
    answer = await stub.get_status(metadata={"x-request-id": name}, timeout=timeout_s)
    return answer.member_id


@asynccontextmanager
async def batching(served: Served, pki: Pki) -> AsyncIterator[RpcChannel]:
    """Open a channel whose next calls go in batches."""
    async with LINKS.channel(
        [served.address], credentials=pki.credentials(USER), gate=pki.gate(), expect=COORDINATOR
    ) as channel:
        for number in range(FIRST_ALONE):
            await get(channel, f"alone-{number}")
        assert channel._batches is None
        yield channel


async def test_each_call_of_a_batch_is_a_call_of_its_own(pki: Pki, serve: Serve) -> None:
    counted: list[tuple[str, str]] = []
    async with serve(served=lambda method, code, _: counted.append((method, code))) as served:
        async with batching(served, pki) as channel:
            counted.clear()
            method = Method(served.overview)
            names = [f"n-{number}" for number in range(40)]
            async with asyncio.TaskGroup() as group:
                calls = {name: group.create_task(get(channel, name)) for name in names}
                await method.begun(names)
                for name in reversed(names):
                    method.answer(name)
            assert {name: call.result() for name, call in calls.items()} == {n: n for n in names}
            assert channel._batches is not None
    assert [call.request_id for call in method.calls] == names
    assert {call.peer.identity for call in method.calls} == {USER}
    assert {call.source for call in method.calls} == {"127.0.0.1"}
    assert {call.method for call in method.calls} == {GET_STATUS}
    assert all(0 < call.remaining_s(99.0) <= 30.0 for call in method.calls)
    assert counted == [(GET_STATUS, "ok")] * 40  # the exchange itself is no call


async def test_calls_that_begin_together_share_one_message(
    pki: Pki, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    take = serving._Exchange._take

    async def counting(self: serving._Exchange, batch: CallBatch, calls: asyncio.TaskGroup) -> None:
        sizes.append(len(batch.calls))
        await take(self, batch, calls)

    monkeypatch.setattr(serving._Exchange, "_take", counting)
    async with serve() as served, batching(served, pki) as channel:
        await get(channel, "opens-the-exchange")
        await asyncio.gather(*(get(channel, f"n-{number}") for number in range(40)))
    assert sizes == [1, 40]


async def test_a_failure_is_its_calls_alone(pki: Pki, serve: Serve) -> None:
    async with serve() as served, batching(served, pki) as channel:
        method = Method(served.overview)
        names = ["good", "absent", "defect", "other"]
        calls = [asyncio.create_task(get(channel, name)) for name in names]
        await method.begun(names)
        method.ends["absent"].set_exception(NotFoundError("It is not there."))
        method.ends["defect"].set_exception(ValueError("a secret"))
        method.answer("good")
        method.answer("other")
        good, absent, defect, other = await asyncio.gather(*calls, return_exceptions=True)
    assert (good, other) == ("good", "other")
    assert isinstance(absent, NotFoundError)
    assert absent.message == "It is not there."
    assert "internal error" in str(defect)
    assert "secret" not in str(defect)


async def test_rights_are_those_of_each_call(pki: Pki, serve: Serve) -> None:
    heard: list[tuple[str, str]] = []

    class Refusals:
        def call(self, call: context.CallContext, error: Exception) -> None:
            heard.append((call.request_id, type(error).__name__))

        def connection(self, source: str, error: Exception) -> None:
            raise AssertionError(source, error)

    roles = {"collective.v1.status.MemberStatus": frozenset(("user",))}
    async with serve(service_roles=roles, refusals=Refusals()) as served:
        async with batching(served, pki) as channel:
            assert await get(channel, "allowed") == "alice"
            served.listener._edge._service_roles["collective.v1.status.MemberStatus"] = frozenset()
            with pytest.raises(PermissionDeniedError):
                await get(channel, "refused")
            assert channel._batches is not None
    assert heard == [("refused", "PermissionDeniedError")]


async def test_a_revoked_caller_is_shut_out_of_the_exchange(pki: Pki, serve: Serve) -> None:
    gate = pki.gate()
    async with serve(gate=gate) as served, batching(served, pki) as channel:
        method = Method(served.overview)
        calls = [asyncio.create_task(get(channel, name)) for name in ("a", "b")]
        await method.begun(("a", "b"))
        gate.replace(revocations=RevocationSet.of(1, [str(USER)]))
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [ShutOutError, ShutOutError]
        assert ends[0] is not ends[1]
        await method.until(lambda: sorted(method.cancelled) == ["a", "b"])


async def test_a_call_given_up_is_cancelled_at_the_server(pki: Pki, serve: Serve) -> None:
    async with serve() as served, batching(served, pki) as channel:
        method = Method(served.overview)
        calls = {n: asyncio.create_task(get(channel, n)) for n in ("gone", "stays")}
        await method.begun(calls)
        calls["gone"].cancel()
        await method.until(lambda: method.cancelled == ["gone"])
        method.answer("stays")
        assert await calls["stays"] == "stays"
        assert calls["gone"].cancelled()


async def test_a_call_given_up_before_it_departs_is_never_sent(pki: Pki, serve: Serve) -> None:
    async with serve() as served, batching(served, pki) as channel:
        await get(channel, "opens-the-exchange")
        method = Method(served.overview)
        gone = asyncio.create_task(get(channel, "gone"))
        stays = asyncio.create_task(get(channel, "stays"))
        while not batches_of(channel)._exchange._waiting:  # type: ignore[union-attr]
            await asyncio.sleep(0)  # a turn of the loop
        gone.cancel()
        await method.begun(["stays"])
        method.answer("stays")
        assert await stays == "stays"
    assert [call.request_id for call in method.calls] == ["stays"]


async def test_the_deadline_is_that_of_each_call(pki: Pki, serve: Serve) -> None:
    async with serve() as served, batching(served, pki) as channel:
        method = Method(served.overview)
        patient = asyncio.create_task(get(channel, "patient"))
        with pytest.raises(UnreachableError, match="in time"):
            await get(channel, "hasty", timeout_s=0.2)
        await method.until(lambda: method.cancelled == ["hasty"])
        method.answer("patient")
        assert await patient == "patient"


async def test_a_server_without_batches_gets_each_call_by_itself(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        del served.listener._mapping[EXCHANGE]
        async with batching(served, pki) as channel:
            names = [f"n-{number}" for number in range(8)]
            method = Method(served.overview)
            calls = [asyncio.create_task(get(channel, name)) for name in names]
            await method.begun(names)
            assert batches_of(channel).is_refused
            for name in names:
                method.answer(name)
            assert await asyncio.gather(*calls) == names
    assert sorted(call.request_id for call in method.calls) == names  # each once


async def test_a_server_that_was_updated_is_asked_again(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        exchange_of = served.listener._mapping.pop(EXCHANGE)
        async with batching(served, pki) as channel:
            await get(channel, "refused")
            method = Method(served.overview)
            lost = asyncio.create_task(get(channel, "lost"))
            await method.begun(["lost"])
            served.listener._mapping[EXCHANGE] = exchange_of
            served.listener.close_connections_of(lambda _: True)
            with pytest.raises(UnreachableError):
                await lost
            served.overview.answer = served.overview._default
            assert batches_of(channel).is_refused
            await get(channel, "connects")
            await get(channel, "in-a-batch")
            assert not batches_of(channel).is_refused
            assert not batches_of(channel)._exchange.has_ended  # type: ignore[union-attr]


async def test_what_was_under_way_fails_with_the_connection_and_the_next_connects_anew(
    pki: Pki, serve: Serve
) -> None:
    async with serve() as served, batching(served, pki) as channel:
        method = Method(served.overview)
        calls = [asyncio.create_task(get(channel, name)) for name in ("a", "b")]
        await method.begun(("a", "b"))
        served.listener.close_connections_of(lambda _: True)
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends] == [UnreachableError, UnreachableError]
        assert "connection" in str(ends[0])
        served.overview.answer = served.overview._default
        assert await get(channel, "again") == "alice"


async def test_no_more_are_under_way_than_the_bound(pki: Pki, serve: Serve) -> None:
    async with serve() as served, batching(served, pki) as channel:
        await get(channel, "opens-the-exchange")
        method = Method(served.overview)
        names = [f"n-{number:03}" for number in range(2 * UNDER_WAY_MAX + 10)]
        calls = [asyncio.create_task(get(channel, name)) for name in names]
        await method.begun(names[:UNDER_WAY_MAX])
        for done, name in enumerate(names):
            await method.begun([name])
            assert len(method.calls) <= done + UNDER_WAY_MAX
            method.answer(name)
            under_way = batches_of(channel)._exchange._under_way  # type: ignore[union-attr]
            assert len(under_way) <= UNDER_WAY_MAX
        assert await asyncio.gather(*calls) == names


async def test_a_large_message_goes_by_itself(
    pki: Pki, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as served, batching(served, pki) as channel:
        assert await get(channel, "small") == "alice"
        monkeypatch.setattr(calling, "CALL_MAX_BYTES", -1)
        batches = batches_of(channel)

        def refuse(*_: object) -> None:
            raise AssertionError("It went in a batch.")

        monkeypatch.setattr(batches, "add", refuse)
        method = Method(served.overview)
        call = asyncio.create_task(get(channel, "large"))
        await method.begun(["large"])
        method.answer("large")
        assert await call == "large"


async def test_a_listener_that_ends_sends_the_answers_of_its_last_calls(
    pki: Pki, serve: Serve
) -> None:
    async with serve() as served, batching(served, pki) as channel:
        method = Method(served.overview)
        call = asyncio.create_task(get(channel, "last"))
        await method.begun(["last"])
        ending = asyncio.create_task(served.listener.shut(30.0))
        await asyncio.sleep(0)
        method.answer("last")
        assert await call == "last"
        await ending


async def test_an_exchange_without_calls_ends_and_another_begins(
    pki: Pki, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calling, "IDLE_S", 0.01)
    async with serve() as served, batching(served, pki) as channel:
        assert await get(channel, "first") == "alice"
        (running,) = batches_of(channel)._tasks
        await running
        (connection,) = served.listener.connections
        while connection.is_in_use():
            await asyncio.sleep(0)  # turns of the loop, until the server has seen the end
        assert await get(channel, "second") == "alice"


async def test_an_answer_says_which_ca_to_follow(pki: Pki, serve: Serve) -> None:
    newest = b""
    async with serve(newest_authority=lambda: newest) as served:
        async with batching(served, pki) as channel:
            await get(channel, "before")
            assert channel.newest_authority == b""
            newest = bytes(range(32))
            await get(channel, "after")
            assert channel.newest_authority == newest


class Exchange:
    """An exchange by hand."""

    def __init__(self, channel: RpcChannel) -> None:
        self._batches: asyncio.Queue[CallBatch] = asyncio.Queue()
        self._answers: asyncio.Queue[BatchedAnswer] = asyncio.Queue()
        self._channel = channel

    def send(self, *calls: BatchedCall, withdrawn: Iterable[int] = ()) -> None:
        self._batches.put_nowait(CallBatch(calls=list(calls), withdrawn=list(withdrawn)))

    async def answer(self) -> BatchedAnswer:
        return await self._answers.get()

    async def run(self) -> None:
        async def messages() -> AsyncIterator[CallBatch]:
            while True:
                yield await self._batches.get()

        async for batch in self._channel.stub(BatchesStub).exchange(messages()):
            for answer in batch.answers:
                self._answers.put_nowait(answer)


@asynccontextmanager
async def exchange(served: Served, pki: Pki) -> AsyncIterator[Exchange]:
    async with LINKS.channel(
        [served.address], credentials=pki.credentials(USER), gate=pki.gate(), expect=COORDINATOR
    ) as channel:
        made = Exchange(channel)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.run())
            yield made
            running.cancel()


def call_of(number: int, method: str = GET_STATUS) -> BatchedCall:
    return BatchedCall(number=number, method=method, request_id=f"n-{number}")


@pytest.mark.parametrize(
    "method",
    [
        "/collective.v1.status.MemberStatus/Absent",
        "",
        EXCHANGE,
        STREAMED,
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ],
)
async def test_what_cannot_go_in_a_batch_is_answered_so(
    pki: Pki, serve: Serve, method: str
) -> None:
    async with serve() as served, exchange(served, pki) as by_hand:
        served.listener._mapping[STREAMED] = served.listener._mapping[GET_STATUS]._replace(
            cardinality=Cardinality.UNARY_STREAM
        )
        by_hand.send(call_of(1, method), call_of(2))
        got = {one.number: one for one in [await by_hand.answer(), await by_hand.answer()]}
    assert got[1].status == GrpcStatus.UNIMPLEMENTED.value
    assert got[2].status == 0
    assert not got[1].message
    assert got[2].message


@pytest.mark.parametrize(
    "numbers", [range(BATCH_MAX_CALLS + 1), (1, 1)], ids=["too many", "one number twice"]
)
async def test_a_batch_beyond_the_protocol_ends_the_exchange(
    pki: Pki, serve: Serve, numbers: Iterable[int]
) -> None:
    async def send_them(served: Served) -> None:
        async with exchange(served, pki) as by_hand:
            by_hand.send(*map(call_of, numbers))
            await by_hand.answer()

    async with serve() as served:
        method = Method(served.overview)
        with pytest.raises(ExceptionGroup) as caught:
            await send_them(served)
        assert isinstance(first_error(caught.value), UsageError)
        await method.until(lambda: served.listener.active_calls == 0)


async def test_a_call_that_is_too_large_for_a_batch_ends_the_exchange(
    pki: Pki, serve: Serve
) -> None:
    async def send_it(served: Served) -> None:
        async with exchange(served, pki) as by_hand:
            large = call_of(1)
            large.message = bytes(CALL_MAX_BYTES + 1)
            by_hand.send(large)
            await by_hand.answer()

    async with serve() as served:
        with pytest.raises(ExceptionGroup) as caught:
            await send_it(served)
        assert isinstance(first_error(caught.value), UsageError)


async def test_a_connection_has_few_exchanges(pki: Pki, serve: Serve) -> None:
    """Else each of a hundred streams would have a hundred calls under way."""
    async with serve() as served, batching(served, pki) as channel:
        method = Method(served.overview)

        async def exchanging(number: int) -> None:
            made = Exchange(channel)
            made.send(call_of(number))
            await made.run()

        async with asyncio.TaskGroup() as group:
            running = [group.create_task(exchanging(n)) for n in range(EXCHANGES_MAX)]
            await method.begun(f"n-{n}" for n in range(EXCHANGES_MAX))
            with pytest.raises(BusyError, match="exchanges"):
                await exchanging(EXCHANGES_MAX)
            for task in running:
                task.cancel()


async def test_a_call_begun_as_the_channel_closes_is_told(pki: Pki, serve: Serve) -> None:
    async with serve() as served, batching(served, pki) as channel:
        Method(served.overview)
        calling_it = asyncio.create_task(get(channel, "x", 60.0))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await channel.aclose()
            with pytest.raises(UnreachableError, match="closed"):
                await calling_it


async def test_a_hint_of_a_ca_that_is_none_is_passed_over(pki: Pki, serve: Serve) -> None:
    async with serve(newest_authority=lambda: bytes(100)) as served:
        async with batching(served, pki) as channel:
            await get(channel, "x")
            assert channel.newest_authority == b""


async def test_a_server_begins_no_more_than_the_bound(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        method = Method(served.overview)
        async with exchange(served, pki) as by_hand:
            for first in range(0, 2 * UNDER_WAY_MAX, 50):
                by_hand.send(*map(call_of, range(first, first + 50)))
            await method.begun(f"n-{number}" for number in range(UNDER_WAY_MAX))
            for number in range(UNDER_WAY_MAX):
                assert len(method.calls) <= number + UNDER_WAY_MAX
                method.answer(f"n-{number}")
                await method.begun([f"n-{number + UNDER_WAY_MAX}"])


async def test_withdrawn_calls_give_their_places_back(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        method = Method(served.overview)
        async with exchange(served, pki) as by_hand:
            for number in range(0, 3 * UNDER_WAY_MAX, 2):
                by_hand.send(call_of(number), call_of(number + 1))
                by_hand.send(withdrawn=[number, number + 1, 12345])
            by_hand.send(call_of(9999))
            await method.begun(["n-9999"])
            method.answer("n-9999")
            assert (await by_hand.answer()).number == 9999


async def test_a_failure_is_one_answer(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        method = Method(served.overview)
        async with exchange(served, pki) as by_hand:
            by_hand.send(call_of(1), call_of(2))
            await method.begun(("n-1", "n-2"))
            method.ends["n-1"].set_exception(NotFoundError("It is not there."))
            method.answer("n-2")
            failed, good = await by_hand.answer(), await by_hand.answer()
    assert (failed.number, failed.status) == (1, GrpcStatus.NOT_FOUND.value)
    assert failed.error is not None
    assert (failed.error.code, failed.error.request_id) == ("not_found", "n-1")
    assert (good.number, good.status) == (2, 0)


async def test_a_server_keeps_to_the_deadline_of_each_call(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        method = Method(served.overview)
        async with exchange(served, pki) as by_hand:
            hasty = call_of(1)
            hasty.timeout_ms = 50
            by_hand.send(hasty, call_of(2))
            answer = await by_hand.answer()
            assert (answer.number, answer.status) == (1, GrpcStatus.DEADLINE_EXCEEDED.value)
            assert method.cancelled == ["n-1"]
            method.answer("n-2")
            assert (await by_hand.answer()).status == 0


async def test_calls_end_with_their_exchange(pki: Pki, serve: Serve) -> None:
    async with serve() as served:
        method = Method(served.overview)
        async with exchange(served, pki) as by_hand:
            by_hand.send(call_of(1))
            await method.begun(["n-1"])
        await method.until(lambda: method.cancelled == ["n-1"])


async def test_calls_of_another_member_go_by_themselves(
    pki: Pki, serve: Serve, tmp_path: Path
) -> None:
    # what they may hold is counted by the call
    bob = Pki(tmp_path, BOB)
    trust = TrustStore({ALICE: [pki.ca.certificate], BOB: [bob.ca.certificate]})
    roles: frozenset[SpiffeRole] = frozenset(("coordinator",))
    gate = PeerGate(trust, RevocationSet(), pki.clock, home=ALICE, foreign_roles=roles)
    credentials = pki.credentials(COORDINATOR)
    tls = server_context(credentials, trust)
    overview = Overview()
    listener = TlsListener([overview], gate, lambda: tls, REAL)
    address = await listener.listen(Address("127.0.0.1", 0))
    method = Method(overview)
    try:
        async with LINKS.channel(
            [address], credentials=bob.credentials(BOBS), gate=pki.gate(), expect=COORDINATOR
        ) as channel:
            names = [f"n-{number}" for number in range(FIRST_ALONE + 3)]
            calls = [asyncio.create_task(get(channel, name)) for name in names]
            await method.begun(names)
            assert batches_of(channel).is_refused
            for name in names:
                method.answer(name)
            assert await asyncio.gather(*calls) == names
    finally:
        await listener.shut(0.2)
