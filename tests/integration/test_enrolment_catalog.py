"""Enrolment over the real catalogue: uses are exact, survive a restart, and repeat for free."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from collective.catalog.sqlite import SqliteCatalog
from collective.core.clock import ManualClock
from collective.core.errors import ConflictError
from collective.core.ids import Domain, MemberId, SpiffeId
from collective.core.randomness import SystemRandomness
from collective.core.units import Address
from collective.member.people.invites import InviteIssuer
from collective.member.people.joining import Admitted, Joining
from collective.model.calls import Call
from collective.model.people import InviteKind, JoinAttempt
from collective.pki import certificates, proof
from collective.pki.ca import CertificateAuthority
from collective.pki.cert_dir import CertDir
from collective.pki.invite_code import InviteCode
from tests.unit.member.own import joining_over, lone
from tests.worlds import REAL, world_of

ALICE = Domain("home.alice")
LEAF = b"l" * 32
OPERATOR = Call(SpiffeId.coordinator(ALICE), is_operator=True)
CLOCK = ManualClock()
CA = CertificateAuthority.create(MemberId("alice"), ALICE, world_of(CLOCK))


def enrolment_over(catalog: SqliteCatalog) -> Joining:
    return joining_over(lone(CA), catalog, world_of(CLOCK, SystemRandomness()))


def attempt(joining: Joining, code: InviteCode, csr: bytes) -> JoinAttempt:
    nonce = joining.begin_join(code.code_id)
    transcript = proof.Transcript(code.code_id, nonce, LEAF, csr, "")
    signed = proof.sign_join(code.secret, transcript)
    return JoinAttempt(code.code_id, nonce, csr, signed, "", (LEAF,))


async def test_fifty_at_once_redeem_five_uses_and_repeat_after_a_restart(tmp_path: Path) -> None:
    data_dir = str(tmp_path / "data")
    catalog = await SqliteCatalog.open(data_dir, world_of(CLOCK, SystemRandomness()))
    codes = InviteIssuer(
        lone(CA),
        catalog.codes,
        [Address("127.0.0.1", 9001)],
        CertDir(str(tmp_path), MemberId("alice")),
        world_of(CLOCK, SystemRandomness()),
    )
    record, code = await codes.create(OPERATOR, InviteKind.NODE, uses=5, validity_s=60)
    joining = enrolment_over(catalog)
    requests = [
        certificates.make_request(certificates.new_private_key(REAL.randomness)) for _ in range(50)
    ]

    async def one(csr: bytes) -> Admitted | None:
        try:
            return await joining.join(attempt(joining, code, csr))
        except ConflictError:
            return None

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(csr)) for csr in requests]
    given = {
        csr: admission
        for csr, task in zip(requests, tasks, strict=True)
        if (admission := task.result()) is not None
    }
    assert len(given) == 5
    names = {admission.identity.node_id for admission in given.values()}
    assert names == {f"alice-node-0{number}" for number in range(1, 6)}
    assert (await catalog.codes.get(record.id)).uses_left == 0
    assert {found.node for found in await catalog.nodes.list()} == names
    await catalog.close()

    catalog = await SqliteCatalog.open(data_dir, world_of(CLOCK, SystemRandomness()))
    try:
        joining = enrolment_over(catalog)
        for csr, before in given.items():
            again = await joining.join(attempt(joining, code, csr))
            assert again.certificate_der == before.certificate_der
        fresh = certificates.make_request(certificates.new_private_key(REAL.randomness))
        with pytest.raises(ConflictError, match="used up"):
            await joining.join(attempt(joining, code, fresh))
    finally:
        await catalog.close()


async def test_node_code_of_a_restored_catalogue_is_replaced(tmp_path: Path) -> None:
    """The file names a code that the catalogue does not know: a new one is written."""
    place = CertDir(str(tmp_path / "certs"), MemberId("alice"))
    seen = []
    for generation in ("one", "two"):
        catalog = await SqliteCatalog.open(
            str(tmp_path / generation), world_of(CLOCK, SystemRandomness())
        )
        codes = InviteIssuer(
            lone(CA),
            catalog.codes,
            [Address("127.0.0.1", 9001)],
            place,
            world_of(CLOCK, SystemRandomness()),
        )
        record = await codes.ensure_node_code(OPERATOR, uses=3, validity_s=86400)
        again = await codes.ensure_node_code(OPERATOR, uses=3, validity_s=86400)
        assert again.id == record.id
        seen.append(record.id)
        await catalog.close()
    assert seen[0] != seen[1]
