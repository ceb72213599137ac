"""The part of a catalogue that enrolment needs, in memory; it yields wherever a real one may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from collective.catalog.interface.values import IssuedCertificate, Redemption
from collective.core.clock import Clock
from collective.core.errors import ConflictError, NotFoundError
from collective.core.ids import NodeId, SpiffeId
from collective.model.calls import Call
from collective.model.nodes import NodeRecord
from collective.model.people import Invite


class FakeNodes:
    def __init__(self) -> None:
        self.records: dict[NodeId, NodeRecord] = {}
        self.numbers = 0

    async def next_number(self) -> int:
        await asyncio.sleep(0)
        self.numbers += 1
        return self.numbers

    async def list(self) -> Sequence[NodeRecord]:
        await asyncio.sleep(0)
        return list(self.records.values())

    async def add(self, record: NodeRecord) -> None:
        await asyncio.sleep(0)
        self.records[record.node] = record


class FakeCodes:
    def __init__(self, clock: Clock, nodes: FakeNodes) -> None:
        self._clock = clock
        self._nodes = nodes
        self._codes: dict[str, Invite] = {}
        self._redeemed: dict[tuple[str, bytes], Redemption] = {}

    async def add(self, actor: Call, code: Invite) -> Invite:
        await asyncio.sleep(0)
        self._codes[code.id] = code
        return code

    async def get(self, code_id: str) -> Invite:
        await asyncio.sleep(0)
        if code_id not in self._codes:
            raise NotFoundError("no such code")
        return self._codes[code_id]

    async def revoke(self, actor: Call, code_id: str) -> None:
        await asyncio.sleep(0)
        self._codes[code_id] = replace(self._codes[code_id], revoked=True)

    async def redeemed(self, code_id: str, key_digest: bytes) -> Redemption | None:
        await asyncio.sleep(0)
        found = self._redeemed.get((code_id, key_digest))
        if found is not None:
            return found
        code = self._codes[code_id]
        if code.revoked:
            raise ConflictError("The join code is revoked.")
        if code.expires_s <= self._clock.wall_s():
            raise ConflictError("The join code ran out.")
        if code.uses_left <= 0:
            raise ConflictError("The join code is used up.")
        return None

    async def redeem(
        self,
        code_id: str,
        key_digest: bytes,
        made: IssuedCertificate,
        *,
        display_name: str = "",
        request_id: str = "",
    ) -> Redemption:
        found = await self.redeemed(code_id, key_digest)
        if found is not None:
            return found
        code = self._codes[code_id]
        if made.identity.role == "node":
            node, records = made.identity.node_id, self._nodes.records
            known = records.get(node) or NodeRecord(node, None, 0, 0, 0, (), 0)
            records[node] = replace(
                known,
                certificate_serial=made.serial,
                certificate_expires_ms=made.expires_ms,
            )
        self._codes[code_id] = replace(code, uses_left=code.uses_left - 1)
        self._redeemed[code_id, key_digest] = Redemption(
            code_id, key_digest, made.identity, made.der
        )
        await asyncio.sleep(0)
        return self._redeemed[code_id, key_digest]

    async def has_redeemed(self, identity: SpiffeId, key_digest: bytes) -> bool:
        await asyncio.sleep(0)
        return any(
            one.identity == identity and one.key_digest == key_digest
            for one in self._redeemed.values()
        )


class FakeCertificates:
    def __init__(self) -> None:
        self.issued: list[str] = []
        self.seen: list[str] = []
        self._renewals: dict[tuple[SpiffeId, bytes], bytes] = {}

    async def add_issued(
        self,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
        certificate_der: bytes = b"",
    ) -> None:
        self.issued.append(serial)
        self._renewals[identity, key_digest] = certificate_der

    async def last_renewal(self, identity: SpiffeId, key_digest: bytes) -> bytes | None:
        return self._renewals.get((identity, key_digest))

    async def see(
        self,
        issuer: SpiffeId,
        identity: SpiffeId,
        serial: str,
        expires_ms: int,
        key_digest: bytes,
    ) -> None:
        self.seen.append(serial)


class FakeCatalog:
    def __init__(self, clock: Clock) -> None:
        self.nodes = FakeNodes()
        self.codes = FakeCodes(clock, self.nodes)
        self.certificates = FakeCertificates()
