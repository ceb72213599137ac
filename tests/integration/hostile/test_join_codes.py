"""Guessing join codes, and junk at the only port that asks for no certificate."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter

import pytest

from collective.client.joining import redeem
from collective.core.clock import SystemClock
from collective.core.errors import CollectiveError, UnreachableError, UsageError
from collective.member.people.guess_limiter import (
    DELAY_S,
    FAILURE_WINDOW_S,
    FAILURES_MAX,
    WAITING_PER_SOURCE_MAX,
)
from collective.pki import invite_code
from collective.pki.certificates import new_private_key
from collective.rpc.client.channel import RpcChannel
from collective.rpc.tls.contexts import ALPN_CHUNK, ALPN_GRPC
from tests import protocol as pb
from tests.integration.hostile.attacker import Target
from tests.worlds import LINKS, REAL

REFUSALS = {"permission_denied", "busy", "usage", "rejected"}


def node_code(target: Target) -> invite_code.InviteCode:
    path = target.cluster.cert_dir("coordinator") / "join" / "node.code"
    return invite_code.parse(path.read_text())


def bootstrap(target: Target) -> RpcChannel:
    """The bootstrap without a client certificate, pinned to nothing."""
    from collective.core.units import Address  # noqa: PLC0415
    from collective.rpc.tls.contexts import client_context  # noqa: PLC0415

    return RpcChannel(
        [Address("127.0.0.1", target.cluster.bootstrap_port)],
        tls=lambda: client_context(None, target.trust, (ALPN_GRPC,)),
        gate=target.gate,
        expect=target.coordinator,
        connect_timeout_s=5.0,
        randomness=REAL.randomness,
    )


@pytest.mark.parametrize(
    "guesses",
    [
        pytest.param(1000, marks=pytest.mark.smoke),
        pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_thousands_of_guesses_of_a_real_code(target: Target, guesses: int) -> None:
    """No guess is right, they are slowed, and who knows the code joins while they go on."""
    code = node_code(target)
    answers: Counter[str] = Counter()
    channel = bootstrap(target)
    began_s = time.monotonic()
    try:
        stub = channel.stub(pb.BootstrapStub)
        nonce = (await stub.begin_join(pb.BeginJoinRequest(code_id=code.code_id))).nonce

        async def guess(count: int) -> None:
            for _ in range(count):
                try:
                    await stub.join(
                        pb.JoinRequest(
                            code_id=code.code_id, nonce=nonce, csr_der=b"x", proof=os.urandom(64)
                        )
                    )
                except CollectiveError as error:
                    answers[error.code] += 1
                else:
                    answers["JOINED"] += 1

        async def join_meanwhile() -> None:
            while answers["busy"] < guesses // 10:
                await asyncio.sleep(0.01)
            await redeem(
                code, new_private_key(REAL.randomness), clock=SystemClock(), wish="", links=LINKS
            )

        async with asyncio.TaskGroup() as group:
            group.create_task(join_meanwhile())
            for _ in range(20):
                group.create_task(guess(guesses // 20))
    finally:
        await channel.aclose()
        await asyncio.sleep(0.05)
    took_s = time.monotonic() - began_s
    assert sum(answers.values()) == guesses
    assert set(answers) <= REFUSALS, answers
    # By how long it took, so that it holds on a machine of any speed.
    windows = 1 + took_s / FAILURE_WINDOW_S
    tried = 2 * FAILURES_MAX * windows + WAITING_PER_SOURCE_MAX * (1 + took_s / DELAY_S)
    assert guesses - answers["busy"] <= tried, (answers, took_s)


async def test_guesses_of_code_ids(target: Target) -> None:
    """An unknown id, a known one and a wrong secret get one and the same answer."""
    code = node_code(target)
    seen = set()
    channel = bootstrap(target)
    try:
        stub = channel.stub(pb.BootstrapStub)
        for code_id in (code.code_id, "0" * 16, "f" * 16):
            nonce = (await stub.begin_join(pb.BeginJoinRequest(code_id=code_id))).nonce
            with pytest.raises(CollectiveError) as caught:
                await stub.join(
                    pb.JoinRequest(code_id=code_id, nonce=nonce, csr_der=b"x", proof=bytes(64))
                )
            if caught.value.code != "busy":  # the test before may have used the tries up
                seen.add((caught.value.code, caught.value.message))
    finally:
        await channel.aclose()
        await asyncio.sleep(0.05)
    assert len(seen) <= 1, seen


@pytest.mark.parametrize(
    "code_id", ["", "0" * 15, "0" * 17, "G" * 16, "../../etc/passw", "\0" * 16, "0" * 1_000_000]
)
async def test_malformed_code_ids(target: Target, code_id: str) -> None:
    channel = bootstrap(target)
    try:
        stub = channel.stub(pb.BootstrapStub)
        with pytest.raises(UsageError):
            await stub.begin_join(pb.BeginJoinRequest(code_id=code_id))
        with pytest.raises(UsageError):
            await stub.join(pb.JoinRequest(code_id=code_id))
    finally:
        await channel.aclose()
        await asyncio.sleep(0.05)


async def test_junk_in_every_field_of_the_bootstrap(target: Target) -> None:
    channel = bootstrap(target)
    try:
        stub = channel.stub(pb.BootstrapStub)
        for junk in (b"", b"x", b"\x30\x82\xff\xff", os.urandom(5000), bytes(3_000_000)):
            for attempt in (
                lambda j=junk: stub.join(
                    pb.JoinRequest(code_id="0" * 16, nonce=j, csr_der=j, proof=j, wish="x" * len(j))
                ),
                lambda j=junk: stub.begin_renewal(pb.BeginRenewalRequest(certificate_der=j)),
                lambda j=junk: stub.renew(
                    pb.RenewRequest(certificate_der=j, nonce=j, csr_der=j, signature=j)
                ),
            ):
                with pytest.raises(CollectiveError) as caught:
                    await attempt()
                assert caught.value.code in REFUSALS | {"conflict"}, caught.value
    finally:
        await channel.aclose()
        await asyncio.sleep(0.05)


async def test_renewal_of_a_certificate_whose_key_one_has_not(target: Target) -> None:
    from collective.pki import certificates  # noqa: PLC0415

    victim = target.node(1).certificate
    der = certificates.certificate_der(victim)
    channel = bootstrap(target)
    try:
        stub = channel.stub(pb.BootstrapStub)
        nonce = (await stub.begin_renewal(pb.BeginRenewalRequest(certificate_der=der))).nonce
        with pytest.raises(CollectiveError) as caught:
            await stub.renew(
                pb.RenewRequest(
                    certificate_der=der, nonce=nonce, csr_der=b"x", signature=os.urandom(70)
                )
            )
    finally:
        await channel.aclose()
        await asyncio.sleep(0.05)
    assert caught.value.code in REFUSALS


async def test_nothing_but_the_bootstrap_is_served_without_a_certificate(target: Target) -> None:
    channel = bootstrap(target)
    try:
        for attempt in (
            lambda: channel.stub(pb.FilesStub).list(pb.ListRequest(path="/")),
            lambda: channel.stub(pb.MemberStatusStub).get_status(pb.GetStatusRequest()),
            lambda: channel.stub(pb.NodeRegistryStub).heartbeat(pb.HeartbeatRequest()),
            lambda: channel.stub(pb.NodeStub).delete_copies(pb.DeleteCopiesRequest()),
        ):
            with pytest.raises(CollectiveError) as caught:
                await attempt()
            assert caught.value.code == "rejected", caught.value
    finally:
        await channel.aclose()
        await asyncio.sleep(0.05)
    assert target.refused(None, target.cluster.bootstrap_port, ALPN_CHUNK)


def test_a_code_with_a_wrong_checksum_asks_nobody(target: Target) -> None:
    text = node_code(target).encode()
    calls = target.cluster.coordinator.page("/metrics")[1].count("BeginJoin")
    for position in range(0, len(text), 7):
        other = "1" if text[position] != "1" else "2"
        with pytest.raises(UsageError, match=r"mistyped|newer|address"):
            invite_code.parse(text[:position] + other + text[position + 1 :])
    for cut in (text[:-1], text[1:], text + "0", "", text[: len(text) // 2]):
        with pytest.raises(UsageError):
            invite_code.parse(cut)
    assert target.cluster.coordinator.page("/metrics")[1].count("BeginJoin") == calls


async def test_a_code_that_pins_another_ca(target: Target) -> None:
    """A true code but for the CA's digest: the client refuses before it sends anything."""
    from dataclasses import replace  # noqa: PLC0415

    code = replace(node_code(target), authority_digest=b"\1" * 32)
    with pytest.raises(CollectiveError) as caught:
        await redeem(
            code, new_private_key(REAL.randomness), clock=SystemClock(), wish="", links=LINKS
        )
    assert not isinstance(caught.value, UnreachableError) or "certif" in caught.value.message
