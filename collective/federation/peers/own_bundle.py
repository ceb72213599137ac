"""This member's own bundle: what peers are told of it, signed anew when it changes."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from collective import __version__
from collective.catalog.interface import Peers
from collective.core.clock import Clock
from collective.core.errors import RejectedError
from collective.core.ids import Domain
from collective.core.units import Address
from collective.core.world import World
from collective.member.trust.own_certificates import OwnCertificates
from collective.model.nodes import Whereabouts
from collective.pki import certificates
from collective.pki.bundle import (
    ADDRESSES_MAX,
    Bundle,
    SignedBundle,
    body_of,
    fingerprint,
    open_bundle,
    sign_bundle,
)
from collective.pki.rotation import Authorities

_UNNUMBERED: Final = 1
OVERTAKEN_MOST: Final = 3
"""So often peers may show a newer bundle than the own after a restore, as each may know another future."""
OVERTAKEN_S: Final = 600.0
"""Only what was shown within this counts."""


class OwnBundle:
    """Makes the bundle of this member."""

    def __init__(
        self, own: OwnCertificates, bootstraps: Sequence[Address], kept: Peers, world: World
    ) -> None:
        """Tell of ``own``, whose bootstraps others find at ``bootstraps``.

        ``kept`` has the number of the bundle.
        """
        self._bootstraps = tuple(bootstraps)[:ADDRESSES_MAX]
        self._own = own
        self._kept = kept
        self._threads = world.threads
        self._clock: Clock = world.clock
        self._overtaken_s: deque[float] = deque(maxlen=OVERTAKEN_MOST + 1)
        """When peers showed a newer bundle than the own, the last times."""
        self._making = asyncio.Lock()
        self._digest = b""
        self._sequence = 0
        self._signed: SignedBundle | None = None
        self._told: tuple[Authorities, tuple[Address, ...]] | None = None

    def move(self, bootstraps: Sequence[Address]) -> None:
        """Tell from now on that bootstraps are found at ``bootstraps``."""
        self._bootstraps = tuple(bootstraps)[:ADDRESSES_MAX]
        self._told = None

    @property
    def whereabouts(self) -> Whereabouts:
        """Where this member is found."""
        return Whereabouts(self._own.addresses[:ADDRESSES_MAX], self._bootstraps)

    @property
    def domain(self) -> Domain:
        """The member's own."""
        return self._own.domain

    @property
    def fingerprint(self) -> str:
        """That of the CA which signs this member's servers now."""
        return fingerprint(self._own.authority.digest)

    def warnings(self) -> Sequence[str]:
        """Return that somebody else makes bundles of this member, where it looks so."""
        since_s = self._clock.monotonic_s() - OVERTAKEN_S
        if sum(at_s >= since_s for at_s in self._overtaken_s) <= OVERTAKEN_MOST:
            return ()
        sentence = (
            "Peers keep showing newer bundles of this member than its own: another coordinator runs with"
            " its keys. Stop the one that is a copy, and then restart the other."
        )
        return (sentence,)

    async def current(self) -> tuple[SignedBundle, int]:
        """Return the bundle and its number; another one where addresses or CAs have changed since."""
        async with self._making:
            return await self._made(echoed=0)

    async def shown(self, signed: SignedBundle) -> None:
        """Take into account what a peer shows as this member's own: after a restore it is newer.

        Only the bundle itself counts, by the signature of a CA of this member: nobody else's word can
        use up the numbers.

        Raises:
            RejectedError: it is none of this member's.

        """
        bundle = open_bundle(signed)
        trusted = {
            certificates.key_digest(certificates.certificate_key(one))
            for one in self._own.authorities.trusted
        }
        if bundle.domain != self._own.domain or bundle.authority_digest not in trusted:
            raise RejectedError("What a peer shows as this member's bundle is none of it.")
        async with self._making:
            if bundle.sequence > self._sequence and self._sequence:
                self._overtaken_s.append(self._clock.monotonic_s())
                await self._made(echoed=bundle.sequence)

    async def _made(self, *, echoed: int) -> tuple[SignedBundle, int]:
        own = self._own
        authorities = own.authorities
        told = (authorities, own.addresses)
        if self._signed is not None and told == self._told and echoed <= self._sequence:
            return self._signed, self._sequence
        unnumbered = Bundle(
            member=own.member,
            domain=own.domain,
            authorities=authorities.trusted,
            addresses=own.addresses[:ADDRESSES_MAX],
            bootstraps=self._bootstraps,
            sequence=_UNNUMBERED,
            version=__version__,
            links=authorities.links or authorities.heritage,
        )
        digest = hashlib.sha256(body_of(unnumbered)).digest()
        if self._signed is None or digest != self._digest or echoed > self._sequence:
            sequence = await self._kept.own_sequence(digest, echoed=echoed)
            numbered = replace(unnumbered, sequence=sequence)
            self._signed = await self._threads.run(sign_bundle, numbered, authorities.signing)
            self._digest, self._sequence = digest, sequence
        self._told = told
        return self._signed, self._sequence
