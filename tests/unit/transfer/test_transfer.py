"""Puts and gets between real clients and servers, over memory."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from collective.core.errors import (
    BusyError,
    CorruptionError,
    NotFoundError,
    UnreachableError,
    UsageError,
)
from collective.core.ids import Domain, SpiffeId
from collective.core.limits import CHUNK_STORED_MAX_BYTES, MIB
from collective.model.routes import PutAnswer
from collective.rpc.gen.collective.v1.transfer import ChunkOperation, Receipt
from collective.transfer.buffers import BufferPool
from collective.transfer.stream.chunk_client import ChunkClient, ClientLimits, Put
from collective.transfer.stream.frames import FrameType
from collective.transfer.stream.link import FOREIGN_EXCHANGES_MAX
from collective.transfer.stream.outbound import Patience
from collective.transfer.stream.terms import LATE_REQUESTS
from collective.transfer.tickets.receipts import open_receipt
from collective.transfer.tickets.refusals import (
    TicketExpiredError,
    TicketRefusedError,
    UnknownKeyError,
)
from tests.worlds import REAL

from .memory import COORDINATOR, DOMAIN, USER, Hop, MemoryDialer, Net, chunk_of, node, route

GET = ChunkOperation.GET
DATA = random.Random(1).randbytes(3 * MIB + 12345)
CHUNK = chunk_of(DATA)
SMALL = b"small chunk"


class World(NamedTuple):
    net: Net
    client: ChunkClient
    pool: BufferPool
    dialer: MemoryDialer

    def chain(self, *names: str) -> list[Hop]:
        return [self.net.add(node(name)) for name in names]

    async def put(self, hops: list[Hop], data: bytes = DATA) -> list[PutAnswer]:
        where = route(hops, chunk_of(data), len(data))
        return [result async for result in self.client.put(where, [data[:16], data[16:]])]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    net, pool = Net(), BufferPool(64 * MIB)
    dialer = MemoryDialer(net, USER)
    limits = ClientLimits(patience=Patience(stall_s=1.0, answer_s=2.0))
    async with ChunkClient(dialer, pool, REAL.threads, home=DOMAIN, limits=limits) as client:
        yield World(net, client, pool, dialer)
    await net.close()
    assert pool.outstanding == 0


async def settle(condition: object = None) -> None:
    for _ in range(400):
        await asyncio.sleep(0)


def assert_receipt(result: PutAnswer, hop: Hop, data: bytes = DATA) -> None:
    assert result.error is None
    assert result.receipt is not None
    assert open_receipt(hop.keys, result.receipt) == Receipt(
        chunk_id=chunk_of(data),
        length=len(data),
        generation=7,
        transfer_id="ab" * 16,
        node=str(hop.identity),
        flushed=True,
    )


async def test_put_then_get_at_one_node(world: World) -> None:
    hops = world.chain("a")
    [result] = await world.put(hops)
    assert_receipt(result, hops[0])
    assert hops[0].store.chunks == {CHUNK: DATA}
    assert hops[0].store.generations == {CHUNK: 7}
    with await world.client.get(route(hops, CHUNK, len(DATA), GET)) as buffer:
        assert bytes(buffer.view) == DATA


async def test_a_renewed_certificate_moves_to_new_connections_and_breaks_no_transfer(
    world: World,
) -> None:
    hops = world.chain("a", "b")
    where = route(hops, CHUNK, len(DATA))
    begun = asyncio.Event()
    async with world.client.put(
        where, [DATA[:16], DATA[16:]], on_progress=lambda _: begun.set()
    ) as transfer:
        running = asyncio.create_task(_all_of(transfer))
        await begun.wait()
        world.dialer.renew()
        results = await running
    assert [result.error for result in results] == [None, None]
    assert (world.dialer.dials, hops[0].dialer.dials) == (1, 1)
    hops[0].dialer.renew()
    await settle()
    await world.put(hops, SMALL + DATA)
    assert (world.dialer.dials, hops[0].dialer.dials) == (2, 2)


async def test_idle_connections_end_at_once_when_the_certificate_is_renewed(world: World) -> None:
    hops = world.chain("a", "b")
    await world.put(hops)
    await world.put(hops[1:])
    world.dialer.renew()
    await settle()
    assert [ours.is_closing() for ours, _ in world.dialer.transports] == [True, True]
    await world.put(hops, SMALL + DATA)
    assert world.dialer.dials == 3


async def test_a_connection_dialled_with_a_former_certificate_is_not_used_again(
    world: World,
) -> None:
    hops = world.chain("a")
    dialling = asyncio.create_task(world.put(hops))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert world.dialer.dials == 1
    world.dialer.renew()
    await dialling
    await world.put(hops, SMALL + DATA)
    assert world.dialer.dials == 2


async def _all_of(transfer: Put) -> list[PutAnswer]:
    return [result async for result in transfer]


async def test_get_of_a_range(world: World) -> None:
    hops = world.chain("a")
    await world.put(hops)
    where = route(hops, CHUNK, len(DATA), GET)
    with await world.client.get(where, 1_000_000, 300_000) as buffer:
        assert bytes(buffer.view) == DATA[1_000_000:1_300_000]
    with await world.client.get(where, 1_000_000) as buffer:
        assert bytes(buffer.view) == DATA[1_000_000:]
    with pytest.raises(UsageError):
        await world.client.get(where, len(DATA), 0)


async def test_chain_of_three_stores_three_copies_with_three_receipts(world: World) -> None:
    hops = world.chain("a", "b", "c")
    results = {result.node: result for result in await world.put(hops)}
    for hop in hops:
        assert_receipt(results[hop.identity], hop)
        assert hop.store.chunks == {CHUNK: DATA}
    assert world.dialer.dials == 1


async def test_cut_through_reaches_the_last_hop_before_the_first_has_everything(
    world: World,
) -> None:
    hops = world.chain("a", "b")
    where = route(hops, CHUNK, len(DATA))
    seen: list[int] = []

    def progress(_: int) -> None:
        seen.append(hops[1].pool.outstanding)

    async with world.client.put(where, [DATA], on_progress=progress) as transfer:
        _ = [result async for result in transfer]
    assert seen[-1] == 1
    assert transfer.sent_bytes == len(DATA)


async def test_relay_hop_keeps_nothing_and_passes_receipts(world: World) -> None:
    relay = world.net.add(COORDINATOR, relay=True)
    hops = [relay, *world.chain("a", "b")]
    results = {result.node: result for result in await world.put(hops)}
    assert set(results) == {hop.identity for hop in hops[1:]}
    for hop in hops[1:]:
        assert_receipt(results[hop.identity], hop)
    assert not relay.store.chunks
    with await world.client.get(route(hops[:2], CHUNK, len(DATA), GET)) as buffer:
        assert bytes(buffer.view) == DATA


async def test_a_relay_tells_what_went_to_whom_and_came_from_whom(world: World) -> None:
    relay = world.net.add(COORDINATOR, relay=True)
    [a] = world.chain("a")
    told: Counter[tuple[SpiffeId, str]] = Counter()

    def moved(who: SpiffeId, sent_bytes: int, received_bytes: int) -> None:
        told[who, "sent"] += sent_bytes
        told[who, "received"] += received_bytes

    object.__setattr__(relay.server._serving, "moved", moved)
    relay.server._serving.client._links.moved = moved
    await world.put([relay, a])
    await settle()
    size = len(DATA)
    assert +told == {(USER, "received"): size, (a.identity, "sent"): size}
    told.clear()
    with await world.client.get(route([relay, a], CHUNK, size, GET)):
        await settle()
    assert +told == {(USER, "sent"): size, (a.identity, "received"): size}


async def test_relayed_errors_keep_their_class(world: World) -> None:
    hops = [world.net.add(COORDINATOR, relay=True), *world.chain("a")]
    with pytest.raises(NotFoundError):
        await world.client.get(route(hops, CHUNK, len(DATA), GET))


async def test_dead_later_hop_fails_alone(world: World) -> None:
    hops = world.chain("a", "b", "c")
    del world.net.servers[hops[1].identity]
    results = {result.node: result for result in await world.put(hops)}
    assert_receipt(results[hops[0].identity], hops[0])
    for hop in hops[1:]:
        error = results[hop.identity].error
        assert error is not None
        assert error.code == "unreachable"


async def test_hanging_later_hop_does_not_hide_the_first_ones_answer(world: World) -> None:
    hops = world.chain("a", "b")
    hops[1].store.gate.clear()
    async with world.client.put(route(hops, CHUNK, len(DATA)), [DATA]) as transfer:
        first = await anext(transfer)
        assert_receipt(first, hops[0])
        second = await anext(transfer)
        assert second.node == hops[1].identity
        assert second.error is not None
        with pytest.raises(StopAsyncIteration):
            await anext(transfer)
    hops[1].store.gate.set()


async def test_later_hop_that_takes_no_bytes_is_given_up(world: World) -> None:
    hops = world.chain("a", "b")
    await world.put(hops, SMALL)
    hops[0].dialer.transports[0][1].stuck = True
    results = await world.put(hops)
    assert_receipt(results[0], hops[0])
    assert results[1].error is not None
    assert results[1].error.code == "unreachable"
    await settle()
    assert hops[0].pool.outstanding == 0


async def test_later_hop_dying_mid_payload(world: World) -> None:
    hops = world.chain("a", "b")
    await world.put(hops, SMALL)
    died = False

    def kill(_: int) -> None:
        nonlocal died
        if not died and hops[1].pool.outstanding:
            died = True
            hops[0].dialer.transports[0][1].abort()

    where = route(hops, CHUNK, len(DATA))
    async with world.client.put(where, [DATA], on_progress=kill) as transfer:
        results = [result async for result in transfer]
    assert died
    by_node = {result.node: result for result in results}
    assert_receipt(by_node[hops[0].identity], hops[0])
    assert by_node[hops[1].identity].error is not None
    await settle()
    assert hops[1].pool.outstanding == 0
    assert hops[1].store.puts_begun == 1  # the small one


async def test_client_dying_mid_payload_frees_every_hop(world: World) -> None:
    hops = world.chain("a", "b")

    def die(_: int) -> None:
        if hops[1].pool.outstanding:
            world.dialer.transports[0][0].abort()

    with pytest.raises(UnreachableError):
        async for _ in world.client.put(route(hops, CHUNK, len(DATA)), [DATA], on_progress=die):
            pass
    await settle()
    for hop in hops:
        assert hop.pool.outstanding == 0
        assert hop.store.puts_begun == 0
        assert hop.server.active == 0


async def test_cancelled_put_frees_every_hop_and_leaves_others_intact(world: World) -> None:
    hops = world.chain("a", "b")
    other = random.Random(2).randbytes(2 * MIB)
    begun = asyncio.Event()

    async def cancelled() -> None:
        where = route(hops, CHUNK, len(DATA))
        async with world.client.put(where, [DATA], on_progress=lambda _: begun.set()) as transfer:
            async for _ in transfer:
                pass

    task = asyncio.create_task(cancelled())
    others = asyncio.create_task(world.put(hops, other))
    await begun.wait()
    await settle_some(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    results = {result.node: result for result in await others}
    for hop in hops:
        assert_receipt(results[hop.identity], hop, other)
        assert set(hop.store.chunks) == {chunk_of(other)}
    await settle()
    for hop in hops:
        assert hop.pool.outstanding == 0
    assert world.dialer.dials == 1


async def settle_some(steps: int) -> None:
    for _ in range(steps):
        await asyncio.sleep(0)


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 9, 14, 20, 30, 60])
async def test_cancel_after_any_number_of_steps(world: World, steps: int) -> None:
    hops = [world.net.add(COORDINATOR, relay=True), *world.chain("a")]
    await world.put(hops)
    where = route(hops, CHUNK, len(DATA), GET)
    get = asyncio.create_task(world.client.get(where))
    put = asyncio.create_task(world.put(hops))
    await settle_some(steps)
    get.cancel()
    put.cancel()
    done, _ = await asyncio.wait([get, put])
    for task in done:
        if task is get and not get.cancelled():
            get.result().release()
    with await world.client.get(where) as buffer:
        assert bytes(buffer.view) == DATA
    await settle()
    assert world.pool.outstanding == 0
    for hop in hops:
        assert hop.pool.outstanding == 0


async def test_cancelled_put_keeps_its_buffer_until_the_store_is_done(world: World) -> None:
    [hop] = hops = world.chain("a")
    hop.store.gate.clear()
    transfer = world.client.put(route(hops, CHUNK, len(DATA)), [DATA])
    waiting = asyncio.create_task(anext(transfer))
    while not hop.store.puts_begun:
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    await settle()
    assert hop.server.active == 0
    assert hop.pool.outstanding == 1
    assert hop.store.capacity.reserved_bytes == len(DATA)
    hop.store.gate.set()
    await settle()
    assert hop.pool.outstanding == 0
    assert hop.store.chunks == {CHUNK: DATA}


async def test_corrupt_payload_is_refused_by_each_hop(world: World) -> None:
    hops = world.chain("a", "b")
    wrong = bytes([DATA[0] ^ 1]) + DATA[1:]
    where = route(hops, CHUNK, len(DATA))
    results = [result async for result in world.client.put(where, [wrong])]
    assert [result.error.code for result in results if result.error] == ["corrupt", "corrupt"]


async def test_damaged_answer_is_noticed(world: World) -> None:
    [hop] = hops = world.chain("a")
    await world.put(hops)

    async def lie(_: object, buffer: memoryview) -> int:
        buffer[:] = DATA
        buffer[100] ^= 1
        return len(DATA)

    hop.store.get_into = lie  # type: ignore[method-assign,assignment]
    with pytest.raises(CorruptionError):
        await world.client.get(route(hops, CHUNK, len(DATA), GET))
    assert world.pool.outstanding == 0


async def test_full_store_refuses_but_forwards(world: World) -> None:
    hops = world.chain("a", "b")
    hops[0].store.capacity.change_used(100 * MIB)
    results = {result.node: result for result in await world.put(hops)}
    assert_receipt(results[hops[1].identity], hops[1])
    error = results[hops[0].identity].error
    assert error is not None
    assert error.code == "no_space"


async def test_put_to_a_full_only_node_stops_early(world: World) -> None:
    [hop] = hops = world.chain("a")
    hop.store.capacity.change_used(100 * MIB)
    transfer = world.client.put(route(hops, CHUNK, len(DATA)), [DATA])
    [result] = [result async for result in transfer]
    assert result.error is not None
    assert transfer.sent_bytes < len(DATA)
    await world.put(hops, SMALL)  # the connection still works


async def test_unreachable_first_hop(world: World) -> None:
    hops = world.chain("a")
    world.net.servers.clear()
    with pytest.raises(UnreachableError):
        await world.put(hops)


async def test_stolen_ticket_is_refused(world: World) -> None:
    hops = world.chain("a")
    thief = MemoryDialer(world.net, node("thief"))
    async with ChunkClient(thief, world.pool, REAL.threads, home=DOMAIN) as client:
        with pytest.raises(TicketRefusedError, match="another holder"):
            async for _ in client.put(route(hops, CHUNK, len(DATA)), [DATA]):
                pass
    assert hops[0].pool.outstanding == 0


async def test_put_longer_than_its_ticket_is_refused(world: World) -> None:
    hops = world.chain("a")
    with pytest.raises(TicketRefusedError, match="longer"):
        async for _ in world.client.put(route(hops, CHUNK, len(DATA) - 1), [DATA]):
            pass


async def test_replayed_ticket_after_expiry_and_revocation(world: World) -> None:
    [hop] = hops = world.chain("a")
    where = route(hops, CHUNK, len(DATA))
    hop.keys.now_ms += 60_000
    with pytest.raises(TicketExpiredError):
        _ = [r async for r in world.client.put(where, [DATA])]
    hop.keys.now_ms -= 1
    hop.keys.epoch = 1
    with pytest.raises(TicketExpiredError, match="revocation"):
        _ = [r async for r in world.client.put(where, [DATA])]


async def test_unknown_key_is_retryable(world: World) -> None:
    [hop] = hops = world.chain("a")
    hop.keys.known.clear()
    with pytest.raises(UnknownKeyError) as caught:
        await world.put(hops)
    assert caught.value.retryable


async def test_relay_refuses_to_store_and_route_must_go_on(world: World) -> None:
    relay = world.net.add(COORDINATOR, relay=True)
    hops = [relay, *world.chain("a")]
    where = route(hops, CHUNK, len(DATA))
    where = where._replace(hops=where.hops[:1])
    with pytest.raises(TicketRefusedError, match="only forwards"):
        _ = [r async for r in world.client.put(where, [DATA])]


async def test_route_bent_to_another_hop_is_refused(world: World) -> None:
    a, b, c = world.chain("a", "b", "c")
    bent = route([a, b], CHUNK, len(DATA))
    onward = route([a, c], CHUNK, len(DATA)).hops[1]
    bent = bent._replace(hops=(bent.hops[0], onward))
    with pytest.raises(TicketRefusedError, match="another hop"):
        _ = [r async for r in world.client.put(bent, [DATA])]


async def test_invented_result_of_a_later_hop_is_not_passed_on(world: World) -> None:
    hops = world.chain("a", "b")
    impostor = hops[1].server._serving
    object.__setattr__(impostor, "identity", node("x"))
    # the ticket names b, the impostor answers as x: it refuses, and a reports b's failure
    results = {result.node: result for result in await world.put(hops)}
    assert set(results) == {hops[0].identity, hops[1].identity}
    assert results[hops[1].identity].error is not None


async def test_many_pipelined_requests_on_one_connection(world: World) -> None:
    [hop] = hops = world.chain("a")
    blocks = [random.Random(seed).randbytes(100_000 + seed) for seed in range(40)]
    async with asyncio.TaskGroup() as group:
        for block in blocks:
            group.create_task(world.put(hops, block))
    assert len(hop.store.chunks) == 40

    async def get(block: bytes) -> None:
        where = route(hops, chunk_of(block), len(block), GET)
        with await world.client.get(where) as buffer:
            assert bytes(buffer.view) == block

    async with asyncio.TaskGroup() as group:
        for block in blocks:
            group.create_task(get(block))
    assert world.dialer.dials <= 2


async def test_what_another_member_takes_at_once_is_kept_to_and_the_rest_waits(
    world: World,
) -> None:
    [hop] = world.chain("a")
    await world.put([hop], SMALL)
    hop.store.gate.clear()
    where = route([hop], chunk_of(SMALL), len(SMALL), GET)
    elsewhere = Domain("studio.carol")
    async with ChunkClient(world.dialer, world.pool, REAL.threads, home=elsewhere) as client:
        gets = [asyncio.create_task(client.get(where)) for _ in range(50)]
        await settle()
        assert hop.server.active == 2 * FOREIGN_EXCHANGES_MAX
        for number in (49, 40):
            gets.pop(number).cancel()
        hop.store.gate.set()
        for one in gets:
            with await one as buffer:
                assert bytes(buffer.view) == SMALL
        assert world.dialer.dials == 3, "that of the put, and two"


async def test_one_that_waits_for_room_is_no_sign_of_a_silent_node(world: World) -> None:
    """What others send is its progress; when none sends, it has none."""
    [hop] = world.chain("a")
    elsewhere = Domain("studio.carol")
    async with ChunkClient(world.dialer, world.pool, REAL.threads, home=elsewhere) as client:
        await world.put([hop], SMALL)
        hop.store.gate.clear()
        blocks = [random.Random(seed).randbytes(1000) for seed in range(40)]
        where = [route([hop], chunk_of(block), len(block)) for block in blocks]
        heard: list[int] = []
        puts = [
            client.put(one, [block], on_progress=heard.append if n == 39 else None)
            for n, (one, block) in enumerate(zip(where, blocks, strict=True))
        ]
        tasks = [asyncio.create_task(_all_of(one)) for one in puts]
        await settle()
        assert hop.server.active == 2 * FOREIGN_EXCHANGES_MAX
        assert heard, "others moved"
        assert set(heard) == {0}, "and it did not"
        hop.store.gate.set()
        for task in tasks:
            [answer] = await task
            assert answer.receipt is not None


async def test_a_get_that_waits_for_room_is_no_sign_of_a_silent_node(world: World) -> None:
    [hop] = world.chain("a")
    await world.put([hop], SMALL)
    hop.store.gate.clear()
    where = route([hop], chunk_of(SMALL), len(SMALL), GET)
    heard: list[int] = []
    elsewhere = Domain("studio.carol")
    async with ChunkClient(world.dialer, world.pool, REAL.threads, home=elsewhere) as client:
        gets = [asyncio.create_task(client.get(where)) for _ in range(2 * FOREIGN_EXCHANGES_MAX)]
        await settle()
        gets.append(asyncio.create_task(client.get(where, on_progress=heard.append)))
        await settle()
        assert not heard
        client._links._peers[hop.identity]._moved()
        assert heard == [0]
        hop.store.gate.set()
        for buffer in await asyncio.gather(*gets):
            buffer.release()
        assert sum(heard) == len(SMALL)


async def test_a_full_connection_is_waited_for_where_no_other_can_be_opened(world: World) -> None:
    [hop] = world.chain("a")
    await world.put([hop], SMALL)
    hop.store.gate.clear()
    where = route([hop], chunk_of(SMALL), len(SMALL), GET)
    dialer = MemoryDialer(world.net, USER)
    async with ChunkClient(dialer, world.pool, REAL.threads, home=Domain("studio.carol")) as client:
        gets = [asyncio.create_task(client.get(where)) for _ in range(4)]
        await settle()
        del world.net.servers[hop.identity]  # it takes no further connection
        gets += [asyncio.create_task(client.get(where)) for _ in range(30)]
        await settle()
        assert hop.server.active == FOREIGN_EXCHANGES_MAX
        hop.store.gate.set()
        for one in gets:
            (await one).release()
    world.net.servers[hop.identity] = hop.server


async def test_those_who_wait_for_room_hear_that_the_client_is_closed(world: World) -> None:
    [hop] = world.chain("a")
    await world.put([hop], SMALL)
    hop.store.gate.clear()
    where = route([hop], chunk_of(SMALL), len(SMALL), GET)
    client = ChunkClient(world.dialer, world.pool, REAL.threads, home=Domain("studio.carol"))
    gets = [asyncio.create_task(client.get(where)) for _ in range(100)]
    await settle()
    await client.close()
    await asyncio.wait(gets)
    assert {type(one.exception()) for one in gets} == {UnreachableError}
    hop.store.gate.set()


async def test_request_flood_is_answered_busy(world: World) -> None:
    [hop] = hops = world.chain("a")
    await world.put(hops)
    hop.store.gate.clear()
    limited = [
        asyncio.create_task(world.client.get(route(hops, CHUNK, 1 << 16, GET), 0, 100))
        for _ in range(1)
    ]
    for task in limited:
        task.cancel()
    await asyncio.wait(limited)
    connection = hop.server._connections.copy().pop()
    most = 64 + LATE_REQUESTS
    connection._running.update({10_000 + n: asyncio.create_task(settle()) for n in range(most)})
    with pytest.raises(BusyError):
        await world.put(hops, SMALL)
    hop.store.gate.set()
    await settle()
    for n in range(most):
        connection._running.pop(10_000 + n)


async def test_memory_pressure_pauses_reading_and_then_serves_all(world: World) -> None:
    hop = world.net.add(node("a"), pool_bytes=CHUNK_STORED_MAX_BYTES)
    blocks = [random.Random(seed).randbytes(4 * MIB) for seed in range(8)]
    async with asyncio.TaskGroup() as group:
        for block in blocks:
            group.create_task(world.put([hop], block))
    assert len(hop.store.chunks) == 8
    assert hop.pool.used_bytes + hop.pool.kept_bytes <= CHUNK_STORED_MAX_BYTES


async def test_no_memory_in_time_is_busy_and_the_connection_lives(world: World) -> None:
    hop = world.net.add(node("a"), pool_bytes=CHUNK_STORED_MAX_BYTES)
    with await hop.pool.acquire(CHUNK_STORED_MAX_BYTES), pytest.raises(BusyError):
        await world.put([hop])
    [result] = await world.put([hop])
    assert_receipt(result, hop)
    assert world.dialer.dials == 1


async def test_slow_reader_bounds_what_the_server_buffers_and_is_dropped(world: World) -> None:
    [hop] = hops = world.chain("a")
    await world.put(hops)
    client_end, server_end = world.dialer.transports[0]
    client_end.stuck = True
    get = asyncio.create_task(world.client.get(route(hops, CHUNK, len(DATA), GET)))
    while not server_end.get_write_buffer_size():
        await asyncio.sleep(0)
    most = 0
    for _ in range(50):
        await asyncio.sleep(0)
        most = max(most, server_end.get_write_buffer_size())
    assert 0 < most <= MIB
    assert hop.pool.outstanding == 1
    await asyncio.wait([get])
    assert isinstance(get.exception(), UnreachableError)
    while hop.pool.outstanding:
        await asyncio.sleep(0.01)


async def test_stalled_sender_is_given_up(world: World) -> None:
    [hop] = hops = world.chain("a")
    await world.put(hops, SMALL)
    _, server_end = world.dialer.transports[0]
    transfer = world.client.put(route(hops, CHUNK, len(DATA)), [DATA])
    waiting = asyncio.create_task(anext(transfer))
    while not hop.pool.outstanding:
        await asyncio.sleep(0)
    server_end.stuck = True
    while hop.server.active:
        await asyncio.sleep(0.01)
    assert hop.pool.outstanding == 0
    waiting.cancel()
    await asyncio.wait([waiting])


async def test_hung_connection_is_doubted_and_another_is_opened(world: World) -> None:
    hops = world.chain("a")
    await world.put(hops, SMALL)
    world.dialer.transports[0][1].stuck = True
    with pytest.raises(UnreachableError):
        await world.put(hops, DATA)
    [result] = await world.put(hops, DATA)
    assert_receipt(result, hops[0])
    assert world.dialer.dials == 2


async def test_server_refuses_new_requests_while_it_drains(world: World) -> None:
    [hop] = hops = world.chain("a")
    hop.store.gate.clear()
    running = asyncio.create_task(world.put(hops))
    while not hop.store.puts_begun:
        await asyncio.sleep(0)
    closing = asyncio.create_task(hop.server.close(5.0))
    await settle()
    with pytest.raises(BusyError):
        await world.put(hops, SMALL)
    hop.store.gate.set()
    [result] = await running
    assert_receipt(result, hop)
    await closing


async def test_answer_type_as_request_ends_the_connection(world: World) -> None:
    hops = world.chain("a")
    await world.put(hops, SMALL)
    [link] = world.client._links._peers[hops[0].identity]._links
    link.connection.send(FrameType.PUT_RESULT, 5)
    await settle()
    assert not link.connection.open
    assert not hops[0].server._connections


async def test_a_hop_is_reached_once_it_has_answered(world: World) -> None:
    [hop] = hops = world.chain("a")
    stood: list[int] = []
    where = route(hops, CHUNK, len(DATA), GET)
    await world.client.reach(where, stands=lambda: stood.append(world.dialer.dials))
    assert stood == [1]
    [link] = world.client._links._peers[hop.identity]._links
    assert link.connection.frames_received == 1
    await world.client.reach(where, stands=lambda: stood.append(world.dialer.dials))
    assert link.connection.frames_received == 1, "that is known"
    assert stood == [1, 1]


async def test_a_hop_that_closes_the_connection_once_it_stands_was_not_reached(
    world: World,
) -> None:
    hops = world.chain("a")

    def refuse() -> None:
        world.dialer.transports[0][1].abort()

    with pytest.raises(UnreachableError):
        await world.client.reach(route(hops, CHUNK, len(DATA), GET), stands=refuse)


async def test_a_hop_that_says_nothing_was_not_reached(world: World) -> None:
    hops = world.chain("a")

    def hang() -> None:
        world.dialer.transports[0][1].stuck = True

    client = ChunkClient(
        world.dialer, world.pool, REAL.threads, home=DOMAIN, limits=ClientLimits(dial_s=0.05)
    )
    async with client:
        with pytest.raises(UnreachableError, match="sent nothing for"):
            await client.reach(route(hops, CHUNK, len(DATA), GET), stands=hang)


async def test_server_that_ends_every_connection_is_unreachable_not_a_loop(world: World) -> None:
    [hop] = hops = world.chain("a")
    await hop.server.close(0.0)
    with pytest.raises((UnreachableError, BusyError)):
        await world.put(hops, SMALL)
    assert world.dialer.dials <= 3


async def test_no_memory_behind_an_unfinished_put_is_refused_rather_than_deadlocked(
    world: World,
) -> None:
    hop = world.net.add(node("a"), pool_bytes=CHUNK_STORED_MAX_BYTES)
    await world.put([hop], SMALL)
    [link] = world.client._links._peers[hop.identity]._links
    with await hop.pool.acquire(8 * MIB):
        first = world.client.put(route([hop], CHUNK, len(DATA)), [DATA])
        begun = asyncio.create_task(anext(first))
        while not hop.server.active:
            await asyncio.sleep(0)
        held = hop.pool.try_acquire(1)
        big = random.Random(3).randbytes(8 * MIB)
        link.turn = asyncio.Lock()  # as a hop does that passes on while it receives
        with pytest.raises(BusyError):
            await world.put([hop], big)
        assert_receipt(await begun, hop)
        await first.aclose()
        if held is not None:
            held.release()
