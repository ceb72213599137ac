"""Getting the node's certificate: found on disk, or redeemed from a join code at the first start.

The key is made here and never leaves; it is kept before the code is redeemed, so that a redemption
interrupted at any point is the same one when repeated.  Waits for a code file and a bootstrap that
are not there yet, so that a set of nodes starts in any order.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import structlog

from collective.client.joining import Joined, redeem, renew_expired
from collective.core.backoff import Backoff
from collective.core.errors import (
    BusyError,
    CollectiveError,
    ConflictError,
    NotJoinedError,
    OperatorError,
    PermissionDeniedError,
    RejectedError,
    SettingsError,
    UnreachableError,
    UsageError,
)
from collective.core.ids import NodeId
from collective.core.settings import ServeSettings
from collective.core.small_files import read_small
from collective.core.units import Address
from collective.core.work import retry
from collective.core.world import World
from collective.pki.cert_dir import CertDir, ca_folder, members_in, nodes_folder, nodes_in
from collective.pki.credentials import Credentials, load_credentials, save_credentials
from collective.pki.invite_code import InviteCode, parse
from collective.pki.pem_files import load_or_create_key, write_certificate
from collective.roles.node.enrolment_notes import NodeNotes, load_notes, record_path, save_notes
from collective.roles.node.member_addresses import useful
from collective.rpc.links import Links

NO_CODE: Final = "none"
"""What the units of ``systemd install`` hand over where the operator has put no code."""
RETRIES: Final = Backoff(0.5, 10.0)
_PASSING: Final = (UnreachableError, BusyError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A node that has its certificate."""

    node: NodeId
    credentials: Credentials
    place: CertDir
    notes: NodeNotes


class Enrolment:
    """Finds or gets the certificate of this process's node."""

    def __init__(
        self,
        settings: ServeSettings,
        world: World,
        links: Links,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        redeem_code: Callable[..., Awaitable[Joined]] = redeem,
    ) -> None:
        """Use the cert dir and the join code of ``settings``."""
        self._uniform = world.randomness.uniform
        self._settings = settings
        self._world = world
        self._clock = world.clock
        self._disk = world.disk
        self._threads = world.threads
        self._links = links
        self._sleep = sleep
        self._redeem = redeem_code
        self._log = structlog.get_logger("collective.node.enrolment")

    async def enrol(self) -> Enrolled:
        """Return the node's certificate, waiting for the code and the bootstrap if need be.

        Cancellation leaves at most a key without a certificate, which the next try uses.

        Raises:
            SettingsError: the cert dir is ambiguous, or there is neither certificate nor code.
            ConflictError, RejectedError: the code is used up or revoked, or not from this member.
        """
        found = await self._threads.run(self.find)
        if found is None:
            return await self._join()
        if found.credentials.certified.has_expired(self._clock.wall_s()):
            return await self._renew_expired(found)
        return found

    def find(self) -> Enrolled | None:
        """Return the certificate on disk, or None if this node has none yet.  Blocking."""
        node = self._known_node()
        if node is None:
            return None
        members = members_in(self._names(ca_folder(self._settings.cert_dir)))
        if len(members) != 1:
            raise SettingsError(
                f"The cert dir {self._settings.cert_dir} must hold the CA certificate of exactly "
                f"one member, not of {len(members)}."
            )
        place = CertDir(self._settings.cert_dir, members[0])
        credentials = load_credentials(
            place.node_certificate(node),
            place.node_key(node),
            place.ca_certificate,
            disk=self._disk,
        )
        identity = credentials.identity
        if identity.role != "node" or identity.trust_domain != credentials.domain:
            raise SettingsError(f"{credentials.certificate_path} is not a node's certificate.")
        notes = load_notes(record_path(self._settings.cert_dir, node), self._disk)
        return Enrolled(identity.node_id, credentials, place, notes)

    def _known_node(self) -> NodeId | None:
        nodes = nodes_in(self._names(nodes_folder(self._settings.cert_dir)))
        wanted = self._settings.node_id
        if wanted is not None:
            return wanted if wanted in nodes else None
        if len(nodes) > 1:
            raise SettingsError(
                f"The cert dir {self._settings.cert_dir} holds {len(nodes)} nodes; set "
                "COLLECTIVE_NODE_ID, or give each node a cert dir of its own."
            )
        return nodes[0] if nodes else None

    def _names(self, folder: str) -> list[str]:
        if not self._disk.exists(folder):
            return []
        return [entry.name for entry in self._disk.list_dir(folder) if not entry.is_dir]

    async def _join(self) -> Enrolled:
        if self._settings.join_code is None and self._settings.join_code_file is None:
            raise SettingsError(
                "This node has no certificate; set COLLECTIVE_JOIN_CODE or "
                "COLLECTIVE_JOIN_CODE_FILE (make one with: collective invite generate --for node)."
            )
        return await self._retry(self._join_once, (*_PASSING, NotJoinedError), "waiting to join")

    async def _retry(
        self,
        attempt: Callable[[], Awaitable[T]],
        passing: tuple[type[CollectiveError], ...],
        event: str,
    ) -> T:
        last = ""

        def failed(error: CollectiveError) -> None:
            nonlocal last
            if error.message != last:
                self._log.info(event, reason=error.message)
                last = error.message

        return await retry(
            attempt, passing, RETRIES, self._uniform, failed=failed, sleep=self._sleep
        )

    async def _join_once(self) -> Enrolled:
        code = await self._threads.run(self._code)
        if self._settings.node_address is not None:  # a node that cannot serve takes no place
            await self._links.require_free(self._settings.node_address)
        key_path = await self._threads.run(self._joining_key)
        key = await self._threads.run(load_or_create_key, key_path, self._world)
        wish = self._settings.node_id or ""
        joined = await self._redeem(code, key, links=self._links, clock=self._clock, wish=wish)
        if joined.identity.role != "node":
            raise SettingsError("The join code is not one for nodes; make one with --for node.")
        node = joined.identity.node_id
        if wish and node != wish:
            raise ConflictError(
                f"The coordinator gave the id {node} instead of {wish}; set COLLECTIVE_NODE_ID to "
                "an id that is free."
            )
        place = CertDir(self._settings.cert_dir, joined.member)
        notes = NodeNotes(
            None, _coordinators(joined.coordinator_addresses, code.addresses), code.addresses
        )

        def keep() -> Credentials:
            save_notes(record_path(self._settings.cert_dir, node), notes, self._disk)
            saved = save_credentials(
                place.node_certificate(node),
                place.node_key(node),
                place.ca_certificate,
                certificate=joined.certificate,
                private_key=key,
                authority=joined.authority,
                disk=self._disk,
            )
            if key_path != place.node_key(node):
                self._disk.unlink(key_path)
            return saved

        credentials = await self._threads.run(keep)
        self._log.info("enrolled", node=node, member=joined.member)
        return Enrolled(node, credentials, place, notes)

    def _joining_key(self) -> str:
        folder = nodes_folder(self._settings.cert_dir)
        wish = self._settings.node_id
        return posixpath.join(folder, f"{wish}.key" if wish else ".joining.key")

    def _code(self) -> InviteCode:
        text = self._settings.join_code
        if text is None:
            path = self._settings.join_code_file
            assert path is not None
            try:
                text = read_small(path, disk=self._disk).decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise SettingsError(f"{path} holds no join code.") from error
            except NotJoinedError as error:
                raise UnreachableError(f"The join code file {path} is not there yet.") from error
            if not text:
                raise UnreachableError(f"The join code file {path} is empty yet.")
        if text == NO_CODE:  # what is handed over does not change while this process lives
            raise OperatorError(
                "This node has no certificate, and the service manager handed over no code; put one"
                " where the unit's LoadCredential=node.code looks for it."
            )
        try:
            return parse(text)
        except (UsageError, RejectedError) as error:
            raise SettingsError(f"The join code cannot be used: {error.message}") from error

    async def _renew_expired(self, found: Enrolled) -> Enrolled:
        addresses = found.notes.bootstrap_addresses
        if not addresses:
            raise SettingsError(
                "The node's certificate ran out and no bootstrap address is known; remove the "
                "certificate and join again with a code."
            )
        try:
            joined = await self._retry(
                lambda: renew_expired(
                    found.credentials, addresses, links=self._links, clock=self._clock
                ),
                _PASSING,
                "waiting to renew",
            )
        except PermissionDeniedError as error:
            if self._settings.join_code is None and self._settings.join_code_file is None:
                raise
            # The member wants a word of approval: a code, redeemed with the same key.
            self._log.warning("joining again with the same key", reason=error.message)
            return await self._retry(lambda: self._rejoin(found), _PASSING, "waiting to join")
        return await self._threads.run(self._keep_renewed, found, joined)

    async def _rejoin(self, found: Enrolled) -> Enrolled:
        code = await self._threads.run(self._code)
        joined = await self._redeem(
            code,
            found.credentials.private_key,
            links=self._links,
            clock=self._clock,
            wish=found.node,
        )
        if joined.identity != found.credentials.identity:
            raise ConflictError(
                f"The coordinator gave the identity {joined.identity}, not that of {found.node}."
            )
        return await self._threads.run(self._keep_renewed, found, joined)

    def _keep_renewed(self, found: Enrolled, joined: Joined) -> Enrolled:
        old = found.credentials
        fresh = old.renewed(joined.certificate)
        write_certificate(old.certificate_path, joined.certificate, disk=self._disk)
        return replace(found, credentials=fresh)


def _coordinators(told: Sequence[Address], joined_by: Sequence[Address]) -> tuple[Address, ...]:
    """Return where to look for the coordinator, as it said; all of it where nothing of that seems useful."""
    return useful(tuple(told), tuple(joined_by)) or tuple(told)
