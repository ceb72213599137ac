"""Join codes and proofs."""

from __future__ import annotations

import dataclasses
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collective.core.clock import ManualClock
from collective.core.errors import PermissionDeniedError, UsageError
from collective.core.limits import JOIN_CODE_MAX_CHARS
from collective.core.randomness import SeededRandomness
from collective.core.units import Address
from collective.model.people import InviteKind
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
    body = bytes((invite_code.VERSION + 1,)) + bytes(80)
    with pytest.raises(UsageError, match="newer version"):
        invite_code.parse(invite_code._to_text(body + invite_code._checksum(body)))


def test_a_code_that_says_whom_it_admits_is_of_a_version_that_builds_without_kinds_refuse() -> None:
    said = dataclasses.replace(CODE, kind=InviteKind.NODE)
    assert [invite_code._decode(code.encode())[0] for code in (CODE, said)] == [1, 2]


def test_a_code_of_version_1_that_says_whom_it_admits_is_read() -> None:
    """Builds between the first and this one wrote such."""
    code = dataclasses.replace(CODE, kind=InviteKind.NODE)
    body = bytes((1,)) + invite_code._decode(code.encode())[1:-4]
    assert invite_code.parse(invite_code._to_text(body + invite_code._checksum(body))) == code


def test_endless_code_is_refused_before_it_is_read() -> None:
    with pytest.raises(UsageError, match="too long"):
        invite_code.parse("0" * 70_000)
    with pytest.raises(UsageError, match="too long"):
        invite_code.parse("0" * 5000, longest=JOIN_CODE_MAX_CHARS)


def test_many_beginnings_of_codes_end_soon() -> None:
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    text = "04 " * 20_000
    sys.setprofile(count)
    try:
        with pytest.raises(UsageError):
            invite_code.parse(text)
    finally:
        sys.setprofile(None)
    assert steps < 2_000_000


def test_every_word_that_may_begin_a_code_is_tried() -> None:
    assert invite_code.parse(f"{'04 ' * 10_000}. {TEXT}") == CODE


def test_a_code_below_many_times_of_day_is_read() -> None:
    times = "".join(f"07:{minute:02} the heating is on\n" for minute in range(60)) * 10
    assert invite_code.parse(f"{times}\n{TEXT}\n") == CODE


# --- however it is pasted ------------------------------------------------------------------------


def wrapped(text: str, columns: int, before: str = "", after: str = "\n") -> str:
    return after.join(before + text[i : i + columns] for i in range(0, len(text), columns))


PASTED = {
    "wrapped at 76": wrapped(TEXT, 76),
    "wrapped at 76, as mail ends lines": wrapped(TEXT, 76, after="\r\n"),
    "quoted": wrapped(TEXT, 60, "> "),
    "quoted twice": wrapped(CODE.url(), 60, ">> > "),
    "quoted-printable": wrapped(TEXT, 75, after="=\n"),
    "quoted-printable, as mail ends lines": wrapped(TEXT, 75, after="=\r\n"),
    "in quotes": f'"{TEXT}"',
    "in single quotes": f"'{TEXT}'",
    "in typographic quotes": f"\u201e{TEXT}\u201c",
    "in backticks": f"```\n{TEXT}\n```",
    "in angle brackets": f"<{CODE.url()}>",
    "in brackets, with a comma": f"(it is {TEXT}, good until Monday)",
    "emphasised": f"**{TEXT}** or _{TEXT}_",
    "a link of Markdown": f"[join]({CODE.url()})",
    "byte order mark": f"\ufeff{TEXT}",
    "zero-width space within": f"\u200b{TEXT[:50]}\u200b{TEXT[50:]}\u200b",
    "soft hyphens": wrapped(TEXT, 20, after="\u00ad"),
    "hyphenated": wrapped(TEXT, 40, after="-\n"),
    "non-breaking spaces": f"\u00a0{wrapped(TEXT, 10, after=chr(0xA0))}\u00a0",
    "full stop": f"{TEXT}.",
    "full stop after the URL": f"Here it is: {CODE.url()}.",
    "slash": f"{CODE.url()}/",
    "upper case of the scheme": CODE.url().replace("collective://join", "COLLECTIVE://Join"),
    "upper case": CODE.url().upper(),
    "a signature below": f"Hi,\n\n{TEXT}\n\n-- \nUna\n04 11 2026, 05:30\n",
    "a signature of its letters": f"{TEXT}\nja\n",
    "a command": f"collective invite redeem '{TEXT}'",
    "a whole output": f"Invite   {CODE.code_id}, 1 uses\nRedeem   with this code:\n{CODE.url()}\n{TEXT}\n",
    "a code that was cut off, then the whole": f"{TEXT[:70]}\n\n{TEXT}",
}


@pytest.mark.parametrize("text", PASTED.values(), ids=PASTED)
def test_a_code_is_read_however_it_was_pasted(text: str) -> None:
    assert invite_code.parse(text) == CODE


@settings(max_examples=200)
@given(
    seed=st.integers(0, 2**32),
    columns=st.integers(5, 130),
    before=st.sampled_from(["", "> ", ">>", "| ", "\t"]),
    around=st.sampled_from([("", ""), ('"', '"'), ("`", "`"), ("<", ">"), ("so: ", " - Bo")]),
    link=st.booleans(),
)
def test_any_code_is_read_wrapped_and_quoted(
    seed: int, columns: int, before: str, around: tuple[str, str], link: bool
) -> None:
    randomness = SeededRandomness(seed)
    code = InviteCode.fresh(CODE.addresses, randomness.token(32), randomness)
    text = around[0] + (code.url() if link else code.encode()) + around[1]
    if link and columns < len(invite_code.URL_PREFIX) + len(around[0]):
        columns = 76  # nobody wraps within the scheme
    assert invite_code.parse(wrapped(text, columns, before)) == code


def test_two_codes_are_refused_with_the_reason() -> None:
    other = InviteCode.fresh(CODE.addresses, bytes(32), SeededRandomness(8))
    with pytest.raises(UsageError, match="2 different codes"):
        invite_code.parse(f"{TEXT}\n{other.encode()}")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("see you on monday", "There is no join code"),
        (TEXT[:40] + "u" + TEXT[41:], "has no 'u'"),
        (TEXT + "7", "mistyped"),
        (f"> {TEXT[:60]}\n> {TEXT[70:]}", "mistyped"),
        ("\ufeff\n>\n", "empty"),
    ],
)
def test_what_is_no_code_is_told_from_a_broken_one(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        invite_code.parse(text)


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


@pytest.mark.parametrize("kind", [None, *InviteKind])
@pytest.mark.parametrize("count", [1, 8])
def test_a_code_says_whom_it_admits(kind: InviteKind | None, count: int) -> None:
    addresses = [Address(f"host{number}", 9001) for number in range(count)]
    code = InviteCode.fresh(addresses, bytes(32), SeededRandomness(1), kind)
    assert invite_code.parse(code.encode()) == code
    assert invite_code.parse(code.encode()).kind is kind


def test_a_kind_of_a_later_build_is_none_that_is_known() -> None:
    code = dataclasses.replace(CODE, kind=InviteKind.USER)
    raw = bytearray(invite_code._decode(code.encode())[:-4])
    place = 1 + 32 + 8 + 16
    assert raw[place] == 0x10 | len(CODE.addresses)
    raw[place] = 0x60 | len(CODE.addresses)
    text = invite_code._to_text(bytes(raw) + invite_code._checksum(bytes(raw)))
    assert invite_code.parse(text) == dataclasses.replace(CODE, kind=None)
