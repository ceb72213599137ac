"""Invites, rights passed on, quotas and the audit, with a real coordinator and node."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from collective.client import joining
from collective.core.clock import SystemClock
from collective.core.errors import CollectiveError, ConflictError, NoSpaceError
from collective.pki import certificates, invite_code
from tests.integration.cluster import Cluster, Result, command, running_cluster
from tests.integration.processes import fill, wait_for
from tests.worlds import LINKS, REAL

TLS_GOODBYE_S = 0.1
"""The loop runs on for so long, that the connection's end has gone out before the loop ends."""
SMALL = {"COLLECTIVE_COPIES": "1"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A member with one node and one copy of everything: quick to start."""
    with running_cluster(tmp_path_factory.mktemp("invites"), node_count=1, extra=SMALL) as made:
        yield made


@dataclass(slots=True)
class Person:
    """Someone with a key of his own, in files as the command line takes them."""

    cluster: Cluster
    name: str
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: certificates.new_private_key(REAL.randomness)
    )

    @property
    def global_id(self) -> str:
        return f"{self.name}@home.alice"

    async def redeem(self, code: str) -> joining.Joined:
        try:
            return await joining.redeem(
                invite_code.parse(code),
                self.key,
                clock=SystemClock(),
                wish=self.global_id,
                links=LINKS,
            )
        finally:
            await asyncio.sleep(TLS_GOODBYE_S)

    def join(self, code: str) -> joining.Joined:
        joined = asyncio.run(self.redeem(code))
        folder = self.cluster.folder / self.name
        folder.mkdir(exist_ok=True)
        (folder / "ca.crt").write_bytes(joined.authority.public_bytes(Encoding.PEM))
        (folder / "me.crt").write_bytes(joined.certificate.public_bytes(Encoding.PEM))
        (folder / "me.key").write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        (folder / "me.key").chmod(0o600)
        return joined

    def cli(self, *arguments: str, code: int | None = 0, stdin: bytes = b"") -> Result:
        folder = self.cluster.folder / self.name
        credentials = [
            "--coordinator", f"127.0.0.1:{self.cluster.coordinator_port}",
            "--ca", str(folder / "ca.crt"),
            "--cert", str(folder / "me.crt"),
            "--key", str(folder / "me.key"),
        ]  # fmt: skip
        result = self.cluster.cli(*arguments, stdin=stdin, check=False, credentials=credentials)
        assert code in {None, result.code}, f"{arguments}: {result.code}: {result.err}"
        return result


def made_by(run: Callable[..., Result], *arguments: str) -> dict[str, Any]:
    made: dict[str, Any] = run("invite", "generate", *arguments, "--json").json()
    return made


def invited(cluster: Cluster, name: str, *grants: str) -> Person:
    wanted = [word for grant in grants for word in ("--grant", grant)]
    person = Person(cluster, name)
    person.join(made_by(cluster.cli, *wanted)["code"])
    return person


def state_of(cluster: Cluster, made: dict[str, Any]) -> str:
    listed = cluster.cli("invite", "list", "--all", "--json").json()
    return next(str(one["state"]) for one in listed if one["id"] == made["id"])


def redeem_by_cli(cluster: Cluster, who: str, code: str) -> Result:
    """Redeem as someone on a machine of his own."""
    environment = cluster.client_environment | {
        "COLLECTIVE_CONFIG_DIR": str(cluster.folder / f"{who}-config")
    }
    return command("invite", "redeem", code, environment=environment)


def listed(cluster: Cluster, made: dict[str, Any]) -> dict[str, Any]:
    found = cluster.cli("invite", "list", "--all", "--json").json()
    one: dict[str, Any] = next(one for one in found if one["id"] == made["id"])
    return one


# --- redemption ----------------------------------------------------------------------------------


def test_fifty_redemptions_at_once_of_a_code_with_five_uses_give_exactly_five(
    cluster: Cluster,
) -> None:
    made = made_by(cluster.cli, "--grant", "/shared:read", "--max-uses", "5")

    async def one(person: Person) -> joining.Joined | CollectiveError:
        try:
            return await person.redeem(made["code"])
        except CollectiveError as error:
            return error

    async def everybody() -> list[joining.Joined | CollectiveError]:
        people = [Person(cluster, f"crowd{number}") for number in range(50)]
        return list(await asyncio.gather(*(one(person) for person in people)))

    answers = asyncio.run(everybody())
    joined = [answer for answer in answers if isinstance(answer, joining.Joined)]
    refused = [answer for answer in answers if isinstance(answer, CollectiveError)]
    assert len(joined) == 5
    assert len({answer.identity for answer in joined}) == 5
    assert all(isinstance(error, ConflictError) and "used up" in str(error) for error in refused)
    after = listed(cluster, made)
    assert (after["uses_left"], after["state"]) == (0, "used up")
    assert {use["identity"] for use in after["redemptions"]} == {
        str(answer.identity) for answer in joined
    }


def test_each_reason_for_refusing_a_code_has_its_own_sentence(cluster: Cluster) -> None:
    bob = invited(cluster, "bob", "/void:read+share")
    grant = next(
        one["id"] for one in cluster.cli("grant", "list", "--json").json() if one["path"] == "/void"
    )
    void = made_by(bob.cli, "--grant", "/void:read")
    cluster.cli("grant", "remove", grant)
    revoked = made_by(cluster.cli, "--grant", "/x:read")
    cluster.cli("invite", "revoke", revoked["code"])
    expired = made_by(cluster.cli, "--grant", "/x:read", "--validity", "1s")
    used = made_by(cluster.cli, "--grant", "/x:read")
    Person(cluster, "first").join(used["code"])
    node = made_by(cluster.cli, "--for", "node")
    good = made_by(cluster.cli, "--grant", "/x:read")["code"]
    swapped = good[:40] + ("a" if good[40] != "a" else "b") + good[41:]
    wanted = {
        "void": (void["code"], 8, "void"),
        "revoked": (revoked["code"], 8, "revoked"),
        "expired": (expired["code"], 8, "expired"),
        "used": (used["code"], 8, "used up"),
        "mistyped": (swapped, 2, "mistyped"),
        "of a node": (node["code"], 8, "is for a node"),
    }
    wait_for(lambda: state_of(cluster, expired) == "expired", "the end of an invite")
    with ThreadPoolExecutor(2) as pool:
        results = dict(
            zip(
                wanted,
                pool.map(lambda one: redeem_by_cli(cluster, f"u-{one}", wanted[one][0]), wanted),
                strict=True,
            )
        )
    for name, (_, code, word) in wanted.items():
        result = results[name]
        assert (result.code, word in result.err) == (code, True), f"{name}: {result}"
        assert len(result.err.strip().splitlines()) == 1, result.err
    assert len({result.err for result in results.values()}) == len(wanted)


def test_a_full_disk_during_redemption_burns_no_use_without_a_certificate(
    tmp_path: Path, small_disk: Callable[[Path, int], None]
) -> None:
    folder = tmp_path / "member"
    data = folder / "coordinator" / "data"
    data.mkdir(parents=True)
    small_disk(data, 16)
    with running_cluster(folder, node_count=1, extra=SMALL) as cluster:
        made = made_by(cluster.cli, "--grant", "/x:read", "--max-uses", "400")
        filler = data / "filler"
        fill(filler)
        done = 0
        error: CollectiveError | None = None
        while error is None and done < 300:
            person = Person(cluster, f"p{done}")
            try:
                asyncio.run(person.redeem(made["code"]))
                done += 1
            except CollectiveError as found:
                error = found
        assert isinstance(error, NoSpaceError), error
        filler.unlink()
        assert listed(cluster, made)["uses_left"] == 400 - done
        first = asyncio.run(person.redeem(made["code"]))
        again = asyncio.run(person.redeem(made["code"]))
        assert first.certificate == again.certificate
        assert listed(cluster, made)["uses_left"] == 400 - done - 1


# --- making, listing, revoking -------------------------------------------------------------------


def test_generate_prints_the_code_alone_on_the_last_line_and_list_never_shows_it(
    cluster: Cluster,
) -> None:
    made = cluster.cli(
        "invite", "generate", "--grant", "/media:read", "--grant", "/backups:write",
        "--max-uses", "5", "--validity", "7d", "--description", "Media team access",
    )  # fmt: skip
    code = invite_code.parse(made.text.splitlines()[-1])
    assert code.url() in made.text
    listing = cluster.cli("invite", "list").text
    assert code.code_id in listing
    assert "Media team access" in listing
    everything = listing + cluster.cli("invite", "list", "--all", "--json").text
    assert code.encode() not in everything
    assert code.secret.hex() not in everything
    cluster.cli("invite", "revoke", code.encode())
    assert code.code_id not in cluster.cli("invite", "list").text
    assert cluster.cli("invite", "revoke", code.code_id, check=False).code == 8
    assert cluster.cli("invite", "revoke", "f" * 16, check=False).code == 3
    assert cluster.cli("invite", "generate", check=False).code == 2
    peer = cluster.cli("invite", "generate", "--for", "peer", check=False)
    assert (peer.code, len(peer.err.strip().splitlines())) == (2, 1)


def test_node_codes_are_rotated_and_the_file_holds_the_new_one(cluster: Cluster) -> None:
    file = cluster.cert_dir("coordinator") / "join" / "node.code"
    before = file.read_text().strip()
    made = made_by(cluster.cli, "--for", "node", "--max-uses", "7")
    assert file.read_text().strip() == made["code"] != before
    assert file.stat().st_mode & 0o777 == 0o600
    old = listed(cluster, {"id": invite_code.parse(before).code_id})
    assert (old["kind"], old["state"]) == ("node", "revoked")


# --- rights --------------------------------------------------------------------------------------


def test_nobody_gets_more_by_an_invite_than_its_maker_has(cluster: Cluster) -> None:
    carol = invited(cluster, "carol", "/team:read+share", "/notes:read+write")
    for grants in (
        ["/team:read+write"],
        ["/notes:read"],
        ["/:read"],
        ["/team:read", "/notes:read"],
    ):
        wanted = [word for grant in grants for word in ("--grant", grant)]
        carol.cli("invite", "generate", *wanted, code=4)
    carol.cli("invite", "generate", "--for", "node", code=4)
    carol.cli("grant", "add", "/team:write", "dave@home.alice", code=4)
    carol.cli("datastore", "create", "/mine", code=4)
    carol.cli("audit", code=4)
    made = made_by(cluster.cli, "--grant", "/team:read")
    carol.cli("invite", "revoke", made["id"], code=4)
    assert carol.cli("invite", "list", "--all", "--json").json() == []
    audit = cluster.cli("audit", "--since", "1h", "--json").json()
    denied = [
        one for one in audit if one["detail"].startswith("denied") and "/carol" in one["actor"]
    ]
    assert len(denied) == 9
    assert all(one["request_id"] for one in denied)


def test_when_a_link_ends_so_does_all_below_it_at_once(cluster: Cluster) -> None:
    cluster.cli("mkdir", "/chain")
    cluster.write("/chain/f", b"below")
    erin = invited(cluster, "erin", "/chain:read+share")
    frank = Person(cluster, "frank")
    joined = frank.join(made_by(erin.cli, "--grant", "/chain:read+share")["code"])
    assert joined.granted_by.endswith("/erin")
    grace = Person(cluster, "grace")
    grace.join(made_by(frank.cli, "--grant", "/chain:read")["code"])
    still_open = made_by(frank.cli, "--grant", "/chain:read")
    assert grace.cli("read", "/chain/f").out == b"below"
    chain = [line for line in cluster.cli("grant", "list").text.splitlines() if "/chain" in line]
    assert [len(line) - len(line.lstrip()) for line in chain] == [0, 2, 4]
    grants = cluster.cli("grant", "list", "--json").json()
    mine = next(one for one in grants if one["principal"].endswith("/erin"))
    cluster.cli("grant", "remove", mine["id"])
    for person in (erin, frank, grace):
        person.cli("read", "/chain/f", code=4)
    assert listed(cluster, still_open)["state"] == "void"
    with pytest.raises(ConflictError, match="void"):
        asyncio.run(Person(cluster, "late").redeem(still_open["code"]))
    assert grace.cli("status", "--json").json()["you"]["grants"] == []


def test_a_grant_that_runs_out_counts_on_the_next_call(cluster: Cluster) -> None:
    cluster.cli("mkdir", "-p", "/brief")
    heidi = invited(cluster, "heidi", "/else:read")
    for validity_s in (4, 16, 64):
        given_s = time.monotonic()
        cluster.cli("grant", "add", "/brief:read", heidi.global_id, "--validity", f"{validity_s}s")
        while_it_holds = heidi.cli("ls", "/brief", code=None)
        if time.monotonic() - given_s < validity_s - 1:
            break  # a machine that is slower asks once more for a longer time
    assert while_it_holds.code == 0, while_it_holds.err
    time.sleep(validity_s)
    heidi.cli("ls", "/brief", code=4)


# --- datastores ----------------------------------------------------------------------------------


def test_a_quota_holds_against_writers_at_the_same_time(cluster: Cluster) -> None:
    cluster.cli("datastore", "create", "/quota", "--quota", "1000KiB")
    too_large = cluster.cli("write", "/quota/large", stdin=os.urandom(1100 << 10), check=False)
    assert (too_large.code, "quota" in too_large.err) == (6, True), too_large.err
    assert cluster.cli("ls", "/quota").text == ""

    def write(number: int) -> int:
        content = os.urandom(400 << 10)
        return cluster.cli("write", f"/quota/{number}", stdin=content, check=False).code

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(write, range(4)))
    assert sorted(codes) == [0, 0, 6, 6]
    (found,) = [
        one for one in cluster.cli("datastore", "list", "--json").json() if one["path"] == "/quota"
    ]
    assert (found["used_bytes"], found["files"]) == (800 << 10, 2)
    cluster.cli("datastore", "set", "/quota", "--quota", "2MiB")
    cluster.write("/quota/more", os.urandom(400 << 10))


def test_copies_of_a_datastore_are_its_own(cluster: Cluster) -> None:
    cluster.cli("datastore", "create", "/two", "--copies", "3")
    refused = cluster.cli("write", "/two/f", stdin=b"x", check=False)
    assert refused.code == 6
    cluster.cli("datastore", "set", "/two", "--copies", "1")
    cluster.write("/two/f", b"x")
    assert cluster.cli("stat", "/two/f", "--json").json()["copies_wanted"] == 1
