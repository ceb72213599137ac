"""The trust rule: what passes, and one refusal a step, named after the attack."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import ssl
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier
from hypothesis import given, settings
from hypothesis import strategies as st

from collective.core.clock import ManualClock
from collective.core.errors import ConflictError, RejectedError
from collective.core.ids import Domain, NodeId, SpiffeId, SpiffeRole
from collective.core.units import Address
from collective.pki import certificates
from collective.pki.ca import CertificateAuthority
from collective.pki.certificates import AUTHORITY_KEY_OID, Certified, is_signed_by
from collective.pki.revocation import RevocationSet
from collective.pki.trust import TrustStore, Usage, check_link, verify_leaf, verify_pinned
from tests.unit.pki.forge import ALICE, BOB, NODE_URI, authority, forge, usage
from tests.worlds import REAL, world_of

CLOCK = ManualClock()
CA = authority(CLOCK)
BOBS_CA = authority(CLOCK, "bob", BOB)
TRUST = TrustStore({ALICE: (CA.certificate,), BOB: (BOBS_CA.certificate,)})
NODE = SpiffeId.node(ALICE, NodeId("alice-node-01"))
NODES: frozenset[SpiffeRole] = frozenset(("node",))
VALID = forge(CLOCK, CA)
SERVERS: frozenset[SpiffeRole] = frozenset(("coordinator", "bootstrap"))


def verify(
    der: bytes,
    *,
    now_s: float | None = None,
    roles: frozenset[SpiffeRole] = NODES,
    usage: Usage = "server",
    revoked: RevocationSet | None = None,
) -> Certified:
    now_s = CLOCK.wall_s() if now_s is None else now_s
    return verify_leaf(
        der, TRUST, roles=roles, usage=usage, now_s=now_s, revoked=revoked or RevocationSet()
    )


def refused(step: int, der: bytes, **how: Any) -> str:
    with pytest.raises(RejectedError, match=rf"^step {step}: ") as found:
        verify(der, **how)
    return found.value.message


def test_forged_base_passes_so_each_refusal_is_for_its_one_fault() -> None:
    assert verify(forge(CLOCK, CA)).identity == NODE


@pytest.mark.parametrize(
    ("identity", "served"),
    [
        (SpiffeId.coordinator(ALICE), True),
        (SpiffeId.bootstrap(ALICE, "b1"), True),
        (NODE, True),
        (SpiffeId.parse("spiffe://home.alice/user/home.alice/alice"), False),
    ],
)
def test_every_issued_profile_passes_for_its_uses(identity: SpiffeId, served: bool) -> None:
    key = certificates.new_private_key(REAL.randomness).public_key()
    der = certificates.certificate_der(CA.issue(identity, key))
    found = verify(der, roles=frozenset((identity.role,)), usage="client")
    assert found.identity == identity
    assert found.expires_s == CLOCK.wall_s() + 30 * 86400
    assert found.not_before_s == CLOCK.wall_s() - 300
    if served:
        verify(der, roles=frozenset((identity.role,)), usage="server")
    else:
        refused(10, der, roles=frozenset((identity.role,)), usage="server")


def test_addresses_come_back_from_the_coordinators_certificate() -> None:
    addresses = tuple(Address(f"host-{i}.example", 8000 + i) for i in range(32))
    key = certificates.new_private_key(REAL.randomness).public_key()
    certificate = CA.issue(SpiffeId.coordinator(ALICE), key, addresses=addresses)
    assert certificates.describe(certificate).addresses == addresses


@pytest.mark.parametrize("der", [b"", b"\x30", b"garbage", b"\x30\x82" + b"\0" * 20_000])
def test_step_1_bytes_that_are_no_certificate(der: bytes) -> None:
    refused(1, der)


@pytest.mark.filterwarnings("ignore:Attribute's length:UserWarning")
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_step_1_mutated_certificates_never_crash_nor_pass(data: st.DataObject) -> None:
    der = bytearray(VALID)
    # what is signed; the wrapping of the signature has bits that mean nothing to any verifier
    signed = x509.load_der_x509_certificate(VALID).tbs_certificate_bytes
    position = VALID.index(signed) + data.draw(st.integers(0, len(signed) - 1))
    der[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RejectedError):
        verify(bytes(der))


@pytest.mark.parametrize(
    "names",
    [
        None,
        [x509.DNSName("alice-node-01")],
        [x509.UniformResourceIdentifier(NODE_URI), x509.DNSName("localhost")],
        [x509.UniformResourceIdentifier(NODE_URI), x509.UniformResourceIdentifier(NODE_URI)],
        [x509.UniformResourceIdentifier("https://home.alice/node/x")],
        [x509.UniformResourceIdentifier("spiffe://home.alice/root/x")],
        [x509.UniformResourceIdentifier("spiffe://home.alice/node/../coordinator")],
        [x509.UniformResourceIdentifier("spiffe://HOME.alice/node/x")],
    ],
)
def test_step_2_no_name_second_name_or_foreign_name(names: list[x509.GeneralName] | None) -> None:
    refused(2, forge(CLOCK, CA, names=names))


def test_step_2_second_name_hidden_in_the_subject() -> None:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "coordinator")])
    refused(2, forge(CLOCK, CA, subject=name))


def test_step_3_trust_domain_that_nobody_registered() -> None:
    name = x509.UniformResourceIdentifier("spiffe://loft.mallory/node/x")
    refused(3, forge(CLOCK, CA, names=[name]))


def test_step_4_peers_ca_signs_for_our_domain() -> None:
    refused(4, forge(CLOCK, BOBS_CA))


def test_step_4_impostor_ca_of_the_same_name() -> None:
    refused(4, forge(CLOCK, authority(CLOCK)))


def test_step_4_signed_by_a_leaf_instead_of_the_ca() -> None:
    key = certificates.new_private_key(REAL.randomness)
    leaf = CA.issue(NODE, key.public_key())
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(CA.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(leaf.not_valid_before_utc)
        .not_valid_after(leaf.not_valid_after_utc)
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(NODE_URI)]), True
        )
        .sign(key, hashes.SHA256())
    )
    refused(4, certificates.certificate_der(signed))


def test_step_4_issuer_name_of_another() -> None:
    refused(4, forge(CLOCK, CA, issuer=BOBS_CA.certificate.subject))


def test_step_4_other_hash_than_sha256() -> None:
    refused(4, forge(CLOCK, CA, algorithm=hashes.SHA512()))


def authority_of_another_curve() -> CertificateAuthority:
    """Return a CA that this program makes for nobody."""
    key = ec.generate_private_key(ec.SECP384R1())
    with mock.patch.object(certificates, "_require_p256", lambda key: key):
        return CertificateAuthority.create(CA.member, ALICE, world_of(CLOCK), key=key)


P384_CA = authority_of_another_curve()


def test_a_ca_of_another_curve_is_registered_nowhere() -> None:
    with pytest.raises(RejectedError, match=r"ECDSA P-256"):
        TrustStore({ALICE: (P384_CA.certificate,)})


def test_step_4_ca_of_another_curve_signs_nothing_that_counts_even_if_it_is_registered() -> None:
    """A CA came in by another check than this one, say; the signature itself is right."""
    trust = TrustStore({})
    trust._authorities[ALICE] = (P384_CA.certificate,)
    with pytest.raises(RejectedError, match=r"ECDSA P-256"):
        verify_leaf(
            forge(CLOCK, P384_CA),
            trust,
            roles=NODES,
            usage="server",
            now_s=CLOCK.wall_s(),
            revoked=RevocationSet(),
        )


def test_a_link_of_a_ca_of_another_curve_is_none() -> None:
    later = type(CA).create(CA.member, ALICE, world_of(CLOCK), label="2", after=CA.certificate)
    for former in (CA, P384_CA):
        link = former.link(later.certificate)
        assert is_signed_by(link, former.certificate)
    check_link(CA.link(later.certificate), later.certificate, CA.certificate, ALICE, CLOCK.wall_s())
    with pytest.raises(RejectedError, match=r"ECDSA P-256"):
        check_link(link, later.certificate, P384_CA.certificate, ALICE, CLOCK.wall_s())


def test_who_signed_is_told_of_any_kind_of_key_and_hash() -> None:
    """Of files that are known to be ours; what comes from outside goes through the trust rule."""
    curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    leaves = [
        (forge(CLOCK, CA), CA),
        (forge(CLOCK, CA, key=curve), CA),
        (forge(CLOCK, CA, algorithm=hashes.SHA512()), CA),
        (forge(CLOCK, P384_CA), P384_CA),
    ]
    for der, signer in leaves:
        made = x509.load_der_x509_certificate(der)
        for one in (CA, P384_CA, BOBS_CA, authority(CLOCK)):
            assert is_signed_by(made, one.certificate) is (one is signer)
    nobodys = x509.load_der_x509_certificate(forge(CLOCK, CA, issuer=BOBS_CA.certificate.subject))
    assert not any(is_signed_by(nobodys, one.certificate) for one in (CA, BOBS_CA))


@pytest.mark.parametrize("basic", [None, x509.BasicConstraints(ca=True, path_length=0)])
def test_step_5_leaf_that_is_a_ca(basic: x509.BasicConstraints | None) -> None:
    refused(5, forge(CLOCK, CA, basic=basic))


def test_step_6_expired_and_not_yet_valid() -> None:
    der = forge(CLOCK, CA, starts_in_s=-60, ends_in_s=60)
    now_s = CLOCK.wall_s()
    assert verify(der, now_s=now_s + 60)
    assert verify(der, now_s=now_s - 60)
    assert "ran out" in refused(6, der, now_s=now_s + 61)
    assert "clocks" in refused(6, der, now_s=now_s - 61)


def test_step_6_leaf_outlives_its_ca() -> None:
    end_s = CA.certificate.not_valid_after_utc.timestamp()
    der = forge(CLOCK, CA, ends_in_s=end_s - CLOCK.wall_s() + 1000)
    assert "CA ran out" in refused(6, der, now_s=end_s + 1)


def test_step_7_node_where_only_users_are_accepted() -> None:
    refused(7, forge(CLOCK, CA), roles=frozenset(("user",)))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()).public_key(),
        rsa.generate_private_key(65537, 2048).public_key(),
    ],
)
def test_step_8_other_kinds_of_key(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> None:
    refused(8, forge(CLOCK, CA, key=key))


def test_step_9_key_that_may_not_sign_or_may_sign_certificates() -> None:
    refused(9, forge(CLOCK, CA, has_key_usage=False))
    refused(9, forge(CLOCK, CA, key_usage=usage(sign=False)))
    refused(9, forge(CLOCK, CA, key_usage=usage(certs=True)))
    refused(9, forge(CLOCK, CA, key_usage=usage(crl=True)))


@pytest.mark.parametrize(
    "extended",
    [
        None,
        [ExtendedKeyUsageOID.CLIENT_AUTH],
        [ExtendedKeyUsageOID.CODE_SIGNING],
        [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE],
    ],
)
def test_step_10_client_certificate_used_as_a_server(
    extended: list[ObjectIdentifier] | None,
) -> None:
    refused(10, forge(CLOCK, CA, extended=extended), usage="server")


def test_step_10_server_certificate_used_as_a_client() -> None:
    refused(10, forge(CLOCK, CA, extended=[ExtendedKeyUsageOID.SERVER_AUTH]), usage="client")


def test_step_11_unknown_critical_extension() -> None:
    unknown = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    refused(11, forge(CLOCK, CA, extra=[(unknown, True)]))
    assert verify(forge(CLOCK, CA, extra=[(unknown, False)]))


def test_step_12_revoked_identity_serial_or_key() -> None:
    der = forge(CLOCK, CA)
    serial, key = verify(der).serial, verify(der).key_digest.hex()
    assert len(key) == 64
    refused(12, der, revoked=RevocationSet.of(1, [f"key:{key.upper()}"]))
    assert verify(der, revoked=RevocationSet.of(1, [f"key:{key[::-1]}"]))
    refused(12, der, revoked=RevocationSet.of(1, [NODE_URI]))
    refused(12, der, revoked=RevocationSet.of(1, [f"serial:00{serial.upper()}"]))
    assert verify(der, revoked=RevocationSet.of(1, [NODE_URI + "2", "serial:1"]))


# --- pinning -------------------------------------------------------------------------------------


def pinned(der: bytes, digest: bytes = CA.digest) -> Certified:
    return verify_pinned(der, digest, roles=SERVERS, now_s=CLOCK.wall_s())


def leaf(signer: Any, identity: SpiffeId) -> bytes:
    key = certificates.new_private_key(REAL.randomness).public_key()
    return certificates.certificate_der(signer.issue(identity, key))


def test_pinned_coordinator_and_bootstrap_pass() -> None:
    for identity in (SpiffeId.coordinator(ALICE), SpiffeId.bootstrap(ALICE, "b1")):
        assert pinned(leaf(CA, identity)).identity == identity


def test_pinned_refuses_another_ca_of_the_same_domain() -> None:
    with pytest.raises(RejectedError, match=r"^step 3: "):
        pinned(leaf(authority(CLOCK), SpiffeId.coordinator(ALICE)))


def test_pinned_refuses_the_right_ca_key_quoted_by_an_impostor() -> None:
    quoted = x509.UnrecognizedExtension(
        AUTHORITY_KEY_OID, certificates.public_key_der(CA._key.public_key())
    )
    name = x509.UniformResourceIdentifier("spiffe://home.alice/coordinator")
    der = forge(CLOCK, authority(CLOCK), names=[name], extra=[(quoted, False)])
    with pytest.raises(RejectedError, match=r"^step 4: "):
        pinned(der)


def test_pinned_refuses_a_node_of_the_right_ca() -> None:
    quoted = x509.UnrecognizedExtension(
        AUTHORITY_KEY_OID, certificates.public_key_der(CA._key.public_key())
    )
    with pytest.raises(RejectedError, match=r"^step 7: "):
        pinned(forge(CLOCK, CA, extra=[(quoted, False)]))
    with pytest.raises(RejectedError, match=r"^step 3: "):
        pinned(leaf(CA, NODE))


def test_pinned_refuses_a_key_that_is_no_key_even_if_its_digest_is_pinned() -> None:
    junk = x509.UnrecognizedExtension(AUTHORITY_KEY_OID, b"junk")
    with pytest.raises(RejectedError, match=r"^step 4: "):
        pinned(forge(CLOCK, CA, extra=[(junk, False)]), hashlib.sha256(b"junk").digest())


# --- the store -----------------------------------------------------------------------------------


def test_peering_refuses_what_is_known_already() -> None:
    store = TrustStore({ALICE: (CA.certificate,)})
    with pytest.raises(ConflictError, match="trusted already"):
        store.with_domain(ALICE, [CA.certificate])
    with pytest.raises(RejectedError, match="not constrained"):
        store.with_domain(BOB, [authority(CLOCK, "carol", Domain("loft.carol")).certificate])
    same_key = type(CA).create(BOBS_CA.member, BOB, world_of(CLOCK), key=CA._key)
    with pytest.raises(ConflictError, match="name or key"):
        store.with_domain(BOB, [same_key.certificate])
    both = store.with_domain(BOB, [BOBS_CA.certificate])
    assert both.domains() == {ALICE, BOB}
    assert both.without_domain(BOB).domains() == {ALICE}


def test_store_refuses_a_leaf_as_a_ca() -> None:
    with pytest.raises(RejectedError):
        TrustStore({ALICE: (x509.load_der_x509_certificate(forge(CLOCK, CA)),)})


def handshake(tmp_path: Path, der: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    """Run a TLS handshake in memory: a server that shows ``der``, a client that trusts CA."""
    chain = tmp_path / "leaf.pem"
    leaf_pem = x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    chain.write_bytes(leaf_pem + key_pem)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(chain)
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname = False
    asking.load_verify_locations(cadata=certificates.certificate_der(REAL_CA.certificate))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = asking.wrap_bio(to_client, to_server)
    server = serving.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
    assert client.version() == "TLSv1.3"


REAL_CA = authority(ManualClock(time.time()))


@pytest.mark.parametrize("role", ["coordinator", "bootstrap/b1", "node/n1"])
def test_openssl_accepts_what_we_issue(tmp_path: Path, role: str) -> None:
    key = certificates.new_private_key(REAL.randomness)
    identity = SpiffeId.parse(f"spiffe://home.alice/{role}")
    handshake(
        tmp_path, certificates.certificate_der(REAL_CA.issue(identity, key.public_key())), key
    )


@pytest.mark.parametrize(
    "name",
    [
        x509.UniformResourceIdentifier("spiffe://garage.bob/node/n1"),
        x509.UniformResourceIdentifier("spiffe://sub.home.alice/node/n1"),
        x509.DNSName("home.alice"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.RFC822Name("root@home.alice"),
    ],
)
def test_name_constraints_stop_a_stolen_ca_key_in_openssl(
    tmp_path: Path, name: x509.GeneralName
) -> None:
    key = certificates.new_private_key(REAL.randomness)
    clock = ManualClock(time.time())
    der = forge(clock, REAL_CA, names=[name], key=key.public_key())
    with pytest.raises(ssl.SSLCertVerificationError, match="subtree"):
        handshake(tmp_path, der, key)
