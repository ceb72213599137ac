"""Where the secret of an invite's code is checked.

The secret never comes here: a joiner signs, with a key that follows from it, a nonce that was given for
the code's id together with the joiner's request and connection (``pki.proof``), so a proof that was
overheard proves nothing for another key, name or connection.  The catalogue has the verifier alone.

Nobody learns without the secret whether a code exists: an unknown id is checked against a decoy, and has
the same answer.  Failed proofs are slowed, right ones are not (:mod:`~.guess_limiter`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from collective.catalog.interface import Codes
from collective.core.clock import Clock
from collective.core.errors import NotFoundError, PermissionDeniedError, UsageError
from collective.core.randomness import Randomness
from collective.member.people.guess_limiter import GuessLimiter
from collective.model.people import Invite
from collective.pki import invite_code, proof
from collective.pki.nonces import NonceMint
from collective.pki.proof import Signed

_UNKNOWN: Final = "The join code is not known here; check it, or ask for a new one."


@dataclass(frozen=True, slots=True)
class GivenProof:
    """What somebody shows who says that they have a code's secret."""

    code_id: str
    nonce: bytes
    proof: bytes
    transcripts: Sequence[Signed]
    """What the proof may be made over: one for each leaf that the connection may have been served with."""
    source: str
    """The host that the connection comes from."""


class CodeSecrets:
    """Checks that whoever redeems a code has its secret."""

    def __init__(
        self, codes: Codes, clock: Clock, randomness: Randomness, guess_limiter: GuessLimiter
    ) -> None:
        """Check by the verifiers in ``codes``; failures count at ``guess_limiter``."""
        self._codes = codes
        self._nonces = NonceMint(clock, randomness)
        self._decoy = proof.verifier_of(randomness.token(invite_code.SECRET_BYTES))
        self._guess_limiter = guess_limiter

    def nonce(self, code_id: str) -> bytes:
        """Return a nonce to redeem ``code_id`` with, whether or not such a code exists."""
        if not invite_code.is_code_id(code_id):
            raise UsageError("A code id has 16 hexadecimal digits.")
        return self._nonces.make("join", code_id.encode())

    async def check(self, given: GivenProof) -> Invite:
        """Return the invite whose secret ``given`` proves to have.

        Raises:
            PermissionDeniedError: unknown code, wrong proof, stale nonce: one answer for all.
            BusyError: a wrong proof after too many others.
            UsageError: no code has such an id.
        """
        if not invite_code.is_code_id(given.code_id):
            raise UsageError("A code id has 16 hexadecimal digits.")
        try:
            invite: Invite | None = await self._codes.get(given.code_id)
        except NotFoundError:
            invite = None
        verifier = invite.verifier if invite else self._decoy
        try:
            self._nonces.check("join", given.code_id.encode(), given.nonce)
            _check_proof(verifier, given)
        except PermissionDeniedError:
            await self.count_failure(given.code_id, given.source)
            raise
        if invite is None:
            raise PermissionDeniedError(_UNKNOWN)
        return invite

    async def count_failure(self, code_id: str, source: str) -> None:
        """Count a failed try against the code that it named and the place that it came from."""
        await self._guess_limiter.failed(code_id, source)


def _check_proof(verifier: bytes, given: GivenProof) -> None:
    for transcript in given.transcripts:
        try:
            proof.check_join(verifier, transcript, given.proof)
        except PermissionDeniedError:
            continue
        return
    raise PermissionDeniedError(_UNKNOWN)
