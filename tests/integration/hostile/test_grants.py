"""A user beyond its grants, by every call; other users' uploads and leases; chunks by their names."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import pytest

from collective.core.errors import (
    CollectiveError,
    NotEnoughCopiesError,
    NotFoundError,
    PermissionDeniedError,
    RejectedError,
    UsageError,
)
from tests import protocol as pb
from tests.integration.hostile.attacker import Target, extent, intent, send, upload
from tests.integration.hostile.conftest import SECRET

Call = Callable[[pb.FileStubs], Awaitable[object]]
READ_ID = "1" * 32


async def _write(stub: pb.FileStubs) -> object:
    async def messages() -> object:
        yield pb.WriteRequest(header=pb.WriteHeader(path="/private/secret.bin"), data=b"x")

    return await stub.write(messages())  # type: ignore[arg-type]


async def _read(stub: pb.FileStubs) -> object:
    return [part async for part in stub.read(pb.ReadRequest(path="/private/secret.bin"))]


S = "/private/secret.bin"
CALLS: dict[str, Call] = {
    "mkdir": lambda s: s.make_directory(pb.MakeDirectoryRequest(path="/private/x", parents=True)),
    "mkdir of a datastore": lambda s: s.make_directory(pb.MakeDirectoryRequest(path="/mine")),
    "list": lambda s: s.list(pb.ListRequest(path="/private")),
    "list recursive": lambda s: s.list(pb.ListRequest(path="/private", recursive=True)),
    "stat": lambda s: s.stat(pb.StatRequest(path=S)),
    "stat of what is absent": lambda s: s.stat(pb.StatRequest(path="/private/absent")),
    "remove": lambda s: s.remove(pb.RemoveRequest(path=S)),
    "remove recursive": lambda s: s.remove(pb.RemoveRequest(path="/private", recursive=True)),
    "move out": lambda s: s.move(pb.MoveRequest(source=S, destination="/mallory/stolen")),
    "move in": lambda s: s.move(
        pb.MoveRequest(source="/mallory/own", destination="/private/secret.bin")
    ),
    "read": _read,
    "write": _write,
    "open upload": lambda s: s.open_upload(pb.OpenUploadRequest(path=S, chunks=[intent(b"x")])),
    "open read": lambda s: s.open_read(pb.OpenReadRequest(path=S)),
    "open read by relay": lambda s: s.open_read(
        pb.OpenReadRequest(path=S, mode=pb.RouteMode.RELAY)
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_files_outside_of_the_grants(target: Target, name: str) -> None:
    async with target.channel(target.mallory) as channel:
        with pytest.raises((PermissionDeniedError, NotFoundError)):
            await CALLS[name](channel.stub(pb.FileStubs))
    assert target.cluster.read("/private/secret.bin") == SECRET


async def test_absent_and_forbidden_look_the_same(target: Target) -> None:
    """What may not be read may not be known to exist either."""
    answers = []
    async with target.channel(target.mallory) as channel:
        for path in ("/private/secret.bin", "/private/absent", "/nodatastore/absent"):
            with pytest.raises(CollectiveError) as caught:
                await channel.stub(pb.FileStubs).stat(pb.StatRequest(path=path))
            answers.append((caught.value.code, caught.value.message.replace(path, "PATH")))
    assert answers[0] == answers[1], answers
    assert answers[0][0] == answers[2][0], answers


async def test_counts_cover_only_what_the_caller_may_read(target: Target) -> None:
    stranger = target.user("stranger")
    async with target.channel(stranger) as channel:
        stub = channel.stub(pb.MemberStubs)
        status = await stub.get_status(pb.GetStatusRequest())
        assert status.files is not None
        assert (status.files.total, status.files.bytes) == (0, 0)
        assert status.chunks is None, "there is no datastore that it may read whole"
        assert status.you is not None
        assert status.you.grants == []
        assert status.node_join_code is None or status.node_join_code.uses_left == 0
        assert (await stub.list_grants(pb.ListGrantsRequest())).grants == []
        with pytest.raises(PermissionDeniedError):
            await channel.stub(pb.FileStubs).list(pb.ListRequest(path="/", recursive=True))


async def test_grants_that_mallory_gives_itself(target: Target) -> None:
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.MemberStubs)
        for path in ("/private", "/", "/mallory"):  # it has no right to share
            with pytest.raises(PermissionDeniedError):
                await stub.add_grant(
                    pb.AddGrantRequest(
                        path=path, rights=[pb.Right.READ], principal="mallory@home.alice"
                    )
                )
        with pytest.raises(PermissionDeniedError):
            await stub.adopt_nodes(pb.AdoptNodesRequest(all=True))
    async with target.channel(target.operator) as channel:
        grants = (await channel.stub(pb.PeopleStub).list_grants(pb.ListGrantsRequest())).grants
    theirs = next(g for g in grants if g.path == "/by")
    async with target.channel(target.mallory) as channel:
        with pytest.raises((PermissionDeniedError, NotFoundError)):
            await channel.stub(pb.PeopleStub).remove_grant(pb.RemoveGrantRequest(id=theirs.id))


async def test_the_upload_id_of_another_user(target: Target) -> None:
    content = b"of the bystander" * 9
    opened = await upload(target, target.bystander, "/by/upload", content)
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.FileStubs)
        with pytest.raises(NotFoundError):
            await stub.allocate_chunks(
                pb.AllocateChunksRequest(upload_id=opened.upload_id, chunks=[intent(b"m")])
            )
        with pytest.raises(NotFoundError):
            await stub.record_extents(pb.RecordExtentsRequest(upload_id=opened.upload_id))
        with pytest.raises(NotFoundError):
            await stub.commit_upload(pb.CommitUploadRequest(upload_id=opened.upload_id))
        with pytest.raises(NotFoundError):
            await stub.get_upload(pb.GetUploadRequest(upload_id=opened.upload_id))
        await stub.abort_upload(pb.AbortUploadRequest(upload_id=opened.upload_id))
    receipts = send(target, target.bystander, opened.plans[0], content)
    async with target.channel(target.bystander) as channel:
        await channel.stub(pb.UploadsStub).commit_upload(
            pb.CommitUploadRequest(
                upload_id=opened.upload_id,
                extents=[extent(content)],
                receipts=receipts,
                size_bytes=len(content),
            )
        )
    assert target.cluster.read("/by/upload") == content


async def test_the_lease_of_another_user(target: Target) -> None:
    async with target.channel(target.operator) as channel:
        read = await channel.stub(pb.ReadsStub).open_read(
            pb.OpenReadRequest(path="/private/secret.bin")
        )
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.FileStubs)
        with pytest.raises((NotFoundError, PermissionDeniedError)):
            await stub.plan_read(pb.PlanReadRequest(lease_id=read.lease_id))
        with pytest.raises((NotFoundError, PermissionDeniedError)):
            await stub.report_copy(
                pb.ReportCopyRequest(
                    lease_id=read.lease_id,
                    chunk_id=b"\1" * 32,
                    node=str(target.node_id()),
                    problem=pb.CopyProblem.CORRUPT,
                )
            )
        await stub.close_read(pb.CloseReadRequest(lease_id=read.lease_id))
    async with target.channel(target.operator) as channel:  # the lease is still there
        await channel.stub(pb.ReadsStub).plan_read(pb.PlanReadRequest(lease_id=read.lease_id))


async def test_a_lease_ends_with_the_right_to_read(target: Target) -> None:
    cluster = target.cluster
    granted = cluster.cli("grant", "add", "/private:read", "mallory@home.alice", "--json").json()
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.FileStubs)
        read = await stub.open_read(pb.OpenReadRequest(path="/private/secret.bin"))
        async with target.channel(target.operator) as operator:
            await operator.stub(pb.PeopleStub).remove_grant(pb.RemoveGrantRequest(id=granted["id"]))
        with pytest.raises((NotFoundError, PermissionDeniedError)):
            await stub.plan_read(pb.PlanReadRequest(lease_id=read.lease_id))


async def test_a_lease_ends_where_the_file_is_moved_out_of_the_grants(target: Target) -> None:
    """Mallory keeps a read open; the operator moves the file away, and then removes it there."""
    cluster = target.cluster
    cluster.write("/mallory/lent", SECRET)
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.FileStubs)
        read = await stub.open_read(pb.OpenReadRequest(path="/mallory/lent"))
        plan = pb.PlanReadRequest(lease_id=read.lease_id)
        assert (await stub.plan_read(plan)).plans
        cluster.cli("mv", "/mallory/lent", "/private/lent")
        with pytest.raises(PermissionDeniedError) as caught:
            await stub.plan_read(plan)
        assert "/private" not in caught.value.message
        cluster.cli("rm", "/private/lent")
        with pytest.raises((PermissionDeniedError, NotFoundError)):
            await stub.plan_read(plan)
        # What is removed where it was opened may be read to its end.
        cluster.write("/mallory/lent", SECRET)
        read = await stub.open_read(pb.OpenReadRequest(path="/mallory/lent"))
        cluster.cli("rm", "/mallory/lent")
        assert (await stub.plan_read(pb.PlanReadRequest(lease_id=read.lease_id))).plans


async def test_a_quota_is_not_shed_by_making_the_datastore_anew(target: Target) -> None:
    cluster = target.cluster
    cluster.cli("datastore", "create", "/bounded", "--quota", "100KiB")
    for path in ("/bounded", "/bounded2"):
        cluster.cli("grant", "add", f"{path}:read+write+share", "mallory@home.alice")
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.FileStubs)
        for recursive in (False, True):
            with pytest.raises(PermissionDeniedError):
                await stub.remove(pb.RemoveRequest(path="/bounded", recursive=recursive))
        for place in ("/bounded2", "/mallory/bounded"):
            with pytest.raises(PermissionDeniedError):
                await stub.move(pb.MoveRequest(source="/bounded", destination=place))
        await stub.make_directory(pb.MakeDirectoryRequest(path="/bounded2"))
        await stub.remove(pb.RemoveRequest(path="/bounded2", recursive=True))
    cluster.cli("rm", "-r", "/bounded", "--yes")


# --- naming a chunk is no proof of having it -----------------------------------------------------


async def test_a_chunk_named_but_not_had_gives_no_file(target: Target) -> None:
    """Mallory knows the id of a secret chunk, opens an upload of it and commits at once."""
    secret = intent(SECRET)
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.FileStubs)
        opened = await stub.open_upload(
            pb.OpenUploadRequest(path="/mallory/stolen", chunks=[secret])
        )
        plan = opened.plans[0]
        assert not plan.stored, "deduplication told mallory that the chunk is here"
        assert plan.copies_held == 0
        assert plan.routes
        with pytest.raises(NotEnoughCopiesError):
            await stub.commit_upload(
                pb.CommitUploadRequest(
                    upload_id=opened.upload_id, extents=[extent(SECRET)], size_bytes=len(SECRET)
                )
            )
        assert (
            await stub.record_extents(
                pb.RecordExtentsRequest(upload_id=opened.upload_id, extents=[extent(SECRET)])
            )
        ).recorded_bytes == 0
        with pytest.raises(NotFoundError):
            await stub.stat(pb.StatRequest(path="/mallory/stolen"))


async def test_a_chunk_named_with_other_lengths_does_not_hurt_its_owner(target: Target) -> None:
    secret = intent(SECRET)
    async with target.channel(target.mallory) as channel:
        stub = channel.stub(pb.FileStubs)
        for length in (1, secret.stored_length - 1):
            secret.stored_length = length
            with pytest.raises((UsageError, RejectedError)):
                await stub.open_upload(
                    pb.OpenUploadRequest(path="/mallory/stolen", chunks=[secret])
                )
        plans = []
        for named in (secret, intent(os.urandom(9))):  # one that is here, one that nobody has
            named.stored_length = 1 << 24
            request = pb.OpenUploadRequest(path="/mallory/stolen", chunks=[named])
            (plan,) = (await stub.open_upload(request)).plans
            plans.append((plan.stored, plan.copies_held, plan.quorum, bool(plan.routes)))
        assert plans[0] == plans[1] == (False, 0, 2, True)
    assert target.cluster.read("/private/secret.bin") == SECRET


async def test_another_users_chunk_under_way_is_not_spoilt_by_naming_it(target: Target) -> None:
    """The id is known, the bytes are not stored yet: a wrong length must not stick to it."""
    content = b"on its way" * 99
    opened = await upload(target, target.bystander, "/by/underway", content)
    lying = intent(content)
    lying.stored_length = 77
    async with target.channel(target.mallory) as channel:
        with suppress(UsageError):
            await channel.stub(pb.UploadsStub).open_upload(
                pb.OpenUploadRequest(path="/mallory/lie", chunks=[lying])
            )
    receipts = send(target, target.bystander, opened.plans[0], content)
    async with target.channel(target.bystander) as channel:
        await channel.stub(pb.UploadsStub).commit_upload(
            pb.CommitUploadRequest(
                upload_id=opened.upload_id,
                extents=[extent(content)],
                receipts=receipts,
                size_bytes=len(content),
            )
        )
    assert target.cluster.read("/by/underway") == content


async def test_a_stream_that_runs_ends_with_its_right(target: Target) -> None:
    """Reading slowly or writing slowly: both would go on for minutes."""
    content = os.urandom(16 << 20)
    target.cluster.write("/by/long", content)
    for rights, run in (("read", _read_slowly), ("write", _write_slowly)):
        given = target.cluster.cli(
            "grant", "add", f"/by:{rights}", "mallory@home.alice", "--json"
        ).json()
        async with target.channel(target.mallory) as channel:
            stub = channel.stub(pb.FileStubs)
            moving = asyncio.Event()
            running = asyncio.create_task(run(stub, moving))
            async with asyncio.timeout(120):
                await moving.wait()
            assert not running.done()
            async with target.channel(target.operator) as operator:
                await operator.stub(pb.PeopleStub).remove_grant(
                    pb.RemoveGrantRequest(id=given["id"])
                )
            with pytest.raises(PermissionDeniedError):
                await running
    assert target.cluster.cli("stat", "/by/slow", check=False).code == 3


async def _read_slowly(stub: pb.FileStubs, moving: asyncio.Event) -> None:
    async for _ in stub.read(pb.ReadRequest(path="/by/long")):
        moving.set()
        await asyncio.sleep(1.0)


async def _write_slowly(stub: pb.FileStubs, moving: asyncio.Event) -> None:
    async def messages() -> AsyncIterator[pb.WriteRequest]:
        yield pb.WriteRequest(header=pb.WriteHeader(path="/by/slow"))
        for _ in range(5):  # more than a chunk, so that the upload is open
            yield pb.WriteRequest(data=os.urandom(1 << 20))
        moving.set()
        for _ in range(600):
            await asyncio.sleep(0.1)
            yield pb.WriteRequest(data=b"x")

    await stub.write(messages())
