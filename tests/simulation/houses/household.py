"""One of several members: a house with a ledger of its peers, and a record of when it was disturbed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from collective.core.ids import Domain, MemberId, SpiffeId
from tests.simulation.clients import Rights
from tests.simulation.disk import Folder
from tests.simulation.house import House
from tests.simulation.houses.ledger import PEER, Ledger, peer_key
from tests.simulation.houses.people import Clerk, Resident, Sharer

if TYPE_CHECKING:
    from collective.pki.credentials import Credentials
    from tests.simulation.clients import Person
    from tests.simulation.houses.federation import Federation

TOPS: Final = {"/media": 2, "/docs": 2}
NODES: Final = 3
INTRODUCTIONS: Final = "introductions"
"""The folder by which members peer that nobody introduces."""
CALM_S: Final = 12.0
"""So long after the last disturbance of a house its own people are served as ever."""
_BOTH: Final = frozenset(TOPS)
RIGHTS: Final = {
    "ann": Rights(_BOTH, _BOTH),
    "ben": Rights(frozenset(("/media",)), frozenset(("/media",))),
    "sam": Rights(frozenset(("/docs",)), frozenset()),
    "clerk": Rights(frozenset(("/docs",)), frozenset(("/docs",))),
}
_ABROAD: Final = frozenset(("ann", "ben"))
"""Who uses other houses."""
SHARER: Final = "sam"
"""Who passes on rights,"""
SHARED: Final = "/media"
"""and on what."""


class Household(House):
    """One member of a federation."""

    def __init__(self, stage: Federation, name: str, introductions: Folder | None = None) -> None:
        """Prepare the member of ``home.NAME``; it peers by the folder of ``introductions`` if there is one."""
        super().__init__(
            stage,
            member=MemberId(name),
            prefix=f"{name}-",
            tops=TOPS,
            rights=RIGHTS,
            nodes=NODES,
        )
        self.neighbours: list[Household] = []
        self.shares_folder = introductions is not None
        """Whether it peers by a folder, without anybody's doing."""
        if introductions is not None:
            self._mount(introductions)
        self.ledger = Ledger(self.desk, self.domain, lambda: self.loop.now_s)
        self.registers.append(self.ledger)
        self.waits_for_all = False
        """Whether its operator waits until all people have been there: nobody does what takes long."""
        self._disturbances = 0
        self._disturbed_s = 0.0
        self.silent_until_s = 0.0
        """Until when connections may stand whose other end lost its power."""

    def _mount(self, introductions: Folder) -> None:
        """Have a folder that all houses see on the coordinator's disk."""
        root = self.member.machine(self.member.coordinator).disk.root
        root.change(INTRODUCTIONS, introductions)
        root.flush()
        self.member.coordinator_settings = replace(
            self.member.coordinator_settings, introductions_dir=f"/{INTRODUCTIONS}"
        )

    @property
    def domain(self) -> Domain:
        """The member's trust domain."""
        return self.member.domain

    @property
    def coordinator(self) -> SpiffeId:
        """The identity of the member's coordinator, for its operator."""
        return SpiffeId.coordinator(self.domain)

    @property
    def sharer(self) -> Person:
        """Who passes on rights to people elsewhere."""
        return next(person for person in self.people if person.name.endswith(SHARER))

    @property
    def residents(self) -> list[Resident]:
        """Return the people of the house that use other houses too."""
        found = [person for person in self.people if isinstance(person, Resident)]
        return [person for person in found if person.name.removeprefix(self.prefix) in _ABROAD]

    def make_person(self, name: str, credentials: Credentials, rights: Rights) -> Person:
        """Return a person that joined."""
        if name.endswith(SHARER):
            return Sharer(name, self.desk, credentials, rights)
        kind = Clerk if name.endswith("clerk") else Resident
        return kind(name, self, credentials, rights)

    def wired(self) -> Any:
        """Return what the coordinator is made of, for the judge; None while it does not run."""
        if self.truth.database() is None:
            return None
        role = self.member.running(self.member.coordinator)
        return role._wired if role._is_ready else None

    # --- who ends what -----------------------------------------------------------------------------

    def restored(self, from_s: float, until_s: float) -> None:
        """Note a restore: who was a peer then may have ended it since, and the other way round."""
        super().restored(from_s, until_s)
        if self.shares_folder:  # of whom nothing was known then, the folder tells anew
            keys = [peer_key(other.domain) for other in self.neighbours]
            strange = [key for key in keys if None in self.ledger.may_be(key)]
            self.ledger.begin(dict.fromkeys(strange, PEER)).cut_off()
        self.expect_ends()

    def expect_ends(self) -> None:
        """Have each side take into account what the other may have ended."""
        for other in self.neighbours:
            for one, two in ((self, other), (other, self)):
                may_come = two.ledger.may_have_ended(one.domain)
                one.ledger.expect_end(two.domain, may_come=may_come, now_s=self.loop.now_s)

    # --- calm ------------------------------------------------------------------------------------

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Have something go wrong in the house itself meanwhile."""
        self._disturbances += 1
        try:
            yield
        finally:
            self._disturbances -= 1
            self._disturbed_s = self.loop.now_s

    def note_disturbance(self) -> None:
        """Note that something went wrong in the house just now."""
        self._disturbed_s = self.loop.now_s

    def is_calm_since(self, at_s: float) -> bool:
        """Tell whether nothing went wrong in the house since ``at_s``, nor shortly before."""
        heartbeat_s = self.member.coordinator_settings.heartbeat_interval_s
        # a coordinator that starts has its nodes with their next heartbeat
        started_s = self.member.started_s[self.member.coordinator] + heartbeat_s
        # nodes that come late are reached with their next heartbeat but one
        came_s = self.nodes_came_s + 2 * heartbeat_s
        is_disturbed = self._disturbances or self.restoring or self.nodes_are_late
        if is_disturbed or not self.member.is_ready(self.member.coordinator):
            return False
        last_s = max(self._disturbed_s, started_s, came_s, self.silent_until_s)
        return last_s + CALM_S < at_s
