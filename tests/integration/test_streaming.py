"""Whole files by plain gRPC through the coordinator."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator

from collective.core.clock import SystemClock
from collective.core.disk import OsDisk
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.pki.credentials import load_credentials
from collective.pki.revocation import RevocationSet
from collective.rpc.client.channel import RpcChannel
from collective.rpc.tls.gate import PeerGate
from tests import protocol as pb
from tests.integration.cluster import Cluster
from tests.worlds import LINKS

PATH = "/shared/streamed"


def channel_of(cluster: Cluster) -> RpcChannel:
    options = dict(zip(cluster.operator[::2], cluster.operator[1::2], strict=True))
    credentials = load_credentials(
        options["--cert"], options["--key"], options["--ca"], disk=OsDisk()
    )
    return LINKS.channel(
        [Address.parse(options["--coordinator"])],
        credentials=credentials,
        gate=PeerGate(credentials.trust(), RevocationSet(), SystemClock()),
        expect=SpiffeId.coordinator(credentials.domain),
    )


async def messages(data: bytes) -> AsyncIterator[pb.WriteRequest]:
    yield pb.WriteRequest(header=pb.WriteHeader(path=PATH))
    for start in range(0, len(data), 100_000):
        yield pb.WriteRequest(data=data[start : start + 100_000])


async def test_a_file_goes_in_and_out_by_grpc_alone(cluster: Cluster) -> None:
    data = random.Random(1).randbytes(9 * 1024 * 1024 + 3)
    cluster.cli("mkdir", "-p", "/shared")
    channel = channel_of(cluster)
    try:
        files = channel.stub(pb.FileStubs)
        entry = await files.write(messages(data))
        assert entry.size_bytes == len(data)
        answers = [answer async for answer in files.read(pb.ReadRequest(path=PATH))]
        assert answers[0].entry is not None
        assert b"".join(answer.data for answer in answers) == data
        part = [a async for a in files.read(pb.ReadRequest(path=PATH, offset=4194303, length=2))]
        assert b"".join(answer.data for answer in part) == data[4194303:4194305]
    finally:
        await channel.aclose()
    assert cluster.read(PATH) == data
