"""TLS contexts for both ends: TLS 1.3 only, no session tickets, no host names.

The handshake is a prefilter.  OpenSSL has one pool of authorities per context and passes
certificates that name nobody, so :mod:`collective.rpc.tls.gate` checks the peer's certificate
again before a byte is acted on.  Session tickets are off because a resumed session outlives trust.
"""

from __future__ import annotations

import ssl
import weakref
from collections.abc import Callable
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from collective.core.errors import SettingsError
from collective.pki.credentials import Credentials
from collective.pki.trust import TrustStore
from collective.rpc.links import Keeper

ALPN_GRPC: Final = "h2"
ALPN_CHUNK: Final = "collective-chunk/1"


MakeContext = Callable[[Credentials, TrustStore], ssl.SSLContext]


class TlsConfig:
    """A :class:`~collective.rpc.links.HandshakeConfig`: the TLS context that handshakes use now.

    A context cannot forget an authority, so another takes its place where one counts no longer.  The former
    one goes with the last connection that was made by it.
    """

    def __init__(self, make: MakeContext, credentials: Credentials, trust: TrustStore) -> None:
        """Begin with ``credentials`` and ``trust``, and make every context by ``make``."""
        self._make = make
        self._context = make(credentials, trust)
        self._loaded = frozenset(trust.all_authorities())
        self.generation = 0
        """How often another certificate was taken into use."""
        self._credentials = credentials
        self._keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()
        """Held weakly: what nobody else has any more keeps nothing that would have to be closed."""

    def context(self) -> ssl.SSLContext:
        """Return the context of the next handshake."""
        return self._context

    def attach(self, keeper: Keeper) -> None:
        """Have ``keeper`` retire what it keeps at each renewal."""
        self._keepers.add(keeper)

    @property
    def credentials(self) -> Credentials | None:
        """The certificate and key that the next handshake shows."""
        return self._credentials

    def refresh(self, credentials: Credentials | None, trust: TrustStore | None) -> None:
        """Show a renewed certificate, and let the authorities of ``trust`` and no others count."""
        wanted = self._loaded if trust is None else frozenset(trust.all_authorities())
        if trust is None or self._loaded <= wanted:
            refresh(self._context, credentials, trust)
            self._loaded = wanted
        else:
            self._replace(credentials, trust, wanted)
        if credentials is not None:
            self._credentials = credentials
            self.generation += 1
            for keeper in tuple(self._keepers):
                keeper.retire()

    def _replace(
        self,
        credentials: Credentials | None,
        trust: TrustStore,
        wanted: frozenset[x509.Certificate],
    ) -> None:
        try:
            self._context = self._make(credentials or self._credentials, trust)
            self._loaded = wanted
        except SettingsError:
            # The files may be half renewed at this moment: the gate decides, and the next change tidies up.
            refresh(self._context, credentials, trust)
            self._loaded |= wanted


def server_context(
    credentials: Credentials,
    trust: TrustStore,
    *,
    client_certificates: bool = True,
    alpn: tuple[str, ...] = (ALPN_GRPC, ALPN_CHUNK),
) -> ssl.SSLContext:
    """Return the context of a listener.

    Args:
        credentials: The certificate and key that the listener shows.
        trust: Authorities that a client's certificate may come from.
        client_certificates: False for the bootstrap listener alone.
        alpn: Protocols offered, best first.

    Raises:
        SettingsError: The certificate or key cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _harden(context, alpn)
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED if client_certificates else ssl.CERT_NONE
    refresh(context, credentials, trust)
    return context


def client_context(
    credentials: Credentials | None,
    trust: TrustStore | None,
    alpn: tuple[str, ...] = (ALPN_GRPC,),
) -> ssl.SSLContext:
    """Return the context of a connection that we open.

    Args:
        credentials: The certificate to show; None shows none (bootstrap, where the server asks none).
        trust: Authorities that the server's certificate may come from; None only where the gate
            pins the server's key by itself (a join code).
        alpn: Protocols offered, best first.

    Raises:
        SettingsError: The certificate or key cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _harden(context, alpn)
    context.check_hostname = False  # addresses prove nothing; identities do
    context.verify_mode = ssl.CERT_NONE if trust is None else ssl.CERT_REQUIRED
    refresh(context, credentials, trust)
    return context


def refresh(
    context: ssl.SSLContext, credentials: Credentials | None, trust: TrustStore | None
) -> None:
    """Load a renewed certificate and further authorities into a context that is in use.

    New handshakes use them at once.  Authorities are only ever added here: one that is trusted no
    longer is refused by the gate, which decides, and goes with the context (:class:`TlsConfig`).
    """
    try:
        if credentials is not None:
            context.load_cert_chain(
                credentials.certificate_path,
                credentials.key_path,
                password=credentials.passphrase or b"",  # never asked for on the terminal
            )
        if trust is not None:
            bundle = b"".join(
                authority.public_bytes(Encoding.DER) for authority in trust.all_authorities()
            )
            if bundle:
                context.load_verify_locations(cadata=bundle)
    except (OSError, ssl.SSLError) as error:
        where = credentials.certificate_path if credentials else "the trust store"
        raise SettingsError(
            f"The certificate or key at {where} cannot be used: {error}."
        ) from error


def _harden(context: ssl.SSLContext, alpn: tuple[str, ...]) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(list(alpn))
