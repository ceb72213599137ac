"""What is about to run out at the coordinator: its own certificate, and the CAs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Final

from collective.member.trust.own_certificates import OwnCertificates
from collective.member.trust.rotation import Rotation

AUTHORITY_WARNING_S: Final = 180 * 86400.0
"""A CA that runs out within this is to be replaced: long enough for everybody to follow."""
LEAF_WARNING_MOST_S: Final = 7 * 86400.0
_LEAF_WARNING_PART: Final = 6
"""A leaf renews at a third of its life before its end; half of that time later something is wrong."""


def leaf_warning_s(lifetime_s: float) -> float:
    """Return how many seconds before its end a leaf of that life is warned of."""
    return min(LEAF_WARNING_MOST_S, lifetime_s / _LEAF_WARNING_PART)


class ExpiryWatch:
    """Sentences and figures for ``status``, log and metrics."""

    def __init__(self, own: OwnCertificates, rotation: Rotation) -> None:
        """Watch what ``own`` has and issues."""
        self._own = own
        self._rotation = rotation
        self._leaf_warning_s = leaf_warning_s(own.lifetime_s)

    @property
    def leaf_warning_ms(self) -> int:
        """How many milliseconds before its end a leaf is warned of."""
        return int(self._leaf_warning_s * 1000)

    def figures(self) -> Sequence[tuple[str, float]]:
        """Return (whose, Unix seconds of its end) for the coordinator's certificate and each CA."""
        own = self._own.certified
        known = self._own.authorities
        names = ["ca", *(f"ca, {number} before" for number in range(1, len(known.trusted)))]
        if known.newest is not known.signing:
            names = ["ca", "ca, next"]
        return [
            (str(own.identity), own.expires_s),
            *(
                (name, authority.not_valid_after_utc.timestamp())
                for name, authority in zip(names, known.trusted, strict=False)
            ),
        ]

    async def warnings(self, now_s: float) -> list[str]:
        """Return what the operator should know at ``now_s``, one sentence each."""
        found = []
        own = self._own.certified
        if own.expires_s - now_s < self._leaf_warning_s:
            found.append(
                f"The coordinator's certificate runs out on {_day(own.expires_s)} and was not "
                "renewed; look into the log for the reason."
            )
        newest = self._own.authorities.newest.certificate
        end_s = newest.not_valid_after_utc.timestamp()
        if end_s - now_s < AUTHORITY_WARNING_S:
            found.append(
                f"The CA runs out on {_day(end_s)}, and with it every certificate; replace it "
                "with: collective pki rotate-ca"
            )
        return [*found, *await self._rotation.warnings()]


def _day(wall_s: float) -> str:
    return dt.datetime.fromtimestamp(wall_s, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
