"""Somebody else's gRPC client does everything that ours does, over mTLS, with nothing but .proto files."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.integration import foreign, processes
from tests.integration.cluster import Cluster
from tests.integration.material import Material

MIB = 1024 * 1024
MESSAGE_BYTES = 1024 * 1024
T = 120.0


@pytest.fixture(scope="module")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> foreign.Stubs:
    return foreign.generate(tmp_path_factory.mktemp("stubs"))


@pytest.fixture(scope="module")
def channel(cluster: Cluster) -> Iterator[grpc.Channel]:
    with foreign.channel(cluster) as made:
        yield made


@pytest.fixture(scope="module")
def files(channel: grpc.Channel, stubs: foreign.Stubs, cluster: Cluster) -> Any:
    stub = stubs.files_of(channel)
    stub.MakeDirectory(stubs.messages.MakeDirectoryRequest(path="/foreign"), timeout=T)
    return stub


def messages(stubs: foreign.Stubs, path: str, material: Material, **header: Any) -> Iterator[Any]:
    pb = stubs.messages
    yield pb.WriteRequest(header=pb.WriteHeader(path=path, **header))
    for block in material.blocks():
        yield pb.WriteRequest(data=block)


def write(stubs: foreign.Stubs, files: Any, path: str, material: Material, **header: Any) -> Any:
    return files.Write(messages(stubs, path, material, **header), timeout=120)


def read(stubs: foreign.Stubs, files: Any, path: str, **request: Any) -> tuple[Any, bytes]:
    answers = files.Read(stubs.messages.ReadRequest(path=path, **request), timeout=120)
    first = next(answers)
    return first.entry, first.data + b"".join(answer.data for answer in answers)


def refused(act: Callable[[], Any], stubs: foreign.Stubs) -> tuple[grpc.StatusCode, Any]:
    """Return the status and the detail in the trailing metadata of a call that fails."""
    with pytest.raises(grpc.RpcError) as raised:
        act()
    trailer = dict(raised.value.trailing_metadata() or ())
    assert "collective-error-bin" in trailer, raised.value
    detail = stubs.messages.ErrorDetail.FromString(trailer["collective-error-bin"])
    assert detail.message == raised.value.details()
    return raised.value.code(), detail


def status_of(stubs: foreign.Stubs, channel: grpc.Channel) -> Any:
    stub = stubs.status_of(channel)
    return stub.GetStatus(stubs.messages.GetStatusRequest(), timeout=T)


# --- the whole life of a file --------------------------------------------------------------------


def test_a_file_of_20_mib_goes_in_and_out(
    stubs: foreign.Stubs, files: Any, cluster: Cluster
) -> None:
    material = Material(20 * MIB + 12345, seed=1)
    attributes = stubs.messages.FileAttributes(
        modified_s=-7, modified_ns=5, mode=0o640, content_type="a/b", metadata={"k": "ü"}
    )
    entry = write(stubs, files, "/foreign/big", material, attributes=attributes)
    assert entry.size_bytes == material.size
    assert entry.kind == stubs.messages.ENTRY_KIND_FILE
    assert entry.chunk_count == 6
    assert (entry.copies_wanted, entry.copies_least) == (3, 3)
    shown = files.Stat(stubs.messages.StatRequest(path="/foreign/big"), timeout=T)
    assert (shown.mode, shown.content_type, dict(shown.metadata)) == (0o640, "a/b", {"k": "ü"})
    assert (shown.modified_s, shown.modified_ns) == (-7, 5)
    first, content = read(stubs, files, "/foreign/big")
    assert first.size_bytes == material.size
    assert content == material.all()
    assert cluster.read("/foreign/big") == material.all()


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 1), (4 * MIB - 1, 2), (4 * MIB, 4 * MIB), (20 * MIB, 0), (7 * MIB + 3, 9 * MIB)],
)
def test_ranges(stubs: foreign.Stubs, files: Any, offset: int, length: int) -> None:
    material = Material(20 * MIB + 12345, seed=1)
    _, content = read(stubs, files, "/foreign/big", offset=offset, length=length)
    assert content == material.part(offset, length or material.size)


def test_a_range_beyond_the_end_is_empty(stubs: foreign.Stubs, files: Any) -> None:
    assert read(stubs, files, "/foreign/big", offset=21 * MIB)[1] == b""


def test_an_empty_file_and_one_byte(stubs: foreign.Stubs, files: Any) -> None:
    for size in (0, 1):
        material = Material(size)
        assert write(stubs, files, f"/foreign/size-{size}", material).size_bytes == size
        assert read(stubs, files, f"/foreign/size-{size}")[1] == material.all()


def test_what_our_client_wrote_is_read_by_theirs(
    stubs: foreign.Stubs, files: Any, cluster: Cluster
) -> None:
    material = Material(5 * MIB, seed=2)
    cluster.write("/foreign/ours", material.all())
    assert read(stubs, files, "/foreign/ours")[1] == material.all()


def test_directories_are_listed_page_by_page(stubs: foreign.Stubs, files: Any) -> None:
    pb = stubs.messages
    for name in ("a", "b", "c", "ä"):
        made = files.MakeDirectory(pb.MakeDirectoryRequest(path=f"/foreign/d/{name}", parents=True))
        assert made.kind == stubs.messages.ENTRY_KIND_DIRECTORY
    write(stubs, files, "/foreign/d/b/leaf", Material(10))
    found, token = [], ""
    while True:
        page = files.List(
            pb.ListRequest(path="/foreign/d", recursive=True, page_size=2, page_token=token),
            timeout=T,
        )
        assert len(page.entries) <= 2
        found += [entry.path for entry in page.entries]
        token = page.next_page_token
        if not token:
            break
    names = ("a", "b", "b/leaf", "c", "ä")
    assert found == [f"/foreign/d/{name}" for name in names]


def test_move_and_remove(stubs: foreign.Stubs, files: Any) -> None:
    pb = stubs.messages
    write(stubs, files, "/foreign/old", Material(100, seed=3))
    moved = files.Move(pb.MoveRequest(source="/foreign/old", destination="/foreign/new"), timeout=T)
    assert moved.path == "/foreign/new"
    assert read(stubs, files, "/foreign/new")[1] == Material(100, seed=3).all()
    assert files.Remove(pb.RemoveRequest(path="/foreign/new"), timeout=T).removed_count == 1
    code, _ = refused(lambda: files.Stat(pb.StatRequest(path="/foreign/new"), timeout=T), stubs)
    assert code is grpc.StatusCode.NOT_FOUND


def test_status_and_nodes(stubs: foreign.Stubs, channel: grpc.Channel, cluster: Cluster) -> None:
    cluster.cli("mkdir", "/counted")
    cluster.write("/counted/file", b"some bytes")
    processes.wait_for(
        lambda: status_of(stubs, channel).storage.used_bytes > 0, "what heartbeats say is used"
    )
    status = status_of(stubs, channel)
    assert (status.member_id, status.domain) == ("alice", "home.alice")
    assert len([node for node in status.local_nodes if node.is_healthy]) == 3
    assert status.files.total > 0
    assert status.storage.total_bytes > status.storage.used_bytes > 0
    stub = stubs.nodes_of(channel)
    nodes = stub.ListNodes(stubs.messages.ListNodesRequest(), timeout=T).nodes
    assert sorted(node.id for node in nodes) == [f"alice-node-0{n}" for n in (1, 2, 3)]


# --- errors --------------------------------------------------------------------------------------


def test_every_family_of_error_has_its_status_and_detail(stubs: foreign.Stubs, files: Any) -> None:
    pb = stubs.messages
    files.MakeDirectory(pb.MakeDirectoryRequest(path="/foreign/full/below", parents=True))
    cases: list[tuple[Callable[[], Any], grpc.StatusCode, str]] = [
        (
            lambda: files.Stat(pb.StatRequest(path="/foreign/absent"), timeout=T),
            grpc.StatusCode.NOT_FOUND,
            "not_found",
        ),
        (
            lambda: files.Stat(pb.StatRequest(path="/foreign/../x"), timeout=T),
            grpc.StatusCode.INVALID_ARGUMENT,
            "usage",
        ),
        (
            lambda: files.Remove(pb.RemoveRequest(path="/foreign/full"), timeout=T),
            grpc.StatusCode.FAILED_PRECONDITION,
            "conflict",
        ),
        (
            lambda: files.MakeDirectory(pb.MakeDirectoryRequest(path="/foreign/full"), timeout=T),
            grpc.StatusCode.FAILED_PRECONDITION,
            "conflict",
        ),
        (
            lambda: write(stubs, files, "/foreign/none/file", Material(1)),
            grpc.StatusCode.NOT_FOUND,
            "not_found",
        ),
        (
            lambda: list(files.Read(pb.ReadRequest(path="/foreign/absent"), timeout=T)),
            grpc.StatusCode.NOT_FOUND,
            "not_found",
        ),
        (
            lambda: list(files.Read(pb.ReadRequest(path="/foreign/full"), timeout=T)),
            grpc.StatusCode.FAILED_PRECONDITION,
            "conflict",
        ),
        (
            lambda: write(stubs, files, "/foreign/size-1", Material(1), if_absent=True),
            grpc.StatusCode.FAILED_PRECONDITION,
            "conflict",
        ),
        (
            lambda: files.Write(iter([pb.WriteRequest(data=b"x")]), timeout=T),
            grpc.StatusCode.INVALID_ARGUMENT,
            "usage",
        ),
        (
            lambda: files.Write(iter([]), timeout=T),
            grpc.StatusCode.INVALID_ARGUMENT,
            "usage",
        ),
    ]
    for number, (act, status, code) in enumerate(cases):
        got, detail = refused(act, stubs)
        assert (got, detail.code) == (status, code), (number, detail)
        assert detail.request_id, number
        assert detail.message.endswith((".", "'")) or "mkdir" in detail.message, detail.message


def test_a_missing_parent_names_the_mkdir_to_run(stubs: foreign.Stubs, files: Any) -> None:
    _, detail = refused(lambda: write(stubs, files, "/foreign/no/f", Material(1)), stubs)
    assert "Parent directory does not exist" in detail.message
    assert "mkdir" in detail.message


def test_a_user_without_grants_is_denied_and_learns_nothing(
    stubs: foreign.Stubs, files: Any, cluster: Cluster, tmp_path: Path
) -> None:
    own = processes.issue_user(cluster, "eve@home.alice", tmp_path)
    with foreign.channel(cluster, own) as channel:
        theirs = stubs.files_of(channel)
        pb = stubs.messages
        for path in ("/foreign/big", "/foreign/absent", "/nowhere/at/all"):
            code, detail = refused(lambda p=path: theirs.Stat(pb.StatRequest(path=p)), stubs)  # type: ignore[misc]
            assert code is grpc.StatusCode.PERMISSION_DENIED, path
            assert detail.code == "permission_denied"
        code, _ = refused(lambda: write(stubs, theirs, "/foreign/mine", Material(1)), stubs)
        assert code is grpc.StatusCode.PERMISSION_DENIED
        nodes = status_of(stubs, channel)
        assert len(nodes.local_nodes) == 3
        assert nodes.files.total == 0


def test_a_client_without_certificate_gets_no_connection(cluster: Cluster) -> None:
    ca = (cluster.cert_dir("coordinator") / "ca" / "alice-ca.crt").read_bytes()
    options = [("grpc.ssl_target_name_override", foreign.SERVER_NAME)]
    tls = grpc.ssl_channel_credentials(ca)
    target = f"127.0.0.1:{cluster.coordinator_port}"
    with grpc.secure_channel(target, tls, options) as channel:
        call = channel.unary_unary("/collective.v1.status.MemberStatus/GetStatus")
        with pytest.raises(grpc.RpcError) as raised:
            call(b"", timeout=120)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


# --- bounds and leftovers ------------------------------------------------------------------------


def test_an_aborted_write_leaves_nothing(
    stubs: foreign.Stubs, files: Any, channel: grpc.Channel, cluster: Cluster
) -> None:
    before = status_of(stubs, channel)
    begun = processes.node_bytes(cluster, "put")
    feed: queue.Queue[Any] = queue.Queue()
    pb = stubs.messages
    feed.put(pb.WriteRequest(header=pb.WriteHeader(path="/foreign/aborted")))
    for block in Material(12 * MIB, seed=9).blocks():
        feed.put(pb.WriteRequest(data=block))
    call = files.Write.future(iter(feed.get, None), timeout=120)
    processes.wait_for(
        lambda: processes.node_bytes(cluster, "put") > begun + 5 * MIB, "chunks of the write stored"
    )
    call.cancel()
    feed.put(None)
    code, _ = refused(lambda: files.Stat(pb.StatRequest(path="/foreign/aborted"), timeout=T), stubs)
    assert code is grpc.StatusCode.NOT_FOUND
    after = status_of(stubs, channel)
    assert after.files.total == before.files.total
    assert write(stubs, files, "/foreign/aborted", Material(3)).size_bytes == 3


def test_a_write_that_breaks_the_protocol_in_the_middle_leaves_nothing(
    stubs: foreign.Stubs, files: Any
) -> None:
    pb = stubs.messages

    def broken() -> Iterator[Any]:
        yield from messages(stubs, "/foreign/broken", Material(5 * MIB))
        yield pb.WriteRequest(header=pb.WriteHeader(path="/foreign/other"))

    code, detail = refused(lambda: files.Write(broken(), timeout=T), stubs)
    assert (code, detail.code) == (grpc.StatusCode.INVALID_ARGUMENT, "usage")
    for path in ("/foreign/broken", "/foreign/other"):
        code, _ = refused(lambda p=path: files.Stat(pb.StatRequest(path=p), timeout=T), stubs)  # type: ignore[misc]
        assert code is grpc.StatusCode.NOT_FOUND


def test_streams_are_bounded_in_memory_and_a_slow_reader_holds_them_back(
    stubs: foreign.Stubs, files: Any, cluster: Cluster
) -> None:
    material = Material(128 * MIB, seed=4)
    assert write(stubs, files, "/foreign/large", material).size_bytes == material.size
    begun = processes.metric(cluster.coordinator, "collective_moved_bytes_total", direction="out")
    answers = files.Read(stubs.messages.ReadRequest(path="/foreign/large"), timeout=120)
    assert next(answers).entry.size_bytes == material.size
    content = bytearray(next(answers).data)
    time.sleep(3)
    moved = processes.metric(cluster.coordinator, "collective_moved_bytes_total", direction="out")
    assert moved - begun < 48 * MIB
    for answer in answers:
        content += answer.data
    assert bytes(content) == material.all()
    for service in cluster.services.values():
        assert processes.peak_bytes(service.pid) < 150 * 10**6, service.name


# --- health and reflection -----------------------------------------------------------------------


def test_health(channel: grpc.Channel) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    for service in ("", "collective.v1.files.Files", "collective.v1.status.MemberStatus"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=T)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    watch = stub.Watch(health_pb2.HealthCheckRequest(service=""), timeout=T)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    with pytest.raises(grpc.RpcError) as raised:
        stub.Check(health_pb2.HealthCheckRequest(service="no.such"), timeout=T)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


def test_only_a_health_check_tells_the_time(channel: grpc.Channel, stubs: foreign.Stubs) -> None:
    stub = health_pb2_grpc.HealthStub(channel)
    before_ms = int(time.time() * 1000)
    _, health = stub.Check.with_call(health_pb2.HealthCheckRequest(), timeout=T)
    told = dict(health.initial_metadata())["x-collective-time-ms"]
    assert before_ms <= int(told) <= time.time() * 1000
    get_status = stubs.status_of(channel).GetStatus
    _, other = get_status.with_call(stubs.messages.GetStatusRequest(), timeout=T)
    assert "x-collective-time-ms" not in dict(other.initial_metadata())


def test_reflection_describes_every_service(channel: grpc.Channel, stubs: foreign.Stubs) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)
    services = set(database.get_services())
    ours = {
        "collective.v1.files.Files",
        "collective.v1.status.MemberStatus",
        "grpc.health.v1.Health",
    }
    assert ours <= services
    pool = DescriptorPool(database)
    for name in ours - {"grpc.health.v1.Health"}:
        told = pool.FindServiceByName(name)
        compiled = {
            "collective.v1.files.Files": stubs.modules["files"],
            "collective.v1.status.MemberStatus": stubs.modules["status"],
        }[name].DESCRIPTOR.services_by_name[name.rpartition(".")[2]]
        assert [method.name for method in told.methods] == [m.name for m in compiled.methods]
        for method in told.methods:
            fields = [field.name for field in method.input_type.fields]
            theirs = compiled.methods_by_name[method.name].input_type.fields
            assert fields == [field.name for field in theirs]
