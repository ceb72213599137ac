"""Join codes and proofs."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collective.core.clock import ManualClock
from collective.core.errors import PermissionDeniedError, UsageError
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.pki import invite_code, proof
from collective.pki.certificates import new_private_key
from collective.pki.invite_code import InviteCode
from collective.pki.nonces import NonceMint
from tests.worlds import REAL

HOSTS = st.lists(
    st.builds(
        Address, st.from_regex(r"[a-z][a-z0-9.-]{0,40}", fullmatch=True), st.integers(0, 65535)
    ),
    min_size=1,
    max_size=8,
)
CODE = InviteCode.fresh(
    [Address("127.0.0.1", 9001), Address("::1", 9001)], bytes(range(32)), SeededRandomness(7)
)
TEXT = CODE.encode()


@given(HOSTS, st.integers(0, 2**32))
def test_round_trip_however_it_is_written(addresses: list[Address], seed: int) -> None:
    code = InviteCode.fresh(addresses, SeededRandomness(seed).token(32), SeededRandomness(seed))
    text = code.encode()
    assert text.isalnum()
    assert text.isascii()
    grouped = "-".join(text[i : i + 5].upper() for i in range(0, len(text), 5))
    for written in (text, text.upper(), grouped, f"  {text[:40]}\n{text[40:]} ", code.url()):
        assert invite_code.parse(written) == code


def test_golden_code_is_frozen() -> None:
    code = InviteCode((Address("127.0.0.1", 9001),), bytes(range(32)), "00" * 8, bytes(range(16)))
    assert invite_code.parse(code.encode()) == code
    assert code.encode() == (
        "040020g30g2gc1r81450p30d1r7h048j2ca1a5gq30chm6rw3mf1y00000000000000020"
        "g30g2gc1r81450p30d1r7g23hh68vjwc1e60q32ehs60r338zaxvrg"
    )


def test_secret_is_not_shown_by_repr() -> None:
    assert CODE.secret.hex() not in repr(CODE)
    assert repr(CODE.secret) not in repr(CODE)


@settings(max_examples=300)
@given(st.integers(0, len(TEXT) - 1), st.sampled_from("0123456789abcdefghjkmnpqrstvwxyz"))
def test_mistyped_letter_is_found_offline(position: int, letter: str) -> None:
    assume(TEXT[position] != letter)
    with pytest.raises(UsageError, match="mistyped or cut off"):
        invite_code.parse(TEXT[:position] + letter + TEXT[position + 1 :])


@given(st.integers(1, len(TEXT) - 1))
def test_cut_off_code_is_found_offline(length: int) -> None:
    with pytest.raises(UsageError, match="mistyped or cut off"):
        invite_code.parse(TEXT[:length])


def test_swapped_neighbours_are_found() -> None:
    for i in range(len(TEXT) - 1):
        swapped = TEXT[:i] + TEXT[i + 1] + TEXT[i] + TEXT[i + 2 :]
        if swapped != TEXT:
            with pytest.raises(UsageError):
                invite_code.parse(swapped)


@given(st.text(max_size=300))
def test_any_text_is_refused_cleanly(text: str) -> None:
    with pytest.raises(UsageError):
        invite_code.parse(text)


@given(st.binary(max_size=200))
def test_any_bytes_with_a_good_checksum_are_refused_or_round_trip(body: bytes) -> None:
    text = invite_code._to_text(body + invite_code._checksum(body))
    try:
        found = invite_code.parse(text)
    except UsageError:
        return
    assert invite_code.parse(found.encode()) == found


def test_newer_version_has_its_own_sentence() -> None:
    body = bytes((2,)) + bytes(80)
    with pytest.raises(UsageError, match="newer version"):
        invite_code.parse(invite_code._to_text(body + invite_code._checksum(body)))


def test_endless_code_is_refused_before_it_is_read() -> None:
    with pytest.raises(UsageError, match="too long"):
        invite_code.parse("0" * 5000)


def test_no_addresses_or_too_many_are_refused() -> None:
    for count in (0, 9):
        with pytest.raises(UsageError):
            InviteCode.fresh([Address("h", 1)] * count, bytes(32), SeededRandomness(1))


# --- proof ---------------------------------------------------------------------------------------

TRANSCRIPT = proof.Transcript(CODE.code_id, b"nonce", b"l" * 32, b"csr", "wish")


def test_proof_passes_for_its_own_transcript() -> None:
    proof.check_join(CODE.verifier(), TRANSCRIPT, proof.sign_join(CODE.secret, TRANSCRIPT))


@pytest.mark.parametrize(
    "other",
    [
        proof.Transcript("0" * 16, b"nonce", b"l" * 32, b"csr", "wish"),
        proof.Transcript(CODE.code_id, b"other", b"l" * 32, b"csr", "wish"),
        proof.Transcript(CODE.code_id, b"nonce", b"m" * 32, b"csr", "wish"),
        proof.Transcript(CODE.code_id, b"nonce", b"l" * 32, b"CSR", "wish"),
        proof.Transcript(CODE.code_id, b"nonce", b"l" * 32, b"csr", "node-2"),
        proof.Transcript(CODE.code_id, b"nonce", b"l" * 32, b"csr", "wish", "Eve"),
        proof.Transcript(CODE.code_id, b"noncel", b"l" * 31, b"csr", "wish"),
    ],
)
def test_proof_moved_to_another_transcript_is_refused(other: proof.Transcript) -> None:
    signed = proof.sign_join(CODE.secret, TRANSCRIPT)
    with pytest.raises(PermissionDeniedError):
        proof.check_join(CODE.verifier(), other, signed)


def test_proof_with_a_guessed_secret_is_refused() -> None:
    with pytest.raises(PermissionDeniedError):
        proof.check_join(CODE.verifier(), TRANSCRIPT, proof.sign_join(bytes(16), TRANSCRIPT))


@given(st.binary(max_size=80), st.binary(max_size=40))
def test_any_bytes_as_proof_or_verifier_are_refused(signed: bytes, verifier: bytes) -> None:
    with pytest.raises(PermissionDeniedError):
        proof.check_join(CODE.verifier(), TRANSCRIPT, signed)
    with pytest.raises(PermissionDeniedError):
        proof.check_join(verifier, TRANSCRIPT, signed)


def test_renewal_signature_is_bound_to_nonce_request_and_key() -> None:
    key = new_private_key(REAL.randomness)
    signed = proof.sign_renewal(key, b"n", b"csr")
    proof.check_renewal(key.public_key(), b"n", b"csr", signed)
    for other_key, nonce, csr in (
        (key, b"m", b"csr"),
        (key, b"n", b"CSR"),
        (new_private_key(REAL.randomness), b"n", b"csr"),
    ):
        with pytest.raises(PermissionDeniedError):
            proof.check_renewal(other_key.public_key(), nonce, csr, signed)


def test_nonce_of_another_purpose_subject_server_or_time_is_refused() -> None:
    clock = ManualClock()
    clock.advance(1000)
    mint = NonceMint(clock, SeededRandomness(1))
    nonce = mint.make("join", b"code")
    clock.advance(119)
    mint.check("join", b"code", nonce)
    for purpose, subject, value in (
        ("renew", b"code", nonce),
        ("join", b"other", nonce),
        ("join", b"code", nonce[:-1]),
        ("join", b"code", b""),
        ("join", b"code", bytes(8) + nonce[8:]),
    ):
        with pytest.raises(PermissionDeniedError, match="not one of its own"):
            mint.check(purpose, subject, value)
    with pytest.raises(PermissionDeniedError, match="not one of its own"):
        NonceMint(clock, SeededRandomness(2)).check("join", b"code", nonce)
    clock.advance(2)
    with pytest.raises(PermissionDeniedError, match="too old"):
        mint.check("join", b"code", nonce)
