"""Shut out within five seconds: at the coordinator, at nodes, on open connections, while reading."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from collective.core.clock import SystemClock
from collective.core.errors import ShutOutError
from collective.core.ids import NodeId, SpiffeId
from collective.core.units import Address
from collective.pki.credentials import Credentials, load_credentials
from collective.pki.revocation import RevocationSet
from collective.roles.node.durable_memory import MEMORY_NAME
from collective.rpc.client.channel import RpcChannel
from collective.rpc.client.connect import open_stream
from collective.rpc.gen.collective.v1 import status as pb
from collective.rpc.tls.contexts import ALPN_CHUNK, client_context
from collective.rpc.tls.gate import PeerGate
from tests.integration.cluster import PATIENCE_S, Cluster, Result, command, running_cluster
from tests.integration.processes import node_bytes, wait_for
from tests.worlds import LINKS, REAL

SHUT_OUT = (
    "Error: home.alice says that your certificate was revoked;"
    " ask its operator for a new invitation."
)
MIB = 1024 * 1024


@dataclass(slots=True)
class User:
    """A user with a certificate issued offline."""

    who: str
    options: list[str]
    credentials: Credentials


def make_user(cluster: Cluster, name: str, rights: str = "/shared:read+write") -> User:
    certs = cluster.cert_dir("coordinator")
    out = cluster.folder / "users"
    who = f"{name}@{cluster.domain}"
    cluster.cli(
        "pki", "issue", "--user", who, "--validity", "1d", "--out", str(out),
        "--ca-key", str(certs / "ca" / f"{cluster.member}-ca.key"),
        credentials=(),
    )  # fmt: skip
    cluster.cli("grant", "add", rights, who)
    cert, key = out / "users" / f"{who}.crt", out / "users" / f"{who}.key"
    ca = certs / "ca" / f"{cluster.member}-ca.crt"
    options = [
        "--coordinator", f"127.0.0.1:{cluster.coordinator_port}",
        "--ca", str(ca), "--cert", str(cert), "--key", str(key),
    ]  # fmt: skip
    return User(who, options, load_credentials(str(cert), str(key), str(ca), disk=REAL.disk))


def gate_of(user: User) -> PeerGate:
    return PeerGate(user.credentials.trust(), RevocationSet(), SystemClock())


def coordinator_channel(cluster: Cluster, user: User) -> RpcChannel:
    return LINKS.channel(
        [Address("127.0.0.1", cluster.coordinator_port)],
        credentials=user.credentials,
        gate=gate_of(user),
        expect=SpiffeId.coordinator(user.credentials.domain),
    )


@dataclass(slots=True)
class Watched(asyncio.Protocol):
    """A connection that only waits for its end."""

    lost: asyncio.Event = field(default_factory=asyncio.Event)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.lost.set()


async def chunk_stream(cluster: Cluster, user: User, port: int, peer: SpiffeId) -> Watched:
    del cluster
    context = client_context(user.credentials, user.credentials.trust(), (ALPN_CHUNK,))
    _, watched = await open_stream(
        Address("127.0.0.1", port),
        context,
        lambda _: Watched(),
        gate=gate_of(user),
        expect=peer,
    )
    return watched


def node_id(cluster: Cluster, user: User, name: str) -> SpiffeId:
    assert cluster.node_ports[name]
    return SpiffeId.node(user.credentials.domain, NodeId(name))


def wait_until_nodes_know(cluster: Cluster, entry: str) -> None:
    """Return when every node has written down that ``entry`` is revoked."""
    memories = [next(cluster.data_dir(one.name).rglob(MEMORY_NAME)) for one in cluster.nodes]
    wait_for(lambda: all(entry in one.read_text() for one in memories), f"{entry} at every node")


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("revoking"), node_count=4) as cluster:
        cluster.cli("mkdir", "/shared")
        yield cluster


async def test_revoked_on_open_connections_to_coordinator_and_every_node(
    member: Cluster,
) -> None:
    ben, eve = make_user(member, "ben"), make_user(member, "eve")
    async with (
        coordinator_channel(member, ben) as channel,
        coordinator_channel(member, eve) as others,
    ):
        stub = channel.stub(pb.MemberStatusStub)
        other = others.stub(pb.MemberStatusStub)
        await stub.get_status(pb.GetStatusRequest())
        await other.get_status(pb.GetStatusRequest())
        streams = [
            await chunk_stream(member, ben, port, node_id(member, ben, name))
            for name, port in member.node_ports.items()
        ]
        relay = await chunk_stream(
            member, ben, member.coordinator_port, SpiffeId.coordinator(ben.credentials.domain)
        )
        spared = await chunk_stream(
            member, eve, member.node_ports["alice-node-01"], node_id(member, eve, "alice-node-01")
        )
        done = await asyncio.to_thread(
            member.cli, "identity", "revoke", ben.who, "--yes", "--json", check=False
        )
        assert done.code == 0, done.err
        assert done.json()["connections_closed"] >= 2
        with pytest.raises(ShutOutError):
            await stub.get_status(pb.GetStatusRequest(), timeout=120)
        async with asyncio.timeout(PATIENCE_S):  # they stay open for good if nobody closes them
            for stream in (relay, *streams):
                await stream.lost.wait()
        assert not spared.lost.is_set()
        await other.get_status(pb.GetStatusRequest())
        # A new connection gets nowhere either, at the coordinator or at a node.
        fresh = await chunk_stream(
            member, ben, member.node_ports["alice-node-01"], node_id(member, ben, "alice-node-01")
        )
        async with asyncio.timeout(PATIENCE_S):
            await fresh.lost.wait()
    for asked in ("ls /shared", "status", "read /shared/x", "mkdir /shared/y", "invite list"):
        refused = member.cli(*asked.split(), credentials=ben.options, check=False)
        assert (refused.code, refused.err.strip()) == (8, SHUT_OUT), asked
    assert member.cli("ls", "/shared", credentials=eve.options).code == 0


def test_a_running_read_ends(member: Cluster) -> None:
    data = random.Random(3).randbytes(64 * MIB)
    member.write("/shared/long.bin", data)
    tom = make_user(member, "tom")
    reader = subprocess.Popen(
        [sys.executable, "-m", "collective", "read", "/shared/long.bin", *tom.options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=member.client_environment,
    )
    assert reader.stdout is not None
    assert reader.stderr is not None
    got = len(reader.stdout.read(MIB))  # then the pipe is full, and the read goes on and on
    assert got == MIB
    member.cli("identity", "revoke", tom.who, "--yes")
    wait_until_nodes_know(member, "/tom")
    while piece := reader.stdout.read(MIB):
        got += len(piece)
    code = reader.wait(180)
    said = reader.stderr.read().decode()
    reader.stdout.close()
    reader.stderr.close()
    assert (code, said.strip().splitlines()[-1]) == (8, SHUT_OUT)
    assert got < len(data), "the whole file was read by someone revoked before its first half"


def test_a_transfer_under_way_ends_and_says_why(member: Cluster, tmp_path: Path) -> None:
    """Endless input, written as fast as it goes: ended while it runs, not at its next start."""
    pam = make_user(member, "pam")
    with Path("/dev/zero").open("rb") as zeros:
        writer = subprocess.Popen(
            [sys.executable, "-m", "collective", "write", "/shared/endless", *pam.options],
            stdin=zeros,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=member.client_environment | {"HOME": str(tmp_path)},
        )
        try:
            begun = node_bytes(member, "put")
            wait_for(lambda: node_bytes(member, "put") > begun, "the first chunk")
            assert writer.poll() is None
            member.cli("identity", "revoke", pam.who, "--yes")
            _, said = writer.communicate(timeout=120)
        finally:
            writer.kill()
            writer.wait()
    # Told by the connection's end, or by a call that came between: the sentences differ a little.
    assert (writer.returncode, "our certificate was revoked" in said.decode()) == (8, True), said
    assert member.cli("stat", "/shared/endless", check=False).code == 3


def test_whoever_is_revoked_joins_no_more_by_the_same_code_and_his_own_invites_end(
    member: Cluster, tmp_path: Path
) -> None:
    environment = {**member.client_environment, "HOME": str(tmp_path)}

    def run(*arguments: str) -> Result:
        return command(*arguments, environment=environment)

    def invite() -> str:
        made = member.cli(
            "invite", "generate", "--grant", "/shared:read+share", "--max-uses", "3", "--json"
        )
        code: str = made.json()["code"]
        return code

    code = invite()
    assert run("identity", "init", "--global-id", "kim@elsewhere.net").code == 0
    joined = run("invite", "redeem", code)
    assert joined.code == 0, joined.err
    passed_on = run("invite", "generate", "--grant", "/shared:read", "--json")
    assert passed_on.code == 0, passed_on.err
    onward = passed_on.json()["code"]
    member.cli("identity", "revoke", "kim@elsewhere.net", "--yes")
    shut_out = run("ls", "/shared")
    assert (shut_out.code, shut_out.err.strip()) == (8, SHUT_OUT)
    for again in (code, invite()):
        said = run("invite", "redeem", again)
        assert said.code in {4, 8}, said.err
    environment["HOME"] = str(tmp_path / "friend")
    friend = run("invite", "redeem", onward)
    assert friend.code == 8, friend.err


def test_a_single_certificate_is_revoked_by_its_serial_and_another_key_of_its_holder_is_not(
    member: Cluster,
) -> None:
    ida = make_user(member, "ida")
    serial = ida.credentials.certified.serial
    assert member.cli("ls", "/shared", credentials=ida.options).code == 0
    done = member.cli("identity", "revoke", f"serial:{serial.upper()}", "--yes")
    key = ida.credentials.certified.key_digest.hex()
    assert f"key:{key}" in done.out.decode()  # it was issued offline, and seen in use
    assert member.cli("ls", "/shared", credentials=ida.options, check=False).code == 8
    certs = member.cert_dir("coordinator")
    out = member.folder / "second"
    member.cli(
        "pki", "issue", "--user", ida.who, "--out", str(out),
        "--ca-key", str(certs / "ca" / f"{member.member}-ca.key"),
        credentials=(),
    )  # fmt: skip
    again = list(ida.options)
    again[-3] = str(out / "users" / f"{ida.who}.crt")
    again[-1] = str(out / "users" / f"{ida.who}.key")
    assert member.cli("ls", "/shared", credentials=again).code == 0


def test_the_key_of_a_lost_machine_is_shut_out_by_one_of_its_serials(
    member: Cluster, tmp_path: Path
) -> None:
    """Listed, revoked by a serial, and then back by no code; the other machine goes on."""

    def run(home: str, *arguments: str, code: int = 0) -> str:
        environment = {**member.client_environment, "HOME": str(tmp_path / home)}
        done = command(*arguments, environment=environment)
        assert done.code == code, done.err
        return done.text

    made = member.cli(
        "invite", "generate", "--grant", "/shared:read", "--max-uses", "3", "--json"
    ).json()["code"]
    run("lost", "identity", "init", "--global-id", "zoe@elsewhere.net")
    run("lost", "invite", "redeem", made)
    run("kept", "invite", "redeem", run("lost", "identity", "add-device").splitlines()[-1])
    waiting = run("lost", "identity", "add-device").splitlines()[-1]
    (zoe,) = json.loads(run("kept", "identity", "list", "--json"))
    lost = json.loads(run("lost", "identity", "show", "--json"))["key_sha256"]
    devices = {device["key_sha256"]: device for device in zoe["devices"]}
    assert len(devices) == 2
    serial = devices[lost]["certificates"][0]["serial"]
    done = member.cli("identity", "revoke", f"serial:{serial}", "--yes")
    assert f"key:{lost}" in done.out.decode()
    for again in (made, waiting):
        run("lost", "invite", "redeem", again, code=8)
    run("stranger", "invite", "redeem", waiting, code=8)
    run("kept", "ls", "/shared")
    told = member.cli("identity", "list", "--json").json()
    (zoe,) = [one for one in told if one["global_id"] == "zoe@elsewhere.net"]
    assert {device["key_sha256"]: device["revoked"] for device in zoe["devices"]} == {
        key: key == lost for key in devices
    }
    assert f"key:{lost}" in member.cli("identity", "list").out.decode()
    entry = f"key:{lost}"
    wait_until_nodes_know(member, entry)


def test_wrong_names_and_callers_without_the_right_are_refused(member: Cluster) -> None:
    def refused(code: int, *arguments: str, credentials: list[str] | None = None) -> Result:
        done = member.cli(*arguments, check=False, credentials=credentials)
        assert done.code == code, done.err
        return done

    uma = make_user(member, "uma")
    for nobody in (f"nobody@{member.domain}", "nobody@x.y", "uma@elsewhere.net"):
        said = refused(3, "identity", "revoke", nobody, "--yes")
        assert f"Nobody here is {nobody}" in said.err
    refused(2, "identity", "revoke", "serial:xyz", "--yes")
    said = refused(2, "identity", "revoke", f"spiffe://{member.domain}/coordinator", "--yes")
    assert "rotate-ca" in said.err
    assert (
        "node remove"
        in refused(
            2, "identity", "revoke", f"spiffe://{member.domain}/node/alice-node-01", "--yes"
        ).err
    )
    refused(4, "identity", "revoke", f"eve@{member.domain}", "--yes", credentials=uma.options)
    refused(4, "node", "remove", "alice-node-01", "--yes", "--force", credentials=uma.options)
    refused(4, "node", "drain", "alice-node-01", credentials=uma.options)
    refused(4, "pki", "rotate-ca", "--yes", credentials=uma.options)
    refused(3, "node", "remove", "alice-node-77", "--yes")


def test_what_was_revoked_is_still_revoked_after_every_process_was_killed(member: Cluster) -> None:
    zoe = make_user(member, "zoe")
    member.cli("identity", "revoke", zoe.who, "--yes")
    wait_until_nodes_know(member, f"/user/{member.domain}/zoe")
    member.kill_all()
    member.start()
    assert member.cli("ls", "/shared", credentials=zoe.options, check=False).code == 8


def test_a_drained_node_is_emptied_and_then_removed_and_shut_out(member: Cluster) -> None:
    files = {f"/shared/d{n}.bin": random.Random(n).randbytes(300_000) for n in range(6)}
    for path, data in files.items():
        member.write(path, data)
    nodes = {one["id"]: one for one in member.cli("node", "list", "--json").json()}
    victim = max(nodes, key=lambda name: nodes[name]["copies_left"])
    assert nodes[victim]["copies_left"] > 0
    said = member.cli("node", "remove", victim, "--yes", check=False)
    assert said.code == 8, said.err
    assert f"collective node drain {victim}" in said.err
    assert member.cli("node", "drain", victim, "--json").json()["copies_left"] > 0
    listed = member.cli("node", "list", "--json").json()
    assert [one["state"] for one in listed if one["id"] == victim] == ["draining"]

    def is_empty() -> bool:
        listed = member.cli("node", "list", "--json").json()
        return not next(one["copies_left"] for one in listed if one["id"] == victim)

    wait_for(is_empty, "drained node")

    def is_removed() -> bool:  # once the copies elsewhere are confirmed
        removed = member.cli("node", "remove", victim, "--yes", check=False)
        assert removed.code == 0 or "until others are verified" in removed.err, removed.err
        return removed.code == 0

    wait_for(is_removed, "removal of the emptied node", every_s=0.5)
    assert victim not in json.dumps(member.cli("node", "list", "--json").json())
    for path, data in files.items():
        assert member.read(path) == data
    service = member.services[victim]
    wait_for(lambda: "refused by the coordinator" in service.log_text(), "word of the refusal")
    wait_for(lambda: service.page("/readyz")[0] == 503, "node that is not ready")
    status, text = service.page("/readyz")
    assert status == 503, text
    assert "node is not ready: " in text
    assert "revoked" in text or "removed" in text
    # Neither a restart nor its old code brings it back.
    service.kill()
    refusals = service.log_text().count("refused by the coordinator")
    service.start()
    wait_for(
        lambda: service.log_text().count("refused by the coordinator") > refusals, "second refusal"
    )
    assert victim not in json.dumps(member.cli("node", "list", "--json").json())
    service.kill()
    del member.services[victim]


def test_a_drain_can_be_stopped(member: Cluster) -> None:
    name = member.nodes[0].name
    member.cli("node", "drain", name)
    member.cli("node", "drain", name, "--stop")
    listed = member.cli("node", "list", "--json").json()
    assert [one["state"] for one in listed if one["id"] == name] == ["up"]


def test_an_old_backup_learns_back_who_was_revoked(tmp_path: Path) -> None:
    with running_cluster(
        tmp_path / "restored", node_count=1, extra={"COLLECTIVE_COPIES": "1"}
    ) as cluster:
        cluster.cli("mkdir", "/shared")
        lea = make_user(cluster, "lea")
        max_user = make_user(cluster, "max")
        catalog = cluster.data_dir("coordinator") / "catalog"
        cluster.coordinator.terminate()
        kept = {path.name: path.read_bytes() for path in catalog.glob("catalog.db*")}
        cluster.coordinator.start()
        cluster.coordinator.wait_ready()
        cluster.wait_healthy(1)
        cluster.cli("identity", "revoke", lea.who, "--yes")
        wait_until_nodes_know(cluster, "/lea")
        cluster.coordinator.kill()
        for path in catalog.glob("catalog.db*"):
            path.unlink()
        for name, raw in kept.items():
            (catalog / name).write_bytes(raw)
        cluster.coordinator.start()
        cluster.coordinator.wait_ready()
        cluster.wait_healthy(1)
        assert cluster.cli("ls", "/shared", credentials=lea.options, check=False).code == 8
        # Tickets of the restored coordinator are not refused as being from before a revocation.
        cluster.cli("write", "/shared/after", stdin=b"after", credentials=max_user.options)
        assert cluster.cli("read", "/shared/after", credentials=max_user.options).out == b"after"
