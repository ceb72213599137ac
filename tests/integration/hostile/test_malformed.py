"""Every path, id and number of every call, malformed; each is refused by a typed error."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from betterproto2 import Message
from grpclib.const import Cardinality
from grpclib.exceptions import GRPCError

from collective.core.errors import CollectiveError, ConflictError, UsageError
from collective.rpc.batching.calling import BatchedStream
from collective.rpc.client.channel import RpcChannel
from tests import protocol as pb
from tests.integration.hostile.attacker import Target, extent, intent

PATHS = {
    "dot dot": "/mallory/../private/secret.bin",
    "dot dot first": "/../private",
    "dot": "/mallory/./x",
    "only dots": "/..",
    "relative": "mallory/x",
    "empty": "",
    "NUL": "/mallory/a\0b",
    "newline": "/mallory/a\nb",
    "escape": "/mallory/\x1b[2J",
    "C1 control": "/mallory/\x85",
    "name too long": "/mallory/" + "n" * 256,
    "name too long in UTF-8": "/mallory/" + "é" * 128,
    "too deep": "/mallory" + "/d" * 130,
    "too long": "/mallory" + ("/" + "x" * 250) * 20,
    "a megabyte": "/mallory/" + "x" * 1_000_000,
    "peer": "/@garage.bob/media",
    "peer without domain": "/@",
    "peer with traversal": "/@../private",
    "peer with NUL": "/@\0",
    "file URL": "file:///etc/passwd",
    "backslash": "\\mallory\\x",
}
IDS = {
    "empty": "",
    "short": "0" * 31,
    "long": "0" * 33,
    "upper case": "A" * 32,
    "not hex": "g" * 32,
    "traversal": "../../../../etc/passwd",
    "NUL": "0" * 31 + "\0",
    "newline at the end": "0" * 32 + "\n",
    "SQL": "' OR 1=1 --",
    "a megabyte": "0" * 1_000_000,
    "other digits": "\u0660" * 32,
}
CHUNK_IDS = {"empty": b"", "short": b"x" * 31, "long": b"x" * 33, "huge": b"x" * 1_000_000}
NODE_IDS = {
    "empty": "",
    "slash": "spiffe://home.alice/node/a/b",
    "traversal": "spiffe://home.alice/node/../coordinator",
    "bare": "alice-node-01",
    "NUL": "spiffe://home.alice/node/a\0",
    "user": "spiffe://home.alice/user/home.alice/mallory",
    "upper": "spiffe://HOME.alice/node/A",
    "query": "spiffe://home.alice/node/a?x=1",
}
UNKNOWN_ID = "0123456789abcdef" * 2


def path_requests(path: str) -> Iterator[tuple[str, Message]]:
    yield "MakeDirectory", pb.MakeDirectoryRequest(path=path, parents=True)
    yield "List", pb.ListRequest(path=path)
    yield "Stat", pb.StatRequest(path=path)
    yield "Rights", pb.RightsRequest(path=path)
    yield "Changes", pb.ChangesRequest(path=path, cursor="x" * 100, wait_ms=1)
    yield "Remove", pb.RemoveRequest(path=path, recursive=True)
    yield "Move", pb.MoveRequest(source=path, destination="/mallory/x")
    yield "Move", pb.MoveRequest(source="/mallory/x", destination=path)
    yield "OpenUpload", pb.OpenUploadRequest(path=path)
    yield "OpenRead", pb.OpenReadRequest(path=path)
    yield "Read", pb.ReadRequest(path=path)
    yield "Write", pb.WriteRequest(header=pb.WriteHeader(path=path), data=b"x")
    yield (
        "AddGrant",
        pb.AddGrantRequest(path=path, rights=[pb.Right.READ], principal="eve@home.alice"),
    )


def id_requests(text: str) -> Iterator[tuple[str, Message]]:
    yield "AllocateChunks", pb.AllocateChunksRequest(upload_id=text)
    yield "RecordExtents", pb.RecordExtentsRequest(upload_id=text)
    yield "CommitUpload", pb.CommitUploadRequest(upload_id=text)
    yield "AbortUpload", pb.AbortUploadRequest(upload_id=text)
    yield "GetUpload", pb.GetUploadRequest(upload_id=text)
    yield "PlanRead", pb.PlanReadRequest(lease_id=text)
    yield "CloseRead", pb.CloseReadRequest(lease_id=text)
    yield "ReportCopy", pb.ReportCopyRequest(lease_id=text, chunk_id=b"x" * 32)
    yield "RemoveGrant", pb.RemoveGrantRequest(id=text)


_SERVICES = (pb.FilesBase, pb.UploadsBase, pb.ReadsBase, pb.StreamsBase, pb.PeopleBase)
_PATHS = {path.rpartition("/")[2]: path for one in _SERVICES for path in one().__mapping__()}
_CARDINALITY = {"Read": Cardinality.UNARY_STREAM, "Write": Cardinality.STREAM_UNARY}


class _Raw:
    """A request as the bytes that it is."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __bytes__(self) -> bytes:
        return self.raw


async def ask(channel: RpcChannel, method: str, request: Message | _Raw) -> bytes:
    """Call ``method`` with ``request``; return the last answer's bytes."""
    stream = channel.request(
        _PATHS[method],
        _CARDINALITY.get(method, Cardinality.UNARY_UNARY),
        type(request),
        pb.AbortUploadResponse,
        timeout=120,
    )
    async with _of_bytes(stream):
        await stream.send_message(request, end=True)
        last = b""
        async for answer in stream:
            last = answer
        return last


def _of_bytes(stream: Any) -> Any:
    """Return ``stream`` as one of bytes, also where it goes by itself instead of in a batch."""
    stream._codec = _AnyCodec()
    if isinstance(stream, BatchedStream):
        begin_alone = stream._begin_alone
        stream._begin_alone = lambda: _of_bytes(begin_alone())
    return stream


class _AnyCodec:
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> bytes:
        return data


async def refused(channel: RpcChannel, method: str, request: Message | _Raw, why: str) -> None:
    with pytest.raises(CollectiveError) as caught:
        await ask(channel, method, request)
    error = caught.value
    assert error.code in {
        "usage",
        "not_found",
        "permission_denied",
        "rejected",
        "conflict",
    }, f"{method}, {why}: {error.code}: {error.message[:300]}"
    assert isinstance(error.__cause__, GRPCError), f"{method}, {why}: no answer but {error!r}"
    assert len(error.message) <= 1000
    assert "Traceback" not in error.message


@pytest.fixture
async def channel(target: Target) -> AsyncIterator[RpcChannel]:
    """The operator's: nothing is refused because of missing grants."""
    async with target.channel(target.operator) as made:
        yield made


@pytest.mark.parametrize("name", PATHS)
async def test_malformed_paths_in_every_call(channel: RpcChannel, name: str) -> None:
    for method, request in path_requests(PATHS[name]):
        await refused(channel, method, request, name)


@pytest.mark.parametrize("name", IDS)
async def test_malformed_ids_in_every_call(channel: RpcChannel, name: str) -> None:
    for method, request in id_requests(IDS[name]):
        await refused(channel, method, request, name)


@pytest.mark.parametrize("name", CHUNK_IDS)
async def test_chunk_ids_of_a_wrong_length_in_every_call(channel: RpcChannel, name: str) -> None:
    bad, record = intent(b"x"), extent(b"x")
    bad.chunk_id = record.chunk_id = CHUNK_IDS[name]
    for method, request in (
        ("OpenUpload", pb.OpenUploadRequest(path="/mallory/x", chunks=[bad])),
        ("AllocateChunks", pb.AllocateChunksRequest(upload_id=UNKNOWN_ID, chunks=[bad])),
        ("RecordExtents", pb.RecordExtentsRequest(upload_id=UNKNOWN_ID, extents=[record])),
        ("CommitUpload", pb.CommitUploadRequest(upload_id=UNKNOWN_ID, extents=[record])),
        ("ReportCopy", pb.ReportCopyRequest(lease_id=UNKNOWN_ID, chunk_id=CHUNK_IDS[name])),
    ):
        await refused(channel, method, request, name)


@pytest.mark.parametrize("name", NODE_IDS)
async def test_malformed_node_ids_in_every_call(channel: RpcChannel, name: str) -> None:
    node = NODE_IDS[name]
    for method, request in (
        ("AllocateChunks", pb.AllocateChunksRequest(upload_id=UNKNOWN_ID, exclude_nodes=[node])),
        (
            "ReportCopy",
            pb.ReportCopyRequest(
                lease_id=UNKNOWN_ID, chunk_id=b"x" * 32, node=node, problem=pb.CopyProblem.CORRUPT
            ),
        ),
    ):
        await refused(channel, method, request, name)


@pytest.mark.parametrize(
    "principal",
    [
        "",
        "eve",
        "@",
        "eve@",
        "eve@@x",
        "spiffe://home.alice/node/x",
        "a/b@home.alice",
        "é@home.alice",
        "x" * 100_000,
        "eve@home.alice\n",
    ],
)
async def test_malformed_principals(channel: RpcChannel, principal: str) -> None:
    request = pb.AddGrantRequest(path="/mallory", rights=[pb.Right.READ], principal=principal)
    await refused(channel, "AddGrant", request, principal[:30])


_HUGE = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # 2^64-1
_MAX63 = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"  # 2^63-1


@pytest.mark.parametrize(
    "number", [_HUGE, _MAX63, b"\xff" * 12], ids=["2^64-1", "2^63-1", "endless"]
)
async def test_huge_numbers_in_every_call(channel: RpcChannel, number: bytes) -> None:
    path = b"\x0a\x13/private/secret.bin"
    upload = b"\x0a\x20" + UNKNOWN_ID.encode()
    for method, raw in (
        ("Remove", path + b"\x18" + number),
        ("OpenRead", path + b"\x10" + number),
        ("OpenRead", path + b"\x18" + number),
        ("OpenRead", path + b"\x28" + number),
        ("Read", path + b"\x10" + number),
        ("Read", path + b"\x18" + number),
        ("OpenUpload", path + b"\x18" + number),
        ("PlanRead", upload + b"\x10" + number),
        ("GetUpload", upload + b"\x10" + number),
        ("CommitUpload", upload + b"\x20" + number),
    ):
        await refused(channel, method, _Raw(raw), "huge")


async def test_the_largest_numbers_that_are_numbers(channel: RpcChannel) -> None:
    """2^62-1 passes the decoder; offset + length must not overflow anything behind it."""
    top = (1 << 62) - 1
    path = "/private/secret.bin"
    for method, request in (
        ("Remove", pb.RemoveRequest(path=path, if_version=top)),
        ("OpenRead", pb.OpenReadRequest(path=path, if_version=top)),
        ("GetUpload", pb.GetUploadRequest(upload_id=UNKNOWN_ID, from_offset=top)),
        ("CommitUpload", pb.CommitUploadRequest(upload_id=UNKNOWN_ID, size_bytes=top)),
    ):
        await refused(channel, method, request, "2^62-1")
    for name, ranged in (
        ("OpenRead", pb.OpenReadRequest(path=path, offset=top, length=top)),
        ("Read", pb.ReadRequest(path=path, offset=top, length=top)),
        ("OpenRead", pb.OpenReadRequest(path=path, length=top)),
    ):
        with suppress(UsageError, ConflictError):
            await ask(channel, name, ranged)


async def test_negative_and_absurd_attributes(channel: RpcChannel) -> None:
    for attributes in (
        pb.FileAttributes(modified_s=-(1 << 63)),
        pb.FileAttributes(modified_s=(1 << 63) - 1),
        pb.FileAttributes(modified_s=0, modified_ns=1_000_000_000),
        pb.FileAttributes(modified_ns=1),
        pb.FileAttributes(mode=0o10000),
        pb.FileAttributes(mode=(1 << 32) - 1),
        pb.FileAttributes(content_type="x" * 256),
        pb.FileAttributes(metadata={"k": "v" * 20_000}),
        pb.FileAttributes(metadata={str(i): "v" for i in range(20_000)}),
    ):
        await refused(
            channel,
            "OpenUpload",
            pb.OpenUploadRequest(path="/mallory/x", attributes=attributes),
            str(attributes)[:50],
        )
    for grant in (
        pb.AddGrantRequest(
            path="/mallory", rights=[pb.Right.READ], principal="e@home.alice", expires_ms=-1
        ),
        pb.AddGrantRequest(path="/mallory", rights=[], principal="e@home.alice"),
        pb.AddGrantRequest(path="/mallory", rights=[pb.Right(99)], principal="e@home.alice"),
        pb.AddGrantRequest(
            path="/mallory", rights=[pb.Right.UNSPECIFIED], principal="e@home.alice"
        ),
    ):
        await refused(channel, "AddGrant", grant, str(grant)[:50])


async def test_oversized_batches(channel: RpcChannel) -> None:
    many = [intent(b"x")] * 65
    for method, request in (
        ("OpenUpload", pb.OpenUploadRequest(path="/mallory/x", chunks=many)),
        ("AllocateChunks", pb.AllocateChunksRequest(upload_id=UNKNOWN_ID, chunks=many)),
        (
            "RecordExtents",
            pb.RecordExtentsRequest(upload_id=UNKNOWN_ID, extents=[extent(b"x")] * 65),
        ),
        ("CommitUpload", pb.CommitUploadRequest(upload_id=UNKNOWN_ID, extents=[extent(b"x")] * 65)),
        (
            "RecordExtents",
            pb.RecordExtentsRequest(upload_id=UNKNOWN_ID, receipts=[pb.SignedReceipt()] * 2000),
        ),
        (
            "AllocateChunks",
            pb.AllocateChunksRequest(
                upload_id=UNKNOWN_ID, exclude_nodes=["spiffe://home.alice/node/x"] * 257
            ),
        ),
    ):
        await refused(channel, method, request, "batch")


@pytest.mark.parametrize("token", ["x", "\0", "../..", "eyJhIjogMX0=", "A" * 20_000, "🦆", "-1"])
async def test_page_tokens_that_were_never_given(channel: RpcChannel, token: str) -> None:
    with suppress(UsageError):
        await ask(channel, "List", pb.ListRequest(path="/private", page_token=token))


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\x0a\x7f/cut", id="cut off"),
        pytest.param(b"\x0a\x02\xff\xfe", id="not UTF-8"),
        pytest.param(b"\x0a\x04/\xed\xa0\x80", id="surrogate"),
        pytest.param(b"\x08\x05", id="number for a path"),
        pytest.param(b"\xff" * 100, id="junk"),
        pytest.param(b"\x0b" * 1000, id="groups"),
        pytest.param(b"\xf8\x01\x01" * 1_300_000, id="a million unknown fields"),
        pytest.param(b"\x0a\x00" * 2_000_000, id="one field two million times"),
    ],
)
async def test_bytes_that_are_no_message_in_every_call(channel: RpcChannel, raw: bytes) -> None:
    for method in (
        "List", "Stat", "Remove", "Move", "MakeDirectory", "OpenUpload", "OpenRead", "Read",
        "Write", "CommitUpload", "RemoveGrant", "AddGrant",
    ):  # fmt: skip
        with pytest.raises(CollectiveError) as caught:
            await ask(channel, method, _Raw(raw))
        assert caught.value.code == "rejected", (method, caught.value)
