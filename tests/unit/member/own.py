"""What a coordinator has of its own, for parts that ask for it: certificate, CAs, ticket root."""

from __future__ import annotations

from dataclasses import dataclass, field

from collective.core.ids import SpiffeId
from collective.pki.certificates import Certified


def own_leaf(
    identity: SpiffeId, *, serial: str = "c0ffee", key_digest: bytes = b"\xc0" * 32
) -> Certified:
    return Certified(identity, serial, 0.0, 2.0**32, key_digest=key_digest)


@dataclass
class Own:
    """A test changes what it likes."""

    identity: SpiffeId
    certified: Certified = field(init=False)

    def __post_init__(self) -> None:
        self.certified = own_leaf(self.identity)
