"""What each command prints with ``--json``, as types; the documentation's schemas are made from them.

Commands import this for their annotations alone, so it costs no start of a command.  A field says what it is
where its name does not: a text beside its type, or the enumeration whose words it has.

The promise of stability is in the documentation (``tools/docs/json_schemas.py``): within a major version fields and
words are added, and none is renamed or removed.  Every field is always there, null where there is nothing to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, TypedDict

from collective.cli.diagnosis.findings import Level
from collective.core.disk_errors import DiskState
from collective.core.work import State
from collective.model.entries import EntryKind
from collective.model.nodes import ShownState, Standing
from collective.model.peers import PeerState
from collective.model.people import InviteKind
from collective.model.trust import Phase

Moment = Annotated[str, "A time in UTC to the millisecond, as ISO 8601."]
ExactTime = Annotated[
    str, "A time in UTC to the nanosecond, as ISO 8601; `@SECONDS` outside its years."
]
Second = Annotated[str, "A time in UTC by the second, as ISO 8601."]
Hex = Annotated[str, "In lower-case hexadecimal digits."]
SpiffeText = Annotated[str, "A SPIFFE id, `spiffe://DOMAIN/ROLE/…`."]
GlobalName = Annotated[str, "A global id, `name@domain`; the SPIFFE id of what has none."]
PathText = Annotated[str, "A path as commands take it."]
Rights = Annotated[list[str], "Of `read`, `write` and `share`."]
Chosen = Annotated[str, "A path on this machine."]


# --- files ------------------------------------------------------------------------------------------


class EntryJson(TypedDict):
    """A name: a file, link, directory, datastore or peer."""

    path: PathText
    kind: Annotated[str, EntryKind]
    size: Annotated[int, "Bytes of a file, holes included."]
    modified: ExactTime | None
    mode: Annotated[int | None, "Permission bits; null where nobody said."]
    content_type: str
    metadata: dict[str, str]
    digest: Annotated[str, "BLAKE3 of the content in hexadecimal digits; empty for what has none."]
    version: Annotated[int, "Rises with each change; 0 for what has none."]
    chunk_count: int
    copies_wanted: int
    copies_least: Annotated[int, "Copies of the chunk that has the fewest."]
    target: Annotated[str | None, "Where a link points to."]


class LeftOutJson(TypedDict):
    """Something of a tree that was left out."""

    name: str
    code: Annotated[str, "A word for its reason, such as `not_found`."]
    reason: str


class TreeJson(TypedDict):
    """What the transfer of a tree did."""

    files: Annotated[int, "Files whose content was carried."]
    links: Annotated[int, "Links that were made."]
    directories: Annotated[int, "Directories that were made."]
    attributes: Annotated[int, "Things of which a time or mode alone was carried."]
    bytes: Annotated[int, "Of these files, holes included."]
    unchanged: Annotated[int, "Files and links that were there as they are."]
    left_out: list[LeftOutJson]


class RemovedNamesJson(TypedDict):
    """What a removal took away."""

    removed: Annotated[
        int, "Names, with all that was below; where it ended half-way, those that went."
    ]


# --- people -----------------------------------------------------------------------------------------


class GrantJson(TypedDict):
    """A grant."""

    id: str
    path: PathText
    rights: Rights
    principal: Annotated[str, "Whom it is given to, as a SPIFFE id."]
    expires: Moment | None
    granted_by: SpiffeText
    sources: Annotated[list[str], "Ids of the grants that it came from."]


class GivenJson(TypedDict):
    """Rights on a path that an invitation gives."""

    path: PathText
    rights: Rights


class GoneJson(TypedDict):
    """What was removed."""

    removed: Annotated[str, "Its id."]


class DeviceCodeJson(TypedDict):
    """A code for a further machine."""

    code: str
    join_url: str
    expires: Moment | None


class MadeCodeJson(DeviceCodeJson):
    """A code that was made."""

    id: str


class InviteUseJson(TypedDict):
    """One redemption."""

    identity: SpiffeText
    global_id: GlobalName
    at: Moment | None


class InviteJson(TypedDict):
    """An invitation; never its secret."""

    id: str
    kind: Annotated[str, InviteKind]
    state: Annotated[str, "`open`, `used up`, `expired`, `revoked` or `void`."]
    grants: list[GivenJson]
    max_uses: int
    uses_left: int
    created: Moment | None
    expires: Moment | None
    created_by: SpiffeText
    description: str
    redemptions: list[InviteUseJson]


class RedeemedJson(TypedDict):
    """What a redemption gave."""

    name: Annotated[str, "Of the collective on this machine."]
    member_id: str
    domain: str
    global_id: str
    identity: SpiffeText
    grants: list[GivenJson]
    grants_expire: Moment | None
    granted_by: Annotated[
        str, "The SPIFFE id of whoever made the code; empty where it is not told."
    ]
    certificate_expires: Moment | None
    coordinator_addresses: list[str]
    new: Annotated[bool, "This machine had not joined it before."]
    current: Annotated[bool, "Commands use it from now on."]
    replaced: Annotated[str | None, "Where what was kept of it lies now, if its CA is another one."]


class CertificateRecordJson(TypedDict):
    """A certificate that a coordinator has seen."""

    serial: Hex
    expires: Moment | None
    revoked: bool


class DeviceJson(TypedDict):
    """A key of an identity."""

    key_sha256: Hex | None
    added: Moment | None
    issued_offline: bool
    revoked: bool
    certificates: list[CertificateRecordJson]


class ListedIdentityJson(TypedDict):
    """Somebody who joined."""

    global_id: Annotated[str, "`name@domain`; empty for what is no person."]
    identity: SpiffeText
    display_name: str
    invited_by: SpiffeText
    joined: Moment | None
    revoked: bool
    devices: list[DeviceJson]


class RevokedJson(TypedDict):
    """What a revocation did."""

    revoked: Annotated[str, "What was named."]
    entries: Annotated[list[str], "All that is revoked by it."]
    revocation_epoch: int
    connections_closed: int
    lost_rights: Annotated[list[str], "Whose rights came from it."]
    invites_ended: int
    datastores: Annotated[list[str], "Datastores that it still owns."]


class AuditRecordJson(TypedDict):
    """Something that was done or refused."""

    at: Moment | None
    actor: str
    action: str
    target: str
    detail: str
    request_id: str


# --- this machine -----------------------------------------------------------------------------------


class IdentityJson(TypedDict):
    """The identity of this machine."""

    global_id: str
    display_name: str
    created: Moment | None
    key: Chosen
    key_sha256: Annotated[str | None, "Null where the key cannot be read without its passphrase."]
    passphrase: bool
    config_dir: Chosen
    collectives: list[str]
    current: str | None


class CollectiveJson(TypedDict):
    """A member that this machine has joined."""

    name: str
    member_id: str
    domain: str
    global_id: str
    identity: SpiffeText
    coordinator_addresses: list[str]
    bootstrap_addresses: list[str]
    current: bool
    joined: Moment | None
    certificate_expires: Annotated[str | None, "Null where the certificate cannot be read."]


class LeftJson(TypedDict):
    """What was left."""

    left: str
    current: str | None


class FindingJson(TypedDict):
    """One thing that was looked at."""

    check: Annotated[str, "What was looked at: a word that stays."]
    level: Annotated[str, Level]
    says: str
    advice: Annotated[str, "What to do; empty where there is nothing to do."]
    exit_code: int


class PartJson(TypedDict):
    """A part of an installation."""

    part: Annotated[str, "A settings file, or `client`."]
    findings: list[FindingJson]


class DoctorJson(TypedDict):
    """All that was found."""

    exit_code: int
    parts: list[PartJson]


class SetUpJson(TypedDict):
    """What was set up, or why not."""

    settings: Chosen
    written: bool
    kept: Annotated[str | None, "Where the settings of before lie."]
    roles: list[str]
    state_dir: Chosen
    code_file: Annotated[str | None, "Where the node's code lies; null where none was given."]
    findings: list[FindingJson]
    next: Annotated[list[str], "Commands that start it."]


class UnitJson(TypedDict):
    """A unit of systemd."""

    unit: str
    path: Chosen
    installed: bool
    settings: Chosen
    state_dir: Chosen
    folders: Annotated[list[str], "Other folders that are given to its user."]
    code_file: Annotated[
        str | None, "Where the node's code is expected; null where none is needed."
    ]
    text: str
    next: Annotated[list[str], "Commands that start it."]


class HealthJson(TypedDict):
    """How a process is."""

    asked: Annotated[str, "`alive` or `ready`."]
    is_well: bool
    reasons: Annotated[list[str], "Why it is not."]


class ScriptJson(TypedDict):
    """A completion script."""

    shell: str
    script: str


class PageJson(TypedDict):
    """A page of the manual."""

    name: str
    page: str


class PagesJson(TypedDict):
    """Pages of the manual that were written."""

    pages: list[str]


# --- the member -------------------------------------------------------------------------------------


class NodeJson(TypedDict):
    """A node."""

    id: str
    address: str
    total_capacity: Annotated[int, "Bytes."]
    used_capacity: Annotated[int, "Bytes."]
    chunk_count: int
    is_healthy: bool
    state: Annotated[str, ShownState]
    last_seen: Moment | None
    standing: Annotated[str, Standing]
    standing_reason: str
    is_new: Annotated[bool, "Nobody has said yet that it is the member's own."]
    quarantined_bytes: int
    disk: Annotated[str, DiskState, ""]


class ListedNodeJson(NodeJson):
    """A node, and what keeps it."""

    copies_left: Annotated[int, "Copies there that are not to be lost; 0 to whoever is no admin."]


class ApprovalJson(TypedDict):
    """A node that was approved."""

    node: str
    was: Annotated[str, Standing]
    was_new: bool


class AdoptionJson(TypedDict):
    """What an adoption did."""

    enrolled: list[str]
    replaced: Annotated[int, "Other catalogues whose place this one took."]
    confirmed: Annotated[bool, "It was restored, and counts as the newest from now on."]
    epoch: int
    brought_back: Annotated[
        list[str],
        "Nodes that hold more of a former time than they could prove, and are brought back.",
    ]


class DiscardedJson(TypedDict):
    """Quarantined copies of one node that go, or may not go yet."""

    node: str
    copies: int
    bytes: int
    may_be_discarded: Moment | None


class DrainJson(TypedDict):
    """How far a drain is."""

    node: str
    draining: bool
    copies_left: int
    warnings: list[str]


class DatastoreJson(TypedDict):
    """A datastore."""

    path: PathText
    owner: SpiffeText
    copies: Annotated[int | None, "Null: as the coordinator's setting says."]
    quota_bytes: int | None
    used_bytes: Annotated[int, "Bytes of files."]
    catalog_bytes: Annotated[int, "What the quota counts beside, for rows of the catalogue."]
    reserved_bytes: Annotated[int, "Of uploads under way."]
    files: int


class FiguresJson(TypedDict):
    """What there is between a member and a peer; null to whoever is no admin."""

    grants_here: int | None
    grants_there: int | None
    sent_bytes: int | None
    received_bytes: int | None
    refused: int | None


class StatusPeerJson(FiguresJson):
    """A peer, as the status shows it."""

    member_id: str
    domain: str
    address: str
    state: Annotated[str, "`healthy` or `away`."]
    is_healthy: bool
    last_seen: Moment | None
    latency_ms: float
    version: str
    bundle_taken: Moment | None


class PeerJson(FiguresJson):
    """A peer."""

    domain: str
    member_id: str
    state: Annotated[str, PeerState]
    is_healthy: bool
    addresses: list[str]
    fingerprint: str
    since: Moment | None
    last_seen: Moment | None
    latency_ms: float
    why_away: str
    version: str
    bundle_sequence: int
    bundle_taken: Moment | None
    not_taken: Annotated[list[str], "Bundles of it that were refused, and why."]
    names_here: Annotated[list[str], "Names in its domain that were given out here before."]
    is_seen: bool
    reaches_us: Annotated[bool | None, "Null where it has not said."]
    why_it_does_not: str


class AcceptedPeerJson(PeerJson):
    """A peer whose code was accepted."""

    is_waiting: Annotated[bool, "Its operator has to confirm first."]


class ShownPeerJson(PeerJson):
    """A peer with the grants in both directions."""

    granted_here: list[GrantJson]
    granted_there: list[GrantJson]
    why_not_there: Annotated[str, "Why the peer did not say what it grants; empty where it did."]


class CoordinatorJson(TypedDict):
    """The coordinator that answered."""

    address: str
    version: str
    uptime_s: float


class FilesJson(TypedDict):
    """Files that the caller may read."""

    total: int
    bytes: int


class ChunksJson(TypedDict):
    """Health of chunks; null where the caller reads no datastore whole."""

    total: int | None
    under_replicated: int | None
    unavailable: int | None
    datastores: Annotated[list[str], "Datastores that are counted."]


class StorageJson(TypedDict):
    """Space of approved nodes."""

    total_bytes: int
    used_bytes: int
    available_bytes: int


class YouJson(TypedDict):
    """Whom the coordinator takes the caller for."""

    global_id: GlobalName
    grants: list[GrantJson]


class NodeCodeJson(TypedDict):
    """The code by which nodes join."""

    uses_left: int
    enrolled: int
    expires: Moment | None


class WorkerJson(TypedDict):
    """Work in the background."""

    name: str
    state: Annotated[str, State]
    last_success: Moment | None
    queue: int | None
    error: str
    next_s: float | None


class StatusJson(TypedDict):
    """The state of a member."""

    member_id: str
    domain: str
    coordinator: CoordinatorJson
    local_nodes: list[NodeJson]
    peers: list[StatusPeerJson]
    remote_nodes: list[NodeJson]
    files: FilesJson
    chunks: ChunksJson
    storage: StorageJson
    you: YouJson
    warnings: list[str]
    node_code: Annotated[NodeCodeJson | None, "Null to whoever is no operator."]
    workers: list[WorkerJson]


# --- certificates -----------------------------------------------------------------------------------


class TimesJson(TypedDict):
    """Which certificate it is, and when it is valid."""

    serial: Hex
    valid_from: Second
    valid_until: Second
    state: Annotated[str, "`valid`, `not valid yet` or `ran out`."]


class CommonCertificateJson(TimesJson):
    """What every certificate says."""

    kind: Annotated[str, "`CA`, or the role of whom it certifies."]
    trust_domain: str
    key_sha256: Hex


class AuthorityJson(CommonCertificateJson):
    """A member's CA."""

    member: str


class CertificateJson(CommonCertificateJson):
    """A certificate that is no CA's."""

    identity: SpiffeText
    global_id: Annotated[str, "`name@domain`; empty for what is no person."]
    usages: list[str]
    addresses: list[str]
    renewal_due: Second


class IssuedJson(TypedDict):
    """What was issued."""

    identity: SpiffeText
    certificate: Chosen
    key: Chosen
    ca: Chosen


class RotationJson(TypedDict):
    """How far the replacement of the CA is."""

    phase: Annotated[str, Phase]
    waiting: Annotated[list[str], "Who has no certificate of the new CA yet, as SPIFFE ids."]
    begun: Moment | None
    ca_key_sha256: Hex


SHAPES: Final[Mapping[str, Any]] = {
    "init": SetUpJson,
    "join": RedeemedJson | SetUpJson,
    "healthcheck": HealthJson,
    "status": StatusJson,
    "audit": list[AuditRecordJson],
    "mkdir": EntryJson,
    "ls": list[EntryJson],
    "rm": RemovedNamesJson,
    "mv": EntryJson,
    "stat": EntryJson,
    "write": EntryJson,
    "put": EntryJson | TreeJson,
    "get": EntryJson | TreeJson,
    "cp": EntryJson | TreeJson,
    "identity init": IdentityJson,
    "identity show": IdentityJson,
    "identity list-collectives": list[CollectiveJson],
    "identity switch": CollectiveJson,
    "identity leave": LeftJson,
    "identity add-device": DeviceCodeJson,
    "identity list": list[ListedIdentityJson],
    "identity revoke": RevokedJson,
    "invite generate": MadeCodeJson,
    "invite list": list[InviteJson],
    "invite revoke": InviteJson,
    "invite redeem": RedeemedJson,
    "node list": list[ListedNodeJson],
    "node approve": list[ApprovalJson],
    "node adopt": AdoptionJson | list[DiscardedJson],
    "node drain": DrainJson,
    "node remove": GoneJson,
    "datastore create": DatastoreJson,
    "datastore list": list[DatastoreJson],
    "datastore set": DatastoreJson,
    "grant add": GrantJson,
    "grant list": list[GrantJson],
    "grant remove": GoneJson,
    "peer invite": MadeCodeJson,
    "peer accept": AcceptedPeerJson,
    "peer confirm": PeerJson,
    "peer list": list[PeerJson],
    "peer show": ShownPeerJson,
    "peer remove": PeerJson,
    "pki show": AuthorityJson | CertificateJson,
    "pki issue": IssuedJson,
    "pki rotate-ca": RotationJson,
    "doctor": DoctorJson,
    "systemd install": UnitJson,
    "completion": ScriptJson,
    "man": PageJson | PagesJson,
}
"""What each command prints; a command that is not here takes no ``--json``."""
WITHOUT: Final[Mapping[str, str]] = {
    "serve": "it logs until it ends; its state is told by `healthcheck` and `status`",
    "read": "it writes the file itself; `stat` has its facts, and `--json` is refused",
    "demo": "it tells a person what it does, and ends with an exit code",
}
"""Commands that print no JSON, and why."""
