"""One process of a member on this machine, running or dead: settings, files, certificates, listeners."""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass
from functools import partial
from typing import Final

from collective import __version__
from collective.cli.diagnosis import certificates, machine, owners
from collective.cli.diagnosis.backups import newest_backup
from collective.cli.diagnosis.findings import Finding, Level, fine, problem, warning
from collective.cli.setup.listening import listening_addresses, main_listener
from collective.cli.setup.placing import Place
from collective.core.clock import Clock
from collective.core.disk import Disk
from collective.core.errors import (
    CollectiveError,
    ExitCode,
    NotFoundError,
    NotJoinedError,
    UnreachableError,
)
from collective.core.ids import NodeId
from collective.core.settings import ServeSettings, file_settings
from collective.core.small_files import read_small
from collective.core.units import Address
from collective.pki.cert_dir import CertDir, ca_folder, members_in, nodes_folder, nodes_in
from collective.roles.bootstrap.app import find_credentials
from collective.roles.node.enrolment_notes import NodeNotes, load_notes, record_path
from collective.rpc.client import probing
from collective.rpc.client.metrics_page import ask
from collective.rpc.client.probing import Answer
from collective.rpc.links import Links

BACKUP_OLD_S: Final = 7 * 86_400.0
SNAPSHOTS: Final = "catalog/snapshots"
_OK: Final = 200


@dataclass(frozen=True, slots=True)
class Installation:
    """One settings file, and where its process keeps what it has."""

    settings: ServeSettings
    place: Place
    data_dir: str
    cert_dir: str

    @classmethod
    def of(cls, path: str, disk: Disk) -> Installation:
        """Read the settings file at ``path``; NotFoundError, or SettingsError where it cannot be used."""
        try:
            settings = file_settings(path, partial(read_small, disk=disk))
        except NotJoinedError as error:
            raise NotFoundError(f"The settings file {path} does not exist.") from error
        place = Place.of(path)
        base = place.state if place.is_for_units else "."
        return cls(
            settings,
            place,
            posixpath.abspath(posixpath.join(base, settings.data_dir)),
            posixpath.abspath(posixpath.join(base, settings.cert_dir)),
        )

    @property
    def code_file(self) -> str | None:
        """Where its process reads the code by which a node joins; None where nothing says so."""
        told = self.settings.join_code_file
        if told is None:
            return self.place.code if self.place.is_for_units else None
        return posixpath.join(self.base, told)

    @property
    def base(self) -> str:
        """What relative paths of the settings start from."""
        return self.place.state if self.place.is_for_units else os.curdir

    @property
    def certificates(self) -> CertDir | None:
        """The cert dir of the coordinator; None for other roles."""
        member = self.settings.member_id
        if member is None or "coordinator" not in self.settings.roles:
            return None
        return CertDir(self.cert_dir, member)

    @property
    def operator(self) -> tuple[str, str, str] | None:
        """Certificate, key and CA of the operator; None where there is no coordinator."""
        place = self.certificates
        if place is None:
            return None
        return place.coordinator_certificate, place.coordinator_key, place.ca_certificate


class Inspection:
    """Looks at one installation."""

    def __init__(self, it: Installation, links: Links, clock: Clock, disk: Disk) -> None:
        """Look at ``it`` with what the machine gives."""
        self._it = it
        self._links = links
        self._clock = clock
        self._disk = disk

    async def findings(self, backup: str | None) -> list[Finding]:
        """Return everything, causes first."""
        it, now_s = self._it, self._clock.wall_s()
        has_catalogue = "coordinator" in it.settings.roles
        found = [machine.clock(now_s)]
        for folder in (it.data_dir, it.cert_dir):
            shut = owners.no_rights(folder)
            if shut is not None:  # what cannot be seen would look like what is not there
                found.append(shut)
                if has_catalogue and backup is not None:
                    found.append(_of_backup(backup, now_s))
                return found
        notes = self._notes()
        bootstraps = notes.bootstrap_addresses if notes is not None else self._code_addresses()
        if bootstraps:
            compared = await machine.skew(
                now_s * 1000, "the member's bootstrap", bootstraps, self._links
            )
            found += [] if compared is None else [compared]
        found += self._folders()
        found += self._certificates(now_s)
        found += await self._process()
        found += await self._addresses()
        if has_catalogue:
            found += self._backups(now_s, backup)
        return found

    def _notes(self) -> NodeNotes | None:
        """Return what the node of this installation remembers of its joining."""
        node = self._node()
        if node is None:
            return None
        try:
            return load_notes(record_path(self._it.cert_dir, node), self._disk)
        except CollectiveError:
            return None

    def _node(self) -> NodeId | None:
        folder = nodes_folder(self._it.cert_dir)
        known = nodes_in(self._names(folder)) if "node" in self._it.settings.roles else []
        wanted = self._it.settings.node_id
        if wanted is not None:
            return wanted if wanted in known else None
        return known[0] if known else None

    def _names(self, folder: str) -> list[str]:
        try:
            return [one.name for one in self._disk.list_dir(folder)]
        except OSError:
            return []

    def _code_addresses(self) -> tuple[Address, ...]:
        """Return the bootstraps that the join code names, of a node that has not joined yet."""
        from collective.pki.invite_code import parse  # noqa: PLC0415 - few need it

        try:
            return parse(self._code_text()).addresses
        except CollectiveError:
            return ()

    def _code_text(self) -> str:
        settings, path = self._it.settings, self._it.code_file
        if settings.join_code is not None:
            return settings.join_code
        if path is None:
            return ""
        return read_small(path, disk=self._disk).decode("ascii", "replace").strip()

    # --- files -----------------------------------------------------------------------------------

    def _folders(self) -> list[Finding]:
        it = self._it
        found = [machine.room("data_dir", it.data_dir, self._disk)]
        for what, folder in (("data_dir", it.data_dir), ("cert_dir", it.cert_dir)):
            if self._disk.exists(folder):
                state = it.place.state if it.place.is_for_units else folder
                found.append(owners.owners(what, folder, state))
        found += self._exposed()
        notes = self._notes()
        store = posixpath.join(it.data_dir, "node")
        if notes is not None and notes.store_uuid and not self._disk.exists(store):
            found.append(
                problem(
                    "mount",
                    f"The node's chunks are not in {it.data_dir}: is the disk mounted?",
                    "mount it; never delete the certificate to get past this",
                )
            )
        return found

    def _exposed(self) -> list[Finding]:
        """Return what is secret and others can read: in the cert dir, and beside the settings."""
        it, found = self._it, []
        for folder in (it.cert_dir, f"{it.place.stem}.certs"):
            if self._disk.exists(folder):
                found += owners.exposed_keys(folder)
        if it.code_file is not None and owners.is_exposed(it.code_file):
            found.append(owners.exposed(it.code_file))
        if it.settings.join_code is not None and owners.is_exposed(it.place.settings):
            found.append(
                warning(
                    "key-mode",
                    f"Others can read {it.place.settings}, which holds a join code.",
                    f"put the code into a file of its own, 0600, and say join_code_file: {it.place.code}",
                )
            )
        return found

    def _certificates(self, now_s: float) -> list[Finding]:
        it = self._it
        place, found = it.certificates, []
        if place is not None:
            if not self._disk.exists(place.ca_certificate):
                return [
                    warning(
                        "certificate",
                        f"There is no CA in {it.cert_dir} yet.",
                        "start the coordinator: its first start makes CA and certificate",
                    )
                ]
            if not self._disk.exists(place.ca_key):
                found.append(
                    problem(
                        "certificate",
                        f"The CA's key {place.ca_key} is missing.",
                        "restore it from a backup of the cert dir; nobody can join or renew without",
                        ExitCode.USAGE,
                    )
                )
            pair, certified = certificates.pair(
                "Coordinator",
                (place.coordinator_certificate, place.coordinator_key, place.ca_certificate),
                now_s=now_s,
                disk=self._disk,
                renew="restart the coordinator: it makes another by its CA",
            )
            found += pair
            if certified is not None:
                told = it.settings.advertise_addresses
                found += certificates.own_addresses(certified, told)
        if "node" in it.settings.roles:
            found += self._node_certificate(now_s)
        if it.settings.roles == {"bootstrap"}:
            found += self._bootstrap_certificate(now_s)
        return found

    def _bootstrap_certificate(self, now_s: float) -> list[Finding]:
        """Look at the certificate of a standalone bootstrap, of which there is one."""
        it = self._it
        try:
            own = find_credentials(it.cert_dir, self._disk)
        except CollectiveError as error:
            advice = "collective pki issue --bootstrap ID at the CA, and bring what it makes here"
            return [problem("certificate", error.message, advice, error.exit_code)]
        paths = (own.certificate_path, own.key_path, own.ca_path)
        found, _ = certificates.pair(
            "Bootstrap",
            paths,
            now_s=now_s,
            disk=self._disk,
            renew="start it while its coordinator answers: it renews by itself; else issue another",
        )
        return found

    def _node_certificate(self, now_s: float) -> list[Finding]:
        node, members = self._node(), members_in(self._names(ca_folder(self._it.cert_dir)))
        if node is None or not members:
            return self._not_enrolled()
        place = CertDir(self._it.cert_dir, members[0])
        paths = (place.node_certificate(node), place.node_key(node), place.ca_certificate)
        renew = "start the node: it renews at the bootstrap; after expired_renewal (90d) it needs a code"
        found, _ = certificates.pair(
            f"Node {node}", paths, now_s=now_s, disk=self._disk, renew=renew
        )
        return found

    def _not_enrolled(self) -> list[Finding]:
        if "coordinator" in self._it.settings.roles:
            return []
        try:
            code = self._code_text()
        except CollectiveError:
            code = ""
        if code:
            return [
                warning("enrolment", "The node has a code, and has not joined yet.", "start it")
            ]
        place = self._it.place
        where = self._it.code_file or f"{place.code}, with join_code_file = it in {place.settings}"
        return [
            problem(
                "enrolment",
                "The node has no certificate, and no code to join by.",
                f"collective invite generate --for node at its coordinator, and put the code into {where}",
                ExitCode.NOT_REACHABLE,
            )
        ]

    # --- what runs -------------------------------------------------------------------------------

    async def _process(self) -> list[Finding]:
        it = self._it
        listening = listening_addresses(it.settings)
        metrics = listening.pop("metrics_address", None)
        found, is_running = [], False
        for setting, address in listening.items():
            near = address.near
            seen = await probing.look(near)
            if seen.answer is Answer.MEMBER:
                is_running = True
                found.append(fine("listening", f"{setting}: {address} is served."))
                continue
            if seen.answer in {Answer.NO_TLS, Answer.OTHER_TLS}:
                found.append(
                    problem(
                        "port",
                        f"{setting}: something else listens on {address}.",
                        f"see what (ss -ltnp 'sport = :{address.port}'), end it, or change the port",
                        ExitCode.USAGE,
                    )
                )
                continue
            if seen.answer is Answer.MUTE:
                says = f"{address} accepts connections and answers nothing: the process hangs?"
            else:
                says = f"nothing listens on {address}: the process does not run."
            found.append(
                problem(
                    "process",
                    f"{setting}: {says}",
                    self._how_to_start(is_there=seen.answer is Answer.MUTE),
                    ExitCode.NOT_REACHABLE,
                )
            )
        if metrics is not None and is_running:
            found += await self._health(metrics.near)
        return found

    def _how_to_start(self, *, is_there: bool) -> str:
        if not self._it.place.is_for_units:
            command = self._it.place.commands()[0]
            return f"end it (kill -9), and start it again: {command}" if is_there else command
        unit = f"collective-{self._it.place.name}"
        return f"systemctl restart {unit}; to see why it ended: journalctl -u {unit} -n 20"

    async def _health(self, metrics: Address) -> list[Finding]:
        try:
            status, body = ask(metrics, "/readyz", timeout_s=probing.TIMEOUT_S)
        except UnreachableError as error:
            text = "something else may have its port; the process serves all the same"
            return [warning("health", error.message, text)]
        if status == _OK:
            return [fine("health", "The process is ready, and takes writes.")]
        return [
            problem("health", line, "do what it says; docs/operations.md, Health, has more")
            for line in body.splitlines()
        ]

    async def _addresses(self) -> list[Finding]:
        settings = self._it.settings
        listening, found = main_listener(settings), []
        if listening is not None:
            found += await machine.advertised(settings.advertise_addresses, listening)
        if settings.bootstrap_address is not None:
            told = settings.bootstrap_advertise_addresses
            found += await machine.advertised(told, settings.bootstrap_address)
        if settings.roles == {"node"} and settings.coordinator_address is not None:
            seen = await probing.look(settings.coordinator_address)
            if seen.answer is not Answer.MEMBER:
                found.append(
                    problem(
                        "reachable",
                        f"The coordinator does not answer at {settings.coordinator_address}:"
                        f" {seen.answer.value}.",
                        "see that it runs, and that no firewall is between",
                        ExitCode.NOT_REACHABLE,
                    )
                )
        return [one for one in found if one.level is not Level.OK]

    # --- backups ---------------------------------------------------------------------------------

    def _backups(self, now_s: float, backup: str | None) -> list[Finding]:
        age_s = owners.age_s(posixpath.join(self._it.data_dir, SNAPSHOTS), now_s)
        found = []
        if age_s is None:
            found.append(
                warning(
                    "snapshot",
                    "The catalogue has no snapshot yet, so a backup taken now holds nothing sure.",
                    f"wait for one ({self._it.settings.snapshot_interval_s:g} s after a change)",
                )
            )
        else:
            found.append(fine("snapshot", f"The newest snapshot is {machine.span(age_s)} old."))
        if backup is None:
            found.append(
                warning(
                    "backup",
                    "The age of the newest backup is not known: no backup was named.",
                    "back up data dir and cert dir, and say --backup FILE-OR-FOLDER here",
                )
            )
            return found
        return [*found, _of_backup(backup, now_s)]


def version_findings(running: str) -> list[Finding]:
    """Compare what runs with what is installed."""
    if running == __version__:
        return [fine("version", f"Version {running} runs, as installed.")]
    return [
        warning(
            "version",
            f"Version {running} runs, and {__version__} is installed here.",
            "restart it if it is this machine's own; else update the older one",
        )
    ]


def _of_backup(path: str, now_s: float) -> Finding:
    try:
        newest = newest_backup(path, now_s)
    except PermissionError as error:
        return owners.shut("backup", error)
    if newest is None:
        says = f"There is no backup at {path}."
        return problem("backup", says, "tar data dir and cert dir there, also by a timer")
    says = f"The newest backup, {newest.path}, is {machine.span(max(0.0, newest.age_s))} old"
    if newest.has_snapshot is False:
        says = f"Nothing at {path} holds a whole snapshot of a catalogue."
        return problem("backup", says, "take another of the coordinator's whole data dir")
    if newest.has_snapshot is None:
        says += "; what is in it cannot be seen from here"
    if newest.age_s > BACKUP_OLD_S:
        return problem("backup", f"{says}.", "take one: tar data dir and cert dir")
    return fine("backup", f"{says}.")
