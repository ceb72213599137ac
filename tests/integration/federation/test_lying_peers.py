"""Peers whose coordinator lies, is slow, or points elsewhere: a program of ours at alice's, and none at theirs.

The peer is made by hand (``fake_member``); alice peers with it for real, and una asks for its files.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from collective.chunking.chunk_ids import chunk_id
from collective.client.collective import Collective
from collective.core.errors import CollectiveError, UnreachableError
from collective.core.ids import SpiffeId
from collective.core.units import Address
from collective.rpc.gen.collective.v1 import files as files_pb
from collective.rpc.gen.collective.v1 import peering as peering_pb
from collective.rpc.gen.collective.v1 import reads as reads_pb
from collective.transfer.stream.frames import FrameType, encode_head
from tests import protocol as pb
from tests.integration.cluster import PATIENCE_S, Cluster
from tests.integration.federation.fake_member import ENDS, FakeMember, Victim, redeem_peering
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.integration.federation.thieves import Keys, Way, raw_call
from tests.integration.hostile.attacker import stored

MIB = 1024 * 1024
CONTENT = b"local\n" * 1000
FILM = b"what is shown\n" * 1000
AT = "/@home.mallory"


@dataclass(slots=True)
class Scene:
    houses: Houses
    alice: Cluster
    keys: Keys
    una: Person
    liar: FakeMember

    def error(self, work: Callable[[Collective], Any]) -> CollectiveError:
        """Return the error that una gets for ``work``."""
        with pytest.raises(CollectiveError) as caught:
            self.una.use(work)
        return caught.value

    def asks(self, work: Callable[[Collective], Any]) -> str:
        """Return its code."""
        return self.error(work).code


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    extra = {"COLLECTIVE_COPIES": "1"}
    with running_houses(folder, "alice", nodes=1, extra=extra) as houses:
        alice = houses["alice"]
        keys = Keys.stolen(alice, folder / "alice-keys")
        liar = FakeMember(Keys.made("mallory", "home.mallory", folder / "keys"), keys)
        alice.cli("mkdir", "/una")
        una = houses.person("alice", "una", "/una:read+write")
        try:
            code = alice.cli("peer", "invite", "home.mallory").text.splitlines()[-1]
            liar.do(redeem_peering(code, liar.link.bundle))
            houses.wait_peer(alice, "home.mallory", lambda peer: peer["is_healthy"])
            yield Scene(houses, alice, keys, una, liar)
        finally:
            liar.close()


@pytest.fixture(autouse=True)
def nothing_local_suffers(scene: Scene) -> Iterator[None]:
    """Afterwards alice is the same process, has not grown by much, and serves her own."""
    service = scene.alice.coordinator
    pid, before = service.pid, psutil.Process(service.pid).memory_info().rss
    yield
    scene.alice.write("/una/local", CONTENT)
    assert scene.alice.read("/una/local") == CONTENT
    assert service.pid == pid
    assert psutil.Process(pid).memory_info().rss - before < 64 * MIB
    assert "Traceback" not in service.log_text(), service.log_tail()


def file_entry(path: str, size: int = len(FILM)) -> pb.Entry:
    return pb.Entry(path=path, kind=pb.EntryKind.FILE, size_bytes=size, version=1, chunk_count=1)


async def all_of(home: Collective, path: str) -> list[str]:
    async with aclosing(home.list(path)) as entries:
        return [str(one.path) async for one in entries]


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/other/x",
        "/",
        "/mediator",
        "/@home.alice/una",
        "/media/../una",
        "/media/x/..",
        "una",
        "/m\0",
    ],
)
def test_an_entry_that_lies_outside_of_what_was_listed_is_not_believed(
    scene: Scene, path: str
) -> None:
    good = file_entry("/media/good")
    scene.liar.files.listing = files_pb.ListResponse(entries=[good, file_entry(path)])
    assert scene.asks(lambda home: all_of(home, f"{AT}/media")) == "rejected"
    scene.liar.files.listing = files_pb.ListResponse(entries=[good])
    assert scene.una.use(lambda home: all_of(home, f"{AT}/media")) == [f"{AT}/media/good"]


def test_another_entry_than_was_asked_for_is_not_believed(scene: Scene) -> None:
    for path in ("/media/other", "/", "/@home.alice/una", "/media/film/../x"):
        scene.liar.files.entry = file_entry(path)
        assert scene.asks(lambda home: home.stat(f"{AT}/media/film")) == "rejected"
    scene.liar.files.entry = file_entry("/media/film")
    assert scene.una.use(lambda home: home.stat(f"{AT}/media/film")).size_bytes == len(FILM)


def test_a_page_token_of_megabytes_is_not_passed_on(scene: Scene) -> None:
    scene.liar.files.listing = files_pb.ListResponse(next_page_token="t" * (3 * MIB))
    assert scene.asks(lambda home: all_of(home, f"{AT}/media")) == "rejected"


def test_an_answer_that_is_too_large_is_not_taken(scene: Scene) -> None:
    many = [file_entry(f"/media/{number:06}" + "x" * 200) for number in range(30_000)]
    scene.liar.files.listing = files_pb.ListResponse(entries=many)
    assert scene.asks(lambda home: all_of(home, f"{AT}/media")) in {"usage", "rejected"}


def test_pages_without_end_are_read_as_long_as_somebody_asks(scene: Scene) -> None:
    page = [file_entry(f"/media/{number:04}") for number in range(1000)]
    scene.liar.files.listing = files_pb.ListResponse(entries=page, next_page_token="more")
    scene.liar.files.asked = 0

    async def some(home: Collective) -> int:
        count = 0
        async with aclosing(home.list(f"{AT}/media")) as entries:
            async for _ in entries:
                count += 1
                if count == 20_000:
                    break
        return count

    assert scene.una.use(some) == 20_000
    assert scene.liar.files.asked <= 22


def test_who_waits_for_a_peer_that_does_not_answer_keeps_nobody_else(scene: Scene) -> None:
    scene.liar.files.answers.clear()
    scene.liar.files.asked = 0
    with ThreadPoolExecutor(1) as waiting:
        scene.liar.files.entry = file_entry("/media/film")
        asked = waiting.submit(scene.una.use, lambda home: home.stat(f"{AT}/media/film"))
        until_s = time.monotonic() + PATIENCE_S
        while not scene.liar.files.asked:
            assert time.monotonic() < until_s
            time.sleep(0.02)
        scene.una.use(lambda home: home.write("/una/meanwhile", CONTENT))
        assert scene.una.use(lambda home: home.read("/una/meanwhile")) == CONTENT
        assert "@home.mallory" in scene.una.cli("ls", "/").text
        scene.liar.files.answers.set()
        with suppress(UnreachableError):  # where all that took longer than a call may
            assert asked.result(PATIENCE_S).size_bytes == len(FILM)


# --- bytes ----------------------------------------------------------------------------------------


def piece(scene: Scene, *, offset: int = 0, **changes: Any) -> pb.ExtentPlan:
    """Return the plan of a chunk of /media/film: its coordinator passes it on, from one node."""
    raw, liar = stored(FILM), scene.liar.keys
    alice, node = SpiffeId.coordinator(scene.keys.domain), liar.node("m")
    passes = pb.Ticket(
        operation=pb.ChunkOperation.GET,
        chunk_id=chunk_id(raw),
        length_limit=len(raw),
        node=str(liar.coordinator),
        holder=str(alice),
        next_node=str(node),
        forward_only=True,
    )
    stores = replace(passes, node=str(node), holder=str(liar.coordinator), next_node="")
    told: dict[str, Any] = {
        "chunk_id": chunk_id(raw),
        "hops": [
            pb.SignedTicket(body=bytes(one), key_id=1, mac=b"m" * 32) for one in (passes, stores)
        ],
        "first_node": str(liar.coordinator),
        "first_addresses": [pb.Address(host="127.0.0.1", port=scene.liar.address.port)],
        "storing": [str(node)],
        "stored_length": len(raw),
    }
    return pb.ExtentPlan(
        extent=pb.Extent(
            offset=offset, length=len(FILM), chunk_id=chunk_id(raw), stored_length=len(raw)
        ),
        routes=[pb.Route(**(told | changes))],
    )


def opened(scene: Scene, *pieces: Any, size: int = len(FILM)) -> None:
    """Have the liar answer so to whoever opens /media/film."""
    scene.liar.files.entry = file_entry("/media/film", size)
    scene.liar.reads.opened = reads_pb.OpenReadResponse(
        entry=scene.liar.files.entry,
        lease_id="0" * 32 + "@home.mallory",
        plans=list(pieces),
    )


def answers(content: bytes, length: int | None = None) -> Callable[[int], bytes]:
    """Return what answers every request for a chunk with ``content``, said to be of ``length``."""
    asked = chunk_id(stored(FILM))
    size = len(content) if length is None else length
    head = bytes(pb.GetResult(chunk_id=asked, total_length=size))

    def answer(number: int) -> bytes:
        announced = size if content.endswith(ENDS) else len(content)
        return encode_head(FrameType.GET_RESULT, number, head, announced) + content

    return answer


def through_alice(scene: Scene) -> str:
    """Return how una fares who has alice's coordinator carry the film."""
    return scene.una.cli("cp", f"{AT}/media/film", "/una/film", check=False).err


def test_bytes_are_taken_only_as_what_they_are(scene: Scene) -> None:
    """Honest ones pass; others, shorter ones, and more than was said do not."""
    opened(scene, piece(scene))
    raw = stored(FILM)
    scene.liar.chunk_answer = answers(raw)
    assert scene.una.use(lambda home: home.read(f"{AT}/media/film")) == FILM
    assert through_alice(scene) == ""
    assert scene.alice.read("/una/film") == FILM
    scene.alice.cli("rm", "/una/film")
    for lie in (
        answers(raw[:-1] + b"!"),
        answers(raw[:-100] + ENDS, len(raw)),
        answers(raw, len(raw) + 1),
        answers(raw, 1 << 31),
        answers(raw + b"more"),
        lambda number: b"\xff" * 64,
    ):
        scene.liar.chunk_answer = lie
        assert scene.asks(lambda home: home.read(f"{AT}/media/film")) != "internal"
        assert through_alice(scene) != ""
        assert scene.alice.cli("stat", "/una/film", check=False).code == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"hops": [pb.SignedTicket(body=b"t", key_id=1, mac=b"m" * 32)] * 5},
        {"hops": [pb.SignedTicket(body=b"t", key_id=1, mac=b"m" * 32)] * 500},
        {"first_node": "spiffe://home.alice/coordinator"},
        {"first_node": "spiffe://home.alice/node/alice-node-01"},
        {"first_node": "spiffe://home.carol/coordinator"},
        {"first_node": "spiffe://home.mallory/user/home.mallory/mo"},
        {"chunk_id": b"\1" * 32},
        {"stored_length": 1 << 30},
        {"stored_length": 0},
        {"first_addresses": [pb.Address(host="127.0.0.1", port=9)] * 5000},
    ],
)
def test_a_route_that_leads_elsewhere_or_too_far_is_not_taken(
    scene: Scene, changes: dict[str, Any]
) -> None:
    opened(scene, piece(scene, **changes))
    why = scene.error(lambda home: home.read(f"{AT}/media/film")).message
    assert re.search("mallory answers with a|An answer cannot be read here", why), why
    assert through_alice(scene) != ""


def test_a_lease_of_another_members_is_not_taken(scene: Scene) -> None:
    opened(scene, piece(scene))
    scene.liar.reads.opened.lease_id = "0" * 32 + "@home.alice"
    assert scene.asks(lambda home: home.read(f"{AT}/media/film")) == "rejected"


def test_a_plan_with_gaps_or_without_end_is_given_up(scene: Scene) -> None:
    """Also where the same chunk comes again and again, and never arrives."""
    scene.liar.chunk_answer = answers(stored(FILM))
    opened(scene, piece(scene, offset=5))
    assert scene.asks(lambda home: home.read(f"{AT}/media/film")) == "rejected"
    opened(scene, size=len(FILM))
    assert scene.asks(lambda home: home.read(f"{AT}/media/film")) == "rejected"
    assert "plan" in through_alice(scene)


def test_a_file_of_one_chunk_without_end_fills_no_memory(scene: Scene) -> None:
    """Its pieces are planned as far ahead as is bounded, though the first never comes."""
    reads = scene.liar.reads
    scene.liar.chunk_answer = lambda _: b""
    opened(scene, piece(scene), size=1 << 50)
    reads.planned = 0
    reads.plan = lambda offset: reads_pb.PlanReadResponse(
        plans=[piece(scene, offset=offset + number * len(FILM)) for number in range(64)],
        more=True,
    )
    with ThreadPoolExecutor(1) as waiting:
        done = waiting.submit(through_alice, scene)
        asked = -1
        while asked < reads.planned < 200 or not asked:
            asked = reads.planned
            time.sleep(1.5)
        asked = reads.planned
        reads.plan = lambda _: reads_pb.PlanReadResponse()
        scene.liar.hang_up()
        assert done.result(PATIENCE_S) != ""
    assert asked <= 1024 / 64 + 2, "pieces of 64 until a thousand wait"


# --- third parties --------------------------------------------------------------------------------


@pytest.fixture
def victim() -> Iterator[Victim]:
    made = Victim()
    yield made
    made.close()


def test_what_alice_carries_goes_to_no_address_that_a_route_names(
    scene: Scene, victim: Victim
) -> None:
    """A client that dials a node which is none tells it nothing but a TLS hello."""
    there = [pb.Address(host="127.0.0.1", port=victim.address.port)]
    scene.liar.chunk_answer = answers(stored(FILM))
    opened(scene, piece(scene, first_addresses=there))  # the coordinator is where its bundle says
    assert through_alice(scene) == ""
    node = str(scene.liar.keys.node("m"))
    opened(scene, piece(scene, first_node=node, first_addresses=there))
    assert through_alice(scene) != ""
    assert victim.heard == []
    assert scene.asks(lambda home: home.read(f"{AT}/media/film")) in {"unreachable", "rejected"}
    assert all(is_hello(one) for one in victim.heard)


async def test_endpoints_of_third_parties_get_few_hellos_and_nothing_else(
    scene: Scene, victim: Victim, tmp_path: Path
) -> None:
    """However often the peer calls, and tells of new ones."""
    keys = Keys.made("trudy", "home.trudy", tmp_path)
    code = scene.alice.cli("peer", "invite", "home.trudy").text.splitlines()[-1]
    began_s = time.monotonic()
    await redeem_peering(code, keys.bundle(1, victim.address))
    way = Way(scene.keys, scene.alice.coordinator_port)
    async with way.channel(keys.operator) as channel:
        for sequence in range(2, 18):
            told = keys.bundle(sequence, victim.address)
            word = peering_pb.PeerWord(
                bundle=peering_pb.SignedBundle(body=told.body, signature=told.signature)
            )
            await raw_call(channel, "PeerLink", "Exchange", word)
            scene.houses.wait_peer(scene.alice, "home.trudy", lambda peer: not peer["is_healthy"])
    dialled = len(victim.heard)
    scene.alice.cli("peer", "remove", "home.trudy", "--yes")
    assert dialled >= 1
    assert dialled <= 3 + (time.monotonic() - began_s), "one every two seconds and ever fewer"
    assert all(is_hello(one) for one in victim.heard)


def is_hello(said: bytes) -> bool:
    """Tell whether that is one TLS record with a ClientHello, and at most an alert after it."""
    length = int.from_bytes(said[3:5], "big")
    after = said[5 + length :]
    return said[0] == 22 and said[5] == 1 and (not after or after[0] == 21)


def test_the_record_of_a_peer_spoils_no_status_and_no_heartbeat(scene: Scene) -> None:
    """What it tells of its nodes is shown to everybody, and what it revoked is told to every node."""
    way = Way(scene.keys, scene.alice.coordinator_port)
    nodes = [pb.NodeStatus(id=f"m{number}", version="v" * 60_000) for number in range(60)]
    revoked = ["serial:" + "1" * 3_000_000]
    for record in (peering_pb.MemberRecord(nodes=nodes), peering_pb.MemberRecord(revoked=revoked)):
        word = peering_pb.PeerWord(record=record, record_digest=b"d" * 32)

        async def tell(word: peering_pb.PeerWord = word) -> None:
            async with way.channel(scene.liar.keys.operator) as channel:
                with pytest.raises(CollectiveError):
                    await raw_call(channel, "PeerLink", "Exchange", word)

        scene.liar.do(tell())
        assert scene.alice.status()["remote_nodes"] == []
    scene.alice.wait_heartbeats(2)


# --- addresses ------------------------------------------------------------------------------------


def test_a_bundle_with_hosts_that_no_name_can_be_harms_nobody(scene: Scene, tmp_path: Path) -> None:
    """What is signed is kept as it is, and trudy is found at her last address."""
    alice, nowhere = scene.alice, (Address("a..b", 7000), Address("x" * 64 + ".example", 7000))
    trudy = FakeMember(Keys.made("trudy", "home.trudy", tmp_path / "keys"), scene.keys, *nowhere)
    try:
        code = alice.cli("peer", "invite", "home.trudy").text.splitlines()[-1]
        trudy.do(redeem_peering(code, trudy.link.bundle))
        scene.houses.wait_peer(alice, "home.trudy", lambda peer: peer["is_healthy"])
        shown = [
            one
            for one in alice.cli("peer", "list", "--json").json()
            if one["domain"] == "home.trudy"
        ]
        assert "a..b:7000" in str(shown)
        assert "worker_broke" not in alice.coordinator.log_text()
    finally:
        trudy.close()
