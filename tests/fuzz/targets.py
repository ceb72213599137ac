"""What is fuzzed: each target takes any bytes and lets nothing out but the typed errors it knows.

A target checks more than "no other exception": what was accepted must survive a round trip, so that
two readers of the same bytes cannot disagree.
"""

from __future__ import annotations

import base64
import json
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from betterproto2 import Message

from collective.chunking import envelope
from collective.chunking.chunk_ids import chunk_id
from collective.chunking.store import pack_record
from collective.chunking.store.pack_record import (
    RECORD_HEADER_BYTES,
    RECORD_MAGIC,
    encode_pack_header,
)
from collective.chunking.store.packscan import recover_pack
from collective.core.disk import DiskFile
from collective.core.errors import CollectiveError, RejectedError
from collective.core.ids import (
    Generation,
    GlobalId,
    SpiffeId,
    parse_domain,
    parse_hex_id,
    parse_member_id,
)
from collective.core.paths import FilePath
from collective.core.settings import load_settings
from collective.core.units import Address
from collective.model.routes import SignedTicket
from collective.pki import bundle as bundles
from collective.pki import invite_code
from collective.pki.bundle import SignedBundle, open_bundle
from collective.pki.certificates import certificate_der
from collective.pki.succession import Told, follow
from collective.rpc.conversions.transfers import receipt_from, receipt_message, ticket_messages
from collective.rpc.errors import from_metadata
from collective.rpc.wire.decoding import parse_message
from collective.transfer.stream.frames import Frame, FrameReader, FramingError, PayloadTarget
from collective.transfer.tickets.checking import check_following, open_ticket
from collective.transfer.tickets.keys import TicketKey
from collective.transfer.tickets.making import sign_ticket
from collective.transfer.tickets.reading import read_ticket
from collective.transfer.tickets.receipts import open_receipt, sign_receipt
from tests import protocol as pb
from tests.unit.pki.bundles import BOBS, NOW_S, fields_of, signed_of, signed_text

KEY: Final = TicketKey(7, b"k" * 32)
_OWN: Final = SpiffeId.parse("spiffe://home.alice/node/alice-node-01")
_LANDING_BYTES: Final = 1 << 16


class _Keys:
    def key(self, key_id: int) -> TicketKey | None:
        return KEY if key_id == KEY.key_id else None

    def revocation_epoch(self) -> int:
        return 0

    def coordinator_now_ms(self) -> int:
        return 0


class _Land:
    """A landing that keeps the first bytes only."""

    def __init__(self) -> None:
        self._place = memoryview(bytearray(_LANDING_BYTES))

    def free(self) -> memoryview:
        return self._place

    def landed(self, count: int) -> None:
        assert 0 <= count <= _LANDING_BYTES


class _Sink:
    def __init__(self) -> None:
        self.frames = 0

    def frame_begun(self, frame: Frame, head: bytes) -> PayloadTarget | None:
        self.frames += 1
        assert len(head) == frame.head_length
        return _Land() if frame.payload_length and self.frames % 2 else None


def frames(raw: bytes) -> None:
    """The frame reader, fed in pieces; after an error it must stay failed."""
    reader = FrameReader(_Sink())
    at, step = 0, raw[0] % 61 + 1 if raw else 1
    try:
        while at < len(raw):
            place = reader.buffer()
            count = min(step, len(place), len(raw) - at)
            place[:count] = raw[at : at + count]
            at += count
            reader.received(count)
    except FramingError:
        try:
            reader.buffer()
            reader.received(1)
        except (FramingError, AssertionError):
            return
        raise AssertionError("a failed reader went on") from None


def envelopes(raw: bytes) -> None:
    """The header of a stored chunk, and its plain bytes."""
    try:
        header = envelope.decode_header(raw)
        plain = envelope.open_plain(memoryview(raw))
    except CollectiveError:
        return
    assert header.stored_length == len(raw)
    again = envelope.encode_header(len(plain), padding_length=header.padding_length)
    assert again + bytes(plain) + bytes(header.padding_length) == raw


class _Pack:
    """A pack file in memory."""

    def __init__(self, raw: bytes) -> None:
        self.raw = bytearray(raw)

    def size_bytes(self) -> int:
        return len(self.raw)

    def read_into(self, buffer: memoryview, offset: int) -> int:
        piece = self.raw[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    def write(self, raw: bytes, offset: int) -> None:
        self.raw[offset : offset + len(raw)] = raw

    def truncate(self, length: int) -> None:
        del self.raw[length:]

    def datasync(self) -> None:
        pass


def pack_records(raw: bytes) -> None:
    """The scan of a pack at start: junk, and records whose check is good (of an older version)."""
    key, pack = KEY.secret, 1
    head = encode_pack_header(key, pack)
    forged = raw[: RECORD_HEADER_BYTES - 8]
    forged = RECORD_MAGIC + forged[4:].ljust(RECORD_HEADER_BYTES - 12, b"\0")
    forged += pack_record._check(key, pack, len(head), forged)
    for content in (raw, head + raw, head + forged + raw):
        file = _Pack(content)
        try:
            scan = recover_pack(cast("DiskFile", file), key, pack)
        except CollectiveError:
            continue
        assert file.size_bytes() == max(scan.size_bytes, 0)
        assert recover_pack(cast("DiskFile", file), key, pack) == scan, "a second look differs"


def tickets(raw: bytes) -> None:
    """Tickets under a good MAC (a rogue coordinator's) and without one."""
    signed = SignedTicket(raw, KEY.key_id, KEY.mac(b"collective ticket 1\0", raw))
    try:
        ticket = open_ticket(_Keys(), signed)
        assert sign_ticket(KEY, ticket) == signed
        check_following(ticket, [signed, signed], _OWN)
    except CollectiveError:
        pass
    try:
        read_ticket(parse_message(pb.SignedTicket, raw))
    except CollectiveError:
        return


def receipts(raw: bytes) -> None:
    """Receipts under a good MAC, and signed ones as they come."""
    mac = KEY.mac(b"collective receipt 1\0", raw)
    for node in ("", "spiffe://home.alice/node/alice-node-01"):
        message = pb.SignedReceipt(body=raw, key_id=KEY.key_id, mac=mac, node=node)
        try:
            signed = receipt_from(message)
            receipt = open_receipt(_Keys(), signed)
        except CollectiveError:
            continue
        assert sign_receipt(KEY, receipt) == signed
    try:
        open_receipt(_Keys(), receipt_from(parse_message(pb.SignedReceipt, raw)))
    except CollectiveError:
        return


def join_codes(raw: bytes) -> None:
    """Join codes as text, and as bytes under a good checksum."""
    body = raw[:1024]
    for text in (
        raw.decode("latin-1"),
        raw.decode("utf-8", "replace"),
        invite_code._to_text(body + invite_code._checksum(body)),
    ):
        try:
            code = invite_code.parse(text)
        except CollectiveError:
            continue
        assert invite_code.parse(code.encode()) == code


def paths(raw: bytes) -> None:
    """Paths and every id that is written as text."""
    text = raw.decode("utf-8", "surrogateescape")
    for parse in (
        FilePath.parse,
        SpiffeId.parse,
        GlobalId.parse,
        Address.parse,
        parse_domain,
        parse_member_id,
        parse_hex_id,
    ):
        try:
            value = parse(text)
        except CollectiveError:
            continue
        assert parse(str(value)) == value
        if isinstance(value, FilePath):
            assert not {".", "..", ""} & set(value.names)
            with suppress(CollectiveError):
                _ = value.peer_domain


def settings(raw: bytes) -> None:
    """The TOML file of the settings, and one variable."""
    text = raw.decode("utf-8", "replace").replace("\0", "")
    for environment, content in (
        ({"COLLECTIVE_CONFIG": "/c.toml"}, raw),
        ({"COLLECTIVE_MEMBER_ID": "alice", "COLLECTIVE_JOIN_CODE_VALIDITY": text}, b""),
        ({"COLLECTIVE_MEMBER_ID": "alice", "COLLECTIVE_STORAGE_CAPACITY": text}, b""),
    ):
        try:
            load_settings(("coordinator",), {}, environment, lambda _, c=content: c)  # type: ignore[misc]
        except CollectiveError:
            continue


def bundle_bodies(raw: bytes) -> None:
    """A bundle's text as its CA signed it: strangers sign what they like."""
    _open_bundle(SignedBundle(raw, bytes(raw[:72])))
    _open_bundle(signed_text(BOBS, raw))


def bundle_certificates(raw: bytes) -> None:
    """Certificates in a bundle that is right but for them."""
    told = [base64.b64encode(raw).decode()]
    for field in ("authorities", "links"):
        fields = fields_of(_GOOD_BUNDLE) | {field: told}
        body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        _open_bundle(signed_text(BOBS, body))


def bundle_files(raw: bytes) -> None:
    """A bundle as a file; what is in it need not be signed."""
    try:
        signed = SignedBundle.from_file(raw)
    except RejectedError:
        return
    assert SignedBundle.from_file(signed.to_file()) == signed
    _open_bundle(signed)


def _open_bundle(signed: SignedBundle) -> None:
    """Refuse a bundle in a sentence that can be sent, or read what its text says, and follow its CAs."""
    try:
        with warnings.catch_warnings(action="ignore"):  # the library's, of names that are odd
            bundle = open_bundle(signed)
            told = Told(
                [certificate_der(one) for one in bundle.authorities],
                [certificate_der(one) for one in bundle.links],
                bundle.authority_digest,
            )
            follow([BOBS.certificate], told, BOBS.domain, NOW_S)
    except RejectedError as error:
        error.message.encode()  # fit to be sent
        return
    assert open_bundle(signed_text(BOBS, bundles.body_of(bundle))) == bundle


_GOOD_BUNDLE: Final = signed_of(BOBS)


_CLASSES: Final[list[type[Message]]] = [
    value
    for name, value in sorted(vars(pb).items())
    if isinstance(value, type) and issubclass(value, Message) and value is not Message
]


def protobuf(raw: bytes) -> None:
    """Every message class; what is accepted can be encoded, and means the same again."""
    if not raw:
        return
    message_class = _CLASSES[raw[0] % len(_CLASSES)]
    try:
        message = parse_message(message_class, raw[1:])
    except RejectedError:
        return
    again = bytes(message)
    assert bytes(parse_message(message_class, again)) == again


def error_details(raw: bytes) -> None:
    """What a server says went wrong."""
    error = from_metadata({"collective-error-bin": raw})
    assert error is None or isinstance(error, CollectiveError)


TARGETS: Final[dict[str, Callable[[bytes], None]]] = {
    "frames": frames,
    "envelopes": envelopes,
    "pack_records": pack_records,
    "tickets": tickets,
    "receipts": receipts,
    "join_codes": join_codes,
    "bundle_bodies": bundle_bodies,
    "bundle_certificates": bundle_certificates,
    "bundle_files": bundle_files,
    "paths": paths,
    "settings": settings,
    "protobuf": protobuf,
    "error_details": error_details,
}


def _good_record() -> bytes:
    body = b"body"
    record = pack_record.Record(
        pack_record.Kind.PUT, chunk_id([body]), Generation(1), len(body), batch=1
    )
    key, at = KEY.secret, len(encode_pack_header(KEY.secret, 1))
    return pack_record.encode_record(record, key, 1, at) + body + bytes(4)


def seeds() -> dict[str, list[bytes]]:
    """Return good inputs of each target, to begin from."""
    ticket = pb.Ticket(
        operation=pb.ChunkOperation.PUT,
        chunk_id=b"c" * 32,
        length_limit=100,
        transfer_id="0" * 32,
        node=str(_OWN),
        holder="spiffe://home.alice/coordinator",
        expires_ms=5,
        next_node=str(_OWN),
        next_addresses=[pb.Address(host="127.0.0.1", port=1)],
    )
    receipt = pb.Receipt(chunk_id=b"c" * 32, length=5, node=str(_OWN), flushed=True)
    code = invite_code.InviteCode(
        (Address("127.0.0.1", 1),), b"d" * 32, "0" * 16, b"s" * 16
    ).encode()
    ping = Frame(type=7, request_id=0).encode()  # type: ignore[arg-type]
    put = Frame(type=1, request_id=1, head_length=4, payload_length=3).encode()  # type: ignore[arg-type]
    return {
        "frames": [ping * 3, put + b"headabc" + ping],
        "envelopes": [envelope.encode_header(3) + b"abc"],
        "pack_records": [_good_record()],
        "tickets": [bytes(ticket), bytes(ticket_messages([sign_ticket(KEY, ticket)])[0])],
        "receipts": [bytes(receipt), bytes(receipt_message(sign_receipt(KEY, receipt)))],
        "join_codes": [code.encode()],
        "bundle_bodies": [_GOOD_BUNDLE.body, signed_of(BOBS, 7, addresses=()).body],
        "bundle_certificates": [certificate_der(BOBS.certificate)],
        "bundle_files": [_GOOD_BUNDLE.to_file()],
        "paths": [b"/a/b", b"spiffe://home.alice/node/x", b"n@home.alice", b"[::1]:5"],
        "settings": [b'member_id = "alice"\n', b"7d", b"1GiB"],
        "protobuf": [bytes((n,)) + bytes(ticket) for n in range(0, 60, 7)],
        "error_details": [bytes(pb.ErrorDetail(code="usage", message="m"))],
    }
