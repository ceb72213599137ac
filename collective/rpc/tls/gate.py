"""Who is at the other end: the pure certificate check, applied to a live connection.

A :class:`PeerGate` holds what counts now (authorities, revocations) and can be given newer values
at any time.  The message of a refusal begins with the step that failed; who meets it says it on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol

from collective.core.clock import Clock
from collective.core.errors import RejectedError
from collective.core.ids import Domain, SpiffeId, SpiffeRole
from collective.pki.certificates import Certified
from collective.pki.revocation import RevocationSet
from collective.pki.trust import (
    RevokedCertificateError,
    TrustStore,
    UntrustedError,
    verify_leaf,
)

Usage = Literal["client", "server"]
Expectation = SpiffeId | Callable[[Certified], bool]
"""The exact identity wanted, or a predicate over the verified certificate."""

REVOKED: Final = "revoked"
"""The objection to a peer that is to be told so."""
ALL_ROLES: Final[frozenset[SpiffeRole]] = frozenset(("coordinator", "bootstrap", "node", "user"))


class Gate(Protocol):
    """Decides from a finished handshake whether the peer counts."""

    @property
    def trust(self) -> TrustStore | None:
        """Authorities for the handshake; None where :meth:`verify` pins the peer by itself."""
        ...

    def verify(self, leaf_der: bytes, roles: frozenset[SpiffeRole], usage: Usage) -> Certified:
        """Return who the peer is; raise :class:`RejectedError` if its certificate does not count.

        ``leaf_der`` is the certificate that it showed, whose key it proved to have; empty for none.
        """
        ...

    def objection(self, peer: Certified) -> str | None:
        """Return why a peer verified earlier counts no longer, or None."""
        ...


class Sweeps(Protocol):
    """Keeps connections whose peers the gate let in: a listener."""

    def sweep(self) -> int:
        """End the connections of peers that count no longer; return how many."""
        ...


class PeerGate:
    """The gate of every connection but a join: `pki.trust` over live trust and revocations."""

    def __init__(
        self,
        trust: TrustStore,
        revocations: RevocationSet,
        clock: Clock,
        *,
        home: Domain | None = None,
        foreign_roles: frozenset[SpiffeRole] = frozenset(),
    ) -> None:
        """Start with ``trust`` and ``revocations``; ``clock`` gives the time of each check.

        Args:
            trust: what counts.
            revocations: what does not count any more.
            clock: for validity.
            home: the domain whose every role may come; of other trusted domains only ``foreign_roles``
                may.  None makes no difference between domains.
            foreign_roles: see ``home``.
        """
        self._home = home
        self._foreign_roles = foreign_roles
        self._shut_out: frozenset[Domain] = frozenset()
        self._foreign_revoked: Mapping[Domain, RevocationSet] = {}
        self._trust = trust
        self._revocations = revocations
        self._clock = clock
        self._listeners: list[Sweeps] = []

    @property
    def trust(self) -> TrustStore:
        """The authorities that count now."""
        return self._trust

    @property
    def revocations(self) -> RevocationSet:
        """What is revoked now."""
        return self._revocations

    def attach(self, listener: Sweeps) -> None:
        """Have ``listener`` swept whenever other values count; each attaches itself when it is made."""
        self._listeners.append(listener)

    def replace(
        self,
        *,
        trust: TrustStore | None = None,
        revocations: RevocationSet | None = None,
        shut_out: frozenset[Domain] | None = None,
        foreign_revoked: Mapping[Domain, RevocationSet] | None = None,
    ) -> int:
        """Let newer values count from now on.

        ``shut_out``: domains whose certificates are recognised, and told that they are revoked.
        ``foreign_revoked``: what other domains have revoked, each of its own certificates alone.

        Returns how many open connections ended by that, at every listener with this gate.
        """
        self._shut_out = self._shut_out if shut_out is None else shut_out
        if foreign_revoked is not None:
            self._foreign_revoked = foreign_revoked
        self._trust = self._trust if trust is None else trust
        self._revocations = self._revocations if revocations is None else revocations
        return sum(listener.sweep() for listener in self._listeners)

    def verify(self, leaf_der: bytes, roles: frozenset[SpiffeRole], usage: Usage) -> Certified:
        """Return who the peer is, or raise :class:`RejectedError`."""
        certified = verify_leaf(
            leaf_der,
            self._trust,
            roles=roles,
            usage=usage,
            now_s=self._clock.wall_s(),
            revoked=self._revocations,
        )
        identity = certified.identity
        if self._is_shut_out(certified):
            raise RevokedCertificateError(identity)
        if self._is_foreign(identity) and identity.role not in self._foreign_roles:
            why = f"a {identity.role} of another member is not accepted here"
            raise UntrustedError(7, why, role=identity.role)
        return certified

    def _is_shut_out(self, peer: Certified) -> bool:
        domain = peer.identity.trust_domain
        revoked = self._foreign_revoked.get(domain)
        return domain in self._shut_out or (
            revoked is not None and revoked.is_revoked(peer.identity, peer.serial, peer.key_digest)
        )

    def other_member(self, peer: Certified) -> str:
        """Return the domain of the other member that vouches for ``peer``; empty for the own one's."""
        return peer.identity.trust_domain if self._is_foreign(peer.identity) else ""

    def _is_foreign(self, identity: SpiffeId) -> bool:
        return self._home is not None and identity.trust_domain != self._home

    def objection(self, peer: Certified) -> str | None:
        """Return why ``peer`` counts no longer: revoked, expired, or its domain is not trusted."""
        if self._revocations.is_revoked(peer.identity, peer.serial, peer.key_digest):
            return REVOKED
        if self._is_shut_out(peer):
            return REVOKED
        if peer.expires_s <= self._clock.wall_s():
            return "expired"
        domain = peer.identity.trust_domain
        if domain not in self._trust.domains():
            return "domain no longer trusted"
        if peer.authority_digest and not self._trust.trusts_authority(
            domain, peer.authority_digest
        ):
            return "its CA was replaced; renew the certificate"
        return None


def expected_roles(expect: Expectation) -> frozenset[SpiffeRole]:
    """Return the roles that can satisfy ``expect``."""
    return frozenset((expect.role,)) if isinstance(expect, SpiffeId) else ALL_ROLES


def check_expected(peer: Certified, expect: Expectation) -> None:
    """Raise :class:`RejectedError` unless ``peer`` is who the caller meant to talk to."""
    if isinstance(expect, SpiffeId):
        if peer.identity != expect:
            raise RejectedError(f"The server is {peer.identity}, not {expect}.")
    elif not expect(peer):
        raise RejectedError(f"The server is {peer.identity}, which is not the one expected.")
