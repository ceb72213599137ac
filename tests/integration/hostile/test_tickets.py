"""Tickets and receipts of the chunk stream, forged, replayed and turned to other ends."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from collective.chunking.chunk_ids import chunk_id
from collective.core.errors import CollectiveError, NotEnoughCopiesError, RejectedError, UsageError
from collective.core.limits import ROUTE_MAX_HOPS
from collective.pki.credentials import Credentials
from collective.rpc.conversions.transfers import ticket_messages
from collective.transfer.stream.frames import FrameType
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.making import sign_ticket
from collective.transfer.tickets.receipts import ReceiptRefusedError
from tests import protocol as pb
from tests.integration.hostile.attacker import Target, extent, send, stored, upload

CONTENT = b"mallory's own chunk" * 50


@pytest.fixture
async def plan(target: Target) -> pb.OpenUploadResponse:
    content = CONTENT + str(time.time_ns()).encode()
    opened = await upload(target, target.mallory, "/mallory/file", content)
    opened.content = content  # type: ignore[attr-defined]
    return opened


def content_of(plan: pb.OpenUploadResponse) -> bytes:
    return plan.content  # type: ignore[attr-defined,no-any-return]


def attempt(
    target: Target,
    plan: pb.OpenUploadResponse,
    change: Callable[[pb.Ticket], object] | None = None,
    *,
    credentials: Credentials | None = None,
    number: int | None = None,
    content: bytes | None = None,
    key: TicketKey | None = None,
) -> pb.ErrorDetail:
    """Put with the plan's tickets, the first one changed (its MAC kept unless ``key`` is given)."""
    route = plan.plans[0].routes[0]
    hops = [pb.SignedTicket(body=h.body, key_id=h.key_id, mac=h.mac) for h in route.hops]
    ticket = pb.Ticket.parse(hops[0].body)
    if change is not None:
        change(ticket)
        hops[0].body = bytes(ticket)
    if key is not None:
        (hops[0],) = ticket_messages([sign_ticket(key, ticket)])
    raw = stored(content_of(plan) if content is None else content)
    port = route.first_addresses[0].port if number is None else target.node_port(number)
    with target.wire(credentials or target.mallory, port) as wire:
        return wire.put(hops, chunk_id(raw), raw).error()


def set_field(name: str, value: object) -> Callable[[pb.Ticket], object]:
    return lambda ticket: setattr(ticket, name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("chunk_id", b"\1" * 32),
        ("length_limit", 1 << 24),
        ("transfer_id", "0" * 32),
        ("node", "spiffe://home.alice/node/alice-node-09"),
        ("holder", "spiffe://home.alice/user/home.alice/eve"),
        ("generation", 1),
        ("next_node", "spiffe://home.alice/node/alice-node-09"),
        ("revocation_epoch", 1 << 40),
        ("expires_ms", 1 << 60),
        ("forward_only", True),
        ("operation", pb.ChunkOperation.GET),
    ],
)
async def test_a_ticket_with_an_altered_field(
    target: Target, plan: pb.OpenUploadResponse, name: str, value: object
) -> None:
    assert attempt(target, plan, set_field(name, value)).code == "ticket_refused"


async def test_a_ticket_signed_under_a_key_of_the_attackers(
    target: Target, plan: pb.OpenUploadResponse
) -> None:
    known = plan.plans[0].routes[0].hops[0].key_id
    assert attempt(target, plan, key=TicketKey(known, b"k" * 32)).code == "ticket_refused"
    assert attempt(target, plan, key=TicketKey(known ^ 1, b"k" * 32)).code == "unknown_key"


async def test_a_ticket_replayed_by_another_certificate(
    target: Target, plan: pb.OpenUploadResponse
) -> None:
    for thief in (target.bystander, target.operator, target.node(2)):
        assert attempt(target, plan, credentials=thief).code == "ticket_refused"


async def test_a_ticket_for_another_chunk(target: Target, plan: pb.OpenUploadResponse) -> None:
    assert attempt(target, plan, content=b"something else").code == "ticket_refused"


async def test_a_ticket_at_another_node(target: Target, plan: pb.OpenUploadResponse) -> None:
    first = plan.plans[0].routes[0].first_node
    for number in (1, 2, 3):
        if str(target.node_id(number)) != first:
            assert attempt(target, plan, number=number).code in {"unknown_key", "ticket_refused"}


async def test_a_later_hops_ticket_at_its_node_by_the_client(
    target: Target, plan: pb.OpenUploadResponse
) -> None:
    """The second hop's ticket belongs to the first node's connection, not to the client's."""
    route = plan.plans[0].routes[0]
    assert len(route.hops) > 1
    second = pb.Ticket.parse(route.hops[1].body)
    number = int(second.node[-2:])
    raw = stored(content_of(plan))
    with target.wire(target.mallory, target.node_port(number)) as wire:
        error = wire.put(route.hops[1:], chunk_id(raw), raw).error()
    assert (error.code, "holder" in error.message) == ("ticket_refused", True)


async def test_hops_put_together_from_other_routes(
    target: Target, plan: pb.OpenUploadResponse
) -> None:
    route = plan.plans[0].routes[0]
    raw = stored(content_of(plan))
    for hops in (
        [route.hops[0], route.hops[0]],
        [route.hops[0], *route.hops[2:]] if len(route.hops) > 2 else [route.hops[0]] * 4,
        [route.hops[0]] * (ROUTE_MAX_HOPS + 1),
        [],
        [route.hops[0], pb.SignedTicket(body=b"\xff" * 40, mac=b"m" * 32)],
        [route.hops[0], pb.SignedTicket()],
    ):
        with target.wire(target.mallory, route.first_addresses[0].port) as wire:
            assert wire.put(hops, chunk_id(raw), raw).error().code in {"ticket_refused", "rejected"}


async def test_a_put_ticket_used_to_get(target: Target, plan: pb.OpenUploadResponse) -> None:
    route = plan.plans[0].routes[0]
    send(target, target.mallory, plan.plans[0], content_of(plan))
    with target.wire(target.mallory, route.first_addresses[0].port) as wire:
        error = wire.get(route.hops, plan.plans[0].chunk_id).error()
    assert (error.code, "operation" in error.message) == ("ticket_refused", True)


async def test_bytes_that_are_not_the_chunk_named(
    target: Target, plan: pb.OpenUploadResponse
) -> None:
    route = plan.plans[0].routes[0]
    raw = bytearray(stored(content_of(plan)))
    raw[-1] ^= 1
    with target.wire(target.mallory, route.first_addresses[0].port) as wire:
        result = wire.put(route.hops, plan.plans[0].chunk_id, bytes(raw)).result()
    assert result.receipt is None
    assert result.error is not None
    assert result.error.code == "corrupt"


async def test_a_get_ticket_is_for_one_chunk_and_holder(target: Target) -> None:
    async with target.channel(target.operator) as channel:
        read = await channel.stub(pb.ReadsStub).open_read(
            pb.OpenReadRequest(path="/private/secret.bin")
        )
    plan = read.plans[0]
    assert plan.extent is not None
    route = plan.routes[0]
    port = route.first_addresses[0].port
    with target.wire(target.mallory, port) as wire:
        assert wire.get(route.hops, plan.extent.chunk_id).error().code == "ticket_refused"
    with target.wire(target.operator, port) as wire:
        assert wire.get(route.hops, b"\1" * 32).error().code == "ticket_refused"
        assert wire.get(route.hops, plan.extent.chunk_id, offset=1 << 31).error().code in {
            "rejected",
            "usage",
            "ticket_refused",
        }
        assert wire.get(route.hops, plan.extent.chunk_id).type is FrameType.GET_RESULT


# --- receipts ------------------------------------------------------------------------------------


async def commit(
    target: Target,
    upload_id: str,
    extents: list[pb.Extent],
    receipts: list[pb.SignedReceipt],
    size: int,
) -> pb.Entry:
    async with target.channel(target.mallory) as channel:
        return await channel.stub(pb.UploadsStub).commit_upload(
            pb.CommitUploadRequest(
                upload_id=upload_id, extents=extents, receipts=receipts, size_bytes=size
            )
        )


async def test_receipts_invented_by_the_client(target: Target, plan: pb.OpenUploadResponse) -> None:
    content = content_of(plan)
    for key_id in (0, 1, plan.plans[0].routes[0].hops[0].key_id):
        receipts = [
            pb.SignedReceipt(
                body=bytes(
                    pb.Receipt(
                        chunk_id=plan.plans[0].chunk_id,
                        length=len(stored(content)),
                        generation=1,
                        transfer_id=plan.upload_id,
                        node=str(target.node_id(number)),
                        flushed=True,
                    )
                ),
                key_id=key_id,
                mac=b"m" * 32,
                node=str(target.node_id(number)),
            )
            for number in (1, 2, 3)
        ]
        with pytest.raises(ReceiptRefusedError):
            await commit(target, plan.upload_id, [extent(content)], receipts, len(content))


@pytest.mark.parametrize("node", ["", "node", "spiffe://home.alice/node/a/b", "spiffe://x", "\0"])
async def test_receipts_that_name_no_node(
    target: Target, plan: pb.OpenUploadResponse, node: str
) -> None:
    receipt = pb.SignedReceipt(body=b"", key_id=1, mac=b"m" * 32, node=node)
    with pytest.raises((RejectedError, UsageError)):
        await commit(target, plan.upload_id, [], [receipt], 0)


async def test_a_real_receipt_altered_or_said_to_be_of_another_node(
    target: Target, plan: pb.OpenUploadResponse
) -> None:
    content = content_of(plan)
    good = send(target, target.mallory, plan.plans[0], content)
    for name, value in (
        ("length", 5),
        ("generation", 999),
        ("chunk_id", b"\1" * 32),
        ("transfer_id", "0" * 32),
    ):
        receipt = pb.Receipt.parse(good[0].body)
        setattr(receipt, name, value)
        bad = pb.SignedReceipt(
            body=bytes(receipt), key_id=good[0].key_id, mac=good[0].mac, node=good[0].node
        )
        with pytest.raises(RejectedError):
            await commit(target, plan.upload_id, [extent(content)], [bad], len(content))
    other = next(r.node for r in good if r.node != good[0].node)
    moved = pb.SignedReceipt(body=good[0].body, key_id=good[0].key_id, mac=good[0].mac, node=other)
    with pytest.raises(RejectedError):
        await commit(target, plan.upload_id, [extent(content)], [moved], len(content))
    with pytest.raises(NotEnoughCopiesError):  # one receipt said many times is one copy
        await commit(target, plan.upload_id, [extent(content)], [good[0]] * 8, len(content))
    assert (await commit(target, plan.upload_id, [extent(content)], good, len(content))).version


async def test_receipts_of_another_upload(target: Target, plan: pb.OpenUploadResponse) -> None:
    content = content_of(plan)
    receipts = send(target, target.mallory, plan.plans[0], content)
    second = await upload(target, target.mallory, "/mallory/other", content)
    with pytest.raises(RejectedError):
        await commit(target, second.upload_id, [extent(content)], receipts, len(content))


# --- commits -------------------------------------------------------------------------------------


async def test_commit_of_chunks_that_were_never_stored(
    target: Target, plan: pb.OpenUploadResponse
) -> None:
    content = content_of(plan)
    with pytest.raises(NotEnoughCopiesError):
        await commit(target, plan.upload_id, [extent(content)], [], len(content))
    with pytest.raises(RejectedError):
        await commit(target, plan.upload_id, [extent(b"never named")], [], 11)


@pytest.mark.parametrize(
    ("places", "size"),
    [
        pytest.param([(0, None), (100, None)], None, id="overlap"),
        pytest.param([(0, None), (5000, None)], None, id="gap"),
        pytest.param([(1, None)], None, id="not from the beginning"),
        pytest.param([(0, None)], 5, id="longer than the size"),
        pytest.param([(0, None)], 1 << 40, id="shorter than the size"),
        pytest.param([], 5, id="no extents"),
        pytest.param([(0, 0)], 0, id="empty extent"),
        pytest.param([(0, 1 << 31)], 1 << 31, id="extent longer than any chunk"),
        pytest.param([(0, 1 << 20)], 1 << 20, id="extent longer than its chunk"),
        pytest.param([((1 << 62) - 1, None)], None, id="at the end of numbers"),
        pytest.param([(0, None)], (1 << 64) - 1, id="a size of 2^64-1"),
    ],
)
async def test_extents_that_do_not_make_the_file(
    target: Target,
    plan: pb.OpenUploadResponse,
    places: list[tuple[int, int | None]],
    size: int | None,
) -> None:
    content = content_of(plan)
    receipts = send(target, target.mallory, plan.plans[0], content)
    extents = [extent(content, offset, length) for offset, length in places]
    total = sum(e.length for e in extents) if size is None else size
    with pytest.raises(CollectiveError) as caught:
        await commit(target, plan.upload_id, extents, receipts, total)
    assert caught.value.code in {"usage", "conflict", "rejected"}, caught.value
