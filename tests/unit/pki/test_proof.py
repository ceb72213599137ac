"""What a secret's proof is bound to: each word of it, on one connection, for one purpose."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from collective.core.errors import PermissionDeniedError
from collective.pki.proof import PeeringTranscript, Transcript, check_join, sign_join, verifier_of

SECRET: Final = b"s" * 16
VERIFIER: Final = verifier_of(SECRET)
SAID: Final = PeeringTranscript("0" * 16, b"nonce", b"leaf", b"body", b"signature")
PROOF: Final = sign_join(SECRET, SAID)


def test_a_proof_of_a_peering_is_for_what_was_said() -> None:
    check_join(VERIFIER, SAID, PROOF)


@pytest.mark.parametrize(
    "other",
    [
        replace(SAID, code_id="1" * 16),
        replace(SAID, nonce=b"other"),
        replace(SAID, leaf_digest=b"other"),
        replace(SAID, body=b"other"),
        replace(SAID, signature=b"other"),
        replace(SAID, body=b"bodys", signature=b"ignature"),
        replace(SAID, nonce=b"noncel", leaf_digest=b"eaf"),
    ],
)
def test_a_proof_of_a_peering_counts_for_nothing_else(other: PeeringTranscript) -> None:
    """Also where a letter moves from one word into the next."""
    with pytest.raises(PermissionDeniedError):
        check_join(VERIFIER, other, PROOF)


def test_a_proof_by_another_secret_counts_for_nothing() -> None:
    with pytest.raises(PermissionDeniedError):
        check_join(verifier_of(b"t" * 16), SAID, PROOF)


def test_a_proof_of_a_peering_is_none_of_a_join_and_the_reverse() -> None:
    """Even if both said the same words in the same order."""
    join = Transcript(SAID.code_id, SAID.nonce, SAID.leaf_digest, SAID.body, "signature", "")
    words = join.encode()[len(b"collective join 2\0") :]
    assert words.startswith(SAID.encode()[len(b"collective peering 1\0") :])
    for signed, asked in ((SAID, join), (join, SAID)):
        with pytest.raises(PermissionDeniedError):
            check_join(VERIFIER, asked, sign_join(SECRET, signed))
