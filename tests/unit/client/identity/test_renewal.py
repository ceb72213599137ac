from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from cryptography import x509

from collective.client.identity.documents import JoinedCollective
from collective.client.identity.renewal import Renewed, Renewer
from collective.client.identity.store import IdentityStore
from collective.core.clock import ManualClock
from collective.core.disk import OsDisk
from collective.core.errors import PermissionDeniedError, RejectedError, UnreachableError
from collective.core.units import Address
from collective.pki.ca import CertificateAuthority
from collective.pki.credentials import Credentials
from tests.unit.client.identity.bootstrap import BOOTSTRAP, COORDINATOR, Member
from tests.worlds import LINKS, world_of

DAY_S = 86400.0
LIFE_S = 30 * DAY_S
NEW_ADDRESS = (Address("10.0.0.1", 8001),)


def none() -> bytes:
    raise AssertionError("no passphrase is needed")


class Coordinator:
    """Renews, and counts how."""

    def __init__(self, member: Member) -> None:
        self.member = member
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.told: tuple[Address, ...] = ()
        self.newest = member.authority
        self.trusted: tuple[x509.Certificate, ...] = (member.authority.certificate,)

    def how(self, name: str) -> Callable[..., Awaitable[Renewed]]:
        async def renew(
            credentials: Credentials, collective: JoinedCollective, addresses: tuple[Address, ...]
        ) -> Renewed:
            self.calls.append(name)
            if self.error:
                raise self.error
            if name == "ask":
                certificate = credentials.certificate
                return credentials.renewed(certificate, self.trusted), self.told
            certificate = self.newest.issue(
                credentials.identity, credentials.private_key.public_key(), lifetime_s=LIFE_S
            )
            return credentials.renewed(certificate), self.told

        return renew


class Client:
    """A joined client whose certificate lives 30 days."""

    def __init__(self, store: IdentityStore, member: Member, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.coordinator = Coordinator(member)
        self.notes: list[str] = []
        self.slept = 0
        self.on_sleep: Callable[[], None] = lambda: None
        key = store.key_for_joining(none)
        joined = member.joined(key, "me@home.me", lifetime_s=LIFE_S)
        self.collective = store.record(joined, BOOTSTRAP).collective

    @property
    def kept(self) -> Credentials:
        return self.store.credentials(self.collective, none)

    async def sleep(self, seconds: float) -> None:
        self.slept += 1
        self.on_sleep()

    async def use(self, addresses: tuple[Address, ...] = ()) -> Credentials:
        known = self.store.find("alice")
        return await self.renewer.fresh(known, self.kept, addresses, self.notes.append)

    async def found(self, addresses: tuple[Address, ...]) -> None:
        await self.renewer.found(self.store.find("alice"), addresses, self.notes.append)

    async def hear_of(self, newest: bytes) -> Credentials:
        known = self.store.find("alice")
        return await self.renewer.follow(known, self.kept, COORDINATOR, newest, self.notes.append)

    @property
    def renewer(self) -> Renewer:
        return Renewer(
            self.store,
            world_of(self.clock),
            LINKS,
            live=self.coordinator.how("live"),
            expired=self.coordinator.how("expired"),
            ask=self.coordinator.how("ask"),
            sleep=self.sleep,
        )


@pytest.fixture
def client(store: IdentityStore, alice: Member, clock: ManualClock) -> Client:
    return Client(store, alice, clock)


async def test_nothing_is_renewed_before_two_thirds(client: Client) -> None:
    before = client.kept.certificate
    for _ in range(19):
        client.clock.advance(DAY_S - 60)
        assert (await client.use()).certificate == before
    assert client.coordinator.calls.count("live") == 0


async def test_once_a_day_of_use_it_learns_where_the_coordinator_is(client: Client) -> None:
    client.coordinator.told = NEW_ADDRESS
    for _ in range(3):
        await client.use()
    assert client.coordinator.calls == []
    client.clock.advance(DAY_S + 1)
    for _ in range(3):
        await client.use()
    assert client.coordinator.calls == ["ask"]
    assert client.store.find("alice").coordinator_addresses == (*NEW_ADDRESS, *COORDINATOR)


async def test_a_new_ca_is_learned_and_gives_a_new_certificate(
    client: Client, clock: ManualClock, alice: Member
) -> None:
    clock.advance(DAY_S + 1)
    newest = CertificateAuthority.create(alice.member, alice.domain, world_of(clock), label="2")
    client.coordinator.newest = newest
    client.coordinator.trusted = (alice.authority.certificate, newest.certificate)
    used = await client.use()
    assert client.coordinator.calls == ["ask", "live"]
    assert client.kept.trusted == client.coordinator.trusted
    assert client.kept.authority == newest.certificate
    assert client.kept.certificate == used.certificate
    await client.use()
    assert client.coordinator.calls == ["ask", "live"]
    again = client.store.record(
        alice.joined(client.kept.private_key, "me@home.me", lifetime_s=60.0), BOOTSTRAP
    )
    assert not again.is_new, "a code of the old CA is still for the same collective"
    assert client.kept.certificate == used.certificate


async def test_a_new_ca_that_is_heard_of_is_followed_at_once(
    client: Client, clock: ManualClock, alice: Member
) -> None:
    clock.advance(60.0)
    newest = CertificateAuthority.create(alice.member, alice.domain, world_of(clock), label="2")
    client.coordinator.newest = newest
    client.coordinator.trusted = (alice.authority.certificate, newest.certificate)
    await client.use()
    assert client.coordinator.calls == []
    used = await client.hear_of(newest.digest)
    assert client.coordinator.calls == ["ask", "live"]
    assert client.kept.certificate == used.certificate
    assert client.kept.authority == newest.certificate
    await client.hear_of(newest.digest)
    await client.hear_of(b"")
    assert client.coordinator.calls == ["ask", "live"]


async def test_a_new_ca_that_nobody_vouches_for_is_not_followed_and_nothing_is_renewed(
    client: Client,
) -> None:
    client.coordinator.error = RejectedError("No CA that is trusted has signed it.")
    before = client.kept
    assert (await client.hear_of(b"x" * 32)).certificate == before.certificate
    assert client.coordinator.calls == ["ask"]
    assert client.kept.trusted == before.trusted
    assert len(client.notes) == 1


async def test_a_command_that_was_done_does_not_fail_for_a_ca_that_cannot_be_followed(
    client: Client,
) -> None:
    before, known = client.kept, client.store.find("alice")
    client.store.leave("alice")
    note = client.notes.append
    renewer = client.renewer
    used = await renewer.follow(known, before, COORDINATOR, b"x" * 32, note)
    assert used.certificate == before.certificate
    assert client.coordinator.calls == []
    assert len(client.notes) == 1


async def test_a_coordinator_that_cannot_say_is_not_asked_with_every_command(
    client: Client,
) -> None:
    client.clock.advance(DAY_S + 1)
    client.coordinator.error = PermissionDeniedError("No.")
    for _ in range(3):
        await client.use()
    assert client.coordinator.calls == ["ask"]


async def test_where_the_coordinator_was_found_is_kept_before_what_was_known(
    client: Client,
) -> None:
    def kept() -> tuple[Address, ...]:
        return client.store.find("alice").coordinator_addresses

    tunnel = Address("127.0.0.1", 15555)
    await client.found((tunnel, *NEW_ADDRESS))
    assert kept() == (tunnel, *NEW_ADDRESS, *COORDINATOR)
    await client.found(())
    await client.found((tunnel,))
    assert kept() == (tunnel, *NEW_ADDRESS, *COORDINATOR), "what is known already writes nothing"
    await client.found((*COORDINATOR, *NEW_ADDRESS))
    assert kept() == (*COORDINATOR, *NEW_ADDRESS, tunnel), "where it answered last is tried first"
    await client.found((tunnel, *NEW_ADDRESS))
    assert kept() == (tunnel, *NEW_ADDRESS, *COORDINATOR)
    client.coordinator.told = NEW_ADDRESS
    client.clock.advance(DAY_S + 1)
    await client.use()
    assert kept() == (*NEW_ADDRESS, tunnel, *COORDINATOR), "what is told does not take it away"
    for number in range(20):
        await client.found((Address("10.0.0.9", number + 1),))
    assert len(kept()) == 8
    assert kept()[0] == Address("10.0.0.9", 20)


async def test_an_address_that_cannot_be_kept_costs_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client.store, "take_addresses", full)
    await client.found(NEW_ADDRESS)
    assert client.notes[0].startswith("The new address of alice-homelab was not kept")


async def test_it_is_renewed_live_when_due_and_kept(client: Client) -> None:
    client.clock.advance(LIFE_S * 0.7)
    before = client.kept.certificate
    client.coordinator.told = NEW_ADDRESS
    used = await client.use()
    assert client.coordinator.calls == ["live"]
    assert used.certificate != before
    assert client.kept.certificate == used.certificate
    assert client.store.find("alice").coordinator_addresses == (*NEW_ADDRESS, *COORDINATOR)
    await client.use()
    assert client.coordinator.calls == ["live"]


async def test_one_that_ran_out_is_renewed_at_the_bootstrap(client: Client) -> None:
    client.clock.advance(LIFE_S * 1.5)
    used = await client.use()
    assert client.coordinator.calls == ["expired"]
    assert client.kept.certificate == used.certificate
    assert client.store.find("alice").coordinator_addresses == COORDINATOR


@pytest.mark.parametrize("error", [UnreachableError("No answer."), OSError("disk full")])
async def test_a_failure_does_not_matter_while_the_certificate_counts(
    client: Client, error: Exception
) -> None:
    client.clock.advance(LIFE_S * 0.9)
    client.coordinator.error = error
    assert (await client.use()).certificate == client.kept.certificate
    assert len(client.notes) == 1
    assert "not renewed yet" in client.notes[0]


async def test_a_refusal_after_it_ran_out_is_told(client: Client) -> None:
    client.clock.advance(LIFE_S * 5)
    client.coordinator.error = PermissionDeniedError("It ran out too long ago; join again.")
    with pytest.raises(PermissionDeniedError, match="join again"):
        await client.use()


async def test_while_another_process_renews_a_valid_one_is_used_as_it_is(client: Client) -> None:
    client.clock.advance(LIFE_S * 0.7)
    lock = OsDisk().lock(client.store.place.renewing("alice-homelab"))
    assert lock is not None
    await client.use()
    assert client.coordinator.calls == []
    assert client.slept == 0
    lock.release()


async def test_while_another_process_renews_one_that_ran_out_waits_and_takes_its_result(
    client: Client, alice: Member
) -> None:
    client.clock.advance(LIFE_S * 1.5)
    lock = OsDisk().lock(client.store.place.renewing("alice-homelab"))
    assert lock is not None

    def other_is_done() -> None:
        if client.slept == 3:
            credentials = client.kept
            certificate = alice.authority.issue(
                credentials.identity, credentials.private_key.public_key(), lifetime_s=LIFE_S
            )
            client.store.take_renewed(client.collective, credentials.renewed(certificate))
            lock.release()

    client.on_sleep = other_is_done
    used = await client.use()
    assert used.certificate == client.kept.certificate
    assert used.certified.expires_s > client.clock.wall_s()
    assert client.coordinator.calls == []


async def test_a_process_that_hangs_while_renewing_is_not_waited_for_for_ever(
    client: Client,
) -> None:
    client.clock.advance(LIFE_S * 1.5)
    lock = OsDisk().lock(client.store.place.renewing("alice-homelab"))
    assert lock is not None
    with pytest.raises(UnreachableError, match="try again"):
        await client.use()
    lock.release()
