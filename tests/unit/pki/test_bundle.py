"""A bundle is the word of the CA that it names first, whole or not at all."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any, Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hypothesis import given
from hypothesis import strategies as st

from collective.core.errors import RejectedError
from collective.core.ids import MemberId
from collective.core.units import Address
from collective.pki import bundle as bundles
from collective.pki import certificates
from collective.pki.bundle import (
    ADDRESSES_MAX,
    BUNDLE_MAX_BYTES,
    LINKS_MAX,
    SEQUENCE_MAX,
    SignedBundle,
    fingerprint,
    open_bundle,
    sign_bundle,
)
from collective.pki.ca import CertificateAuthority
from collective.pki.pem_files import AUTHORITIES_MAX
from tests.unit.pki.bundles import (
    ALICES,
    BOBS,
    CAROL,
    CAROLS,
    CLOCK,
    as_json,
    bundle_of,
    ca_of,
    fields_of,
    forged,
    signed_of,
    signed_text,
)
from tests.unit.pki.forge import ALICE, BOB, forge

SIGNED: Final = signed_of(BOBS, 7)
FILE: Final = SIGNED.to_file()
NEXT: Final = ca_of(BOB, label="next", after=BOBS)
HOSTS: Final = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,40}", fullmatch=True) | st.ip_addresses().map(
    str
)
ADDRESSES: Final = st.builds(Address, HOSTS, st.integers(1, 65535))


def refused(signed: SignedBundle, why: str = "The ") -> str:
    """Return the sentence with which a bundle is refused; it must be fit to be sent."""
    with pytest.raises(RejectedError, match=why) as found:
        open_bundle(signed)
    assert found.value.message.encode()
    return found.value.message


@given(
    addresses=st.lists(ADDRESSES, max_size=ADDRESSES_MAX),
    sequence=st.integers(1, SEQUENCE_MAX),
    version=st.text(st.characters(exclude_categories=("C", "Z")), max_size=64),
    rotates=st.booleans(),
)
def test_what_is_signed_is_read_back(
    addresses: list[Address], sequence: int, version: str, rotates: bool
) -> None:
    bundle = bundle_of(BOBS, sequence, addresses=tuple(addresses), version=version)
    if rotates:
        bundle = replace(
            bundle,
            authorities=(BOBS.certificate, NEXT.certificate),
            links=(BOBS.link(NEXT.certificate),),
        )
    signed = sign_bundle(bundle, BOBS)
    assert open_bundle(signed) == bundle
    assert SignedBundle.from_file(signed.to_file()) == signed


@given(at=st.integers(0, len(SIGNED.body) + len(SIGNED.signature) - 1), bits=st.integers(1, 255))
def test_a_bundle_with_any_byte_changed_is_refused(at: int, bits: int) -> None:
    raw = bytearray(SIGNED.body + SIGNED.signature)
    raw[at] ^= bits
    refused(SignedBundle(bytes(raw[: len(SIGNED.body)]), bytes(raw[len(SIGNED.body) :])))


@given(body=st.integers(0, len(SIGNED.body)), signature=st.integers(0, len(SIGNED.signature)))
def test_a_bundle_that_was_cut_short_is_refused(body: int, signature: int) -> None:
    cut = SignedBundle(SIGNED.body[:body], SIGNED.signature[:signature])
    if cut != SIGNED:
        refused(cut)


@given(body=st.binary(max_size=300) | st.text().map(str.encode), signature=st.binary(max_size=200))
def test_any_bytes_are_refused_as_a_bundle(body: bytes, signature: bytes) -> None:
    refused(SignedBundle(body, signature))
    refused(signed_text(BOBS, body))


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(field=st.sampled_from(sorted(fields_of(SIGNED))), told=JSON)
def test_a_field_that_says_anything_else_is_refused_though_its_ca_signed_it(
    field: str, told: Any
) -> None:
    signed = forged(BOBS, **{field: told})
    try:
        bundle = open_bundle(signed)
    except RejectedError as error:
        error.message.encode()  # fit to be sent
    else:
        assert json.loads(bundles.body_of(bundle))[field] == told


@pytest.mark.parametrize(
    "number", [0, -1, SEQUENCE_MAX + 1, 1 << 70, True, False, 1.0, 1e400, "1", None, [1]]
)
def test_a_number_that_is_none_is_refused(number: Any) -> None:
    refused(forged(BOBS, sequence=number), "its number is none")


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1:8001"] * (ADDRESSES_MAX + 1),
        ["10.0.0.1"],
        ["10.0.0.1:65536"],
        ["10.0.0.1:" + "1" * 5000],
        ["10.0.0.1:-1"],
        ["\ud800:1"],
        ["a b:1"],
        ["http://10.0.0.1:1"],
        [" 10.0.0.1:1"],
        ["10.0.0.1:01"],
        [""],
        [None],
        [["10.0.0.1:1"]],
        "10.0.0.1:1",
        {"10.0.0.1:1": 1},
    ],
)
def test_addresses_beyond_bounds_or_not_as_they_are_written_are_refused(addresses: Any) -> None:
    refused(forged(BOBS, addresses=addresses), "cannot be used")


def test_a_ca_of_another_domain_is_refused_in_whatever_place() -> None:
    other = as_json(CAROLS.certificate)
    refused(forged(BOBS, authorities=[other]), "not constrained to")
    refused(forged(CAROLS, domain=BOB), "not constrained to garage.bob")
    refused(forged(BOBS, authorities=[as_json(BOBS.certificate), other]), "not constrained to")
    refused(forged(BOBS, domain=CAROL), "not constrained to home.carol")


def test_what_a_later_version_adds_is_passed_over_and_what_it_may_leave_out_is_not_missed() -> None:
    fields = fields_of(SIGNED)
    assert open_bundle(forged(BOBS, later={"a": [1, None]}, sequence=7)) == open_bundle(SIGNED)
    fewer = {name: fields[name] for name in fields if name not in {"version", "bootstraps"}}
    text = json.dumps(fewer, sort_keys=True, separators=(",", ":"))
    assert open_bundle(signed_text(BOBS, text.encode())).version == ""
    refused(signed_text(BOBS, b'{"later":1,"later":2,' + SIGNED.body[1:]))


def test_what_another_ca_signed_is_refused() -> None:
    refused(replace(SIGNED, signature=signed_text(NEXT, SIGNED.body).signature), "not signed")
    both = [as_json(NEXT.certificate), as_json(BOBS.certificate)]
    refused(forged(BOBS, authorities=both), "not signed")


def test_a_signature_over_something_else_by_the_same_key_is_refused() -> None:
    for message in (SIGNED.body, b"collective bundle 2\0" + SIGNED.body):
        refused(replace(SIGNED, signature=BOBS.sign(message)), "not signed")


def constrained_to_nothing(authority: CertificateAuthority) -> x509.Certificate:
    """Return what ``authority`` would be without its bounds."""
    own = authority.certificate
    builder = x509.CertificateBuilder(
        own.issuer,
        own.subject,
        own.public_key(),
        own.serial_number,
        own.not_valid_before_utc,
        own.not_valid_after_utc,
    )
    for extension in own.extensions:
        if not isinstance(extension.value, x509.NameConstraints):
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(authority._key, hashes.SHA256())


def test_a_ca_that_is_not_bound_to_its_domain_is_refused() -> None:
    refused(forged(BOBS, authorities=[as_json(constrained_to_nothing(BOBS))]), "lacks an extension")


def test_a_ca_that_another_signed_or_that_is_none_is_refused() -> None:
    leaf = base64.b64encode(forge(CLOCK, BOBS)).decode()
    refused(forged(BOBS, authorities=[leaf]))
    refused(forged(NEXT, authorities=[as_json(BOBS.link(NEXT.certificate))]), "by its own key")


def test_a_name_in_a_certificate_of_a_kind_that_nobody_reads_is_refused() -> None:
    """An x400Address: the library has no value for it, and says so by an error of its own."""
    der = bytearray(
        forge(
            CLOCK, BOBS, names=(x509.UniformResourceIdentifier("spiffe://garage.bob/coordinator"),)
        )
    )
    at = der.index(b"spiffe://") - 2
    assert der[at] == 0x86, "the tag of a URI"
    der[at] = 0xA3
    with pytest.raises(RejectedError):
        certificates.load_certificate(bytes(der))
    for field in ("authorities", "links"):
        refused(forged(BOBS, **{field: [base64.b64encode(der).decode()]}))


def test_more_cas_or_links_than_there_can_be_are_refused() -> None:
    one = as_json(BOBS.certificate)
    refused(forged(BOBS, authorities=[]), "names no CA")
    refused(forged(BOBS, authorities=[one] * (AUTHORITIES_MAX + 1)), "too long")
    refused(forged(BOBS, links=[one] * (LINKS_MAX + 1)), "too long")


def test_text_that_two_readers_may_take_for_different_things_is_refused() -> None:
    text = SIGNED.body.decode()
    pairs = text[1:-1]
    for other in (
        "{" + pairs + ',"sequence":8}',  # the last one counts here, the first one elsewhere
        '{"sequence":8,' + pairs + "}",
        json.dumps(fields_of(SIGNED), indent=1),
        json.dumps(dict(reversed(fields_of(SIGNED).items())), separators=(",", ":")),
        text + " ",
        text.replace('"version":"1.0"', '"version":"1\\u002e0"'),
    ):
        refused(signed_text(BOBS, other.encode()))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 20_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"sequence":' + b"9" * 10_000 + b"}",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b" " * (BUNDLE_MAX_BYTES + 1),
        b"x" * (3 * BUNDLE_MAX_BYTES),
        json.dumps(fields_of(SIGNED) | {"more": 1}).encode(),
    ],
)
def test_deep_large_and_foreign_text_is_refused_in_both_forms(text: bytes) -> None:
    refused(signed_text(BOBS, text))
    with pytest.raises(RejectedError):
        SignedBundle.from_file(text)


def test_a_signature_that_is_too_large_is_refused() -> None:
    refused(replace(SIGNED, signature=SIGNED.signature + bytes(200)), "too large")


@given(at=st.integers(0, len(FILE) - 1), bits=st.integers(1, 255))
def test_a_bundle_file_with_any_byte_changed_is_the_same_bundle_or_refused(
    at: int, bits: int
) -> None:
    """White space around fields, and the bits of base64 that nobody reads, mean nothing."""
    raw = bytearray(FILE)
    raw[at] ^= bits
    try:
        signed = SignedBundle.from_file(bytes(raw))
        open_bundle(signed)
    except RejectedError as error:
        error.message.encode()  # fit to be sent
    else:
        assert signed == SIGNED


@given(cut=st.integers(0, len(FILE) - 3))
def test_a_bundle_file_that_was_cut_short_is_refused(cut: int) -> None:
    with pytest.raises(RejectedError):
        SignedBundle.from_file(FILE[:cut])


@pytest.mark.parametrize(
    "told",
    [
        {"bundle": "x"},
        {"bundle": 1, "signature": "AA=="},
        {"bundle": "x", "signature": None},
        {"bundle": "x", "signature": "A"},
        {"bundle": "x", "signature": "AA==\n!"},
        {"bundle": "x", "signature": "\u00e4\u00e4=="},
        {"bundle": "\ud800", "signature": "AA=="},
        ["bundle", "signature"],
    ],
)
def test_a_bundle_file_with_fields_of_another_kind_is_refused(told: Any) -> None:
    with pytest.raises(RejectedError):
        SignedBundle.from_file(json.dumps(told).encode())


def test_the_same_bundle_has_one_digest_and_another_number_another() -> None:
    assert signed_of(BOBS, 7).digest == SIGNED.digest, "signatures differ, what is signed does not"
    assert signed_of(BOBS, 8).digest != SIGNED.digest


def test_fingerprints_are_of_one_form_and_differ() -> None:
    """Fixed, since two programs of different age compare them."""
    assert fingerprint(bytes(32)) == "95812 61642 38411 45228 12540 82654"
    told = {fingerprint(one.digest) for one in (ALICES, BOBS, CAROLS)}
    assert len(told) == 3
    assert all([len(group) for group in one.split(" ")] == [5] * 6 for one in told)


def test_a_bundle_of_the_largest_parts_fits() -> None:
    """What an honest member may say is never larger than what a peer reads."""
    chain = [ca_of(ALICE, label="x" * 20)]
    while len(chain) < AUTHORITIES_MAX:
        chain.append(ca_of(ALICE, label=str(len(chain)), after=chain[-1]))
    signed = signed_of(
        chain[0],
        SEQUENCE_MAX,
        member=MemberId("a" * 60),
        authorities=tuple(one.certificate for one in chain),
        links=tuple(chain[0].link(one.certificate) for one in (chain[1:] + chain[:1])[:LINKS_MAX]),
        addresses=tuple(Address("h" * 100, 65535) for _ in range(ADDRESSES_MAX)),
        version="v" * 64,
    )
    assert open_bundle(signed).sequence == SEQUENCE_MAX


def test_an_address_that_no_name_can_be_was_signed_and_stays() -> None:
    """It harms its own member alone; refused, it would keep whoever stored it from starting."""
    odd = bundle_of(BOBS, addresses=(Address("a..b", 8001), Address("10.0.0.2", 8001)))
    assert open_bundle(sign_bundle(odd, BOBS)) == odd
