"""What one member has decided about others: who is a peer, and which grants their people have.

The judge's own memory, in the terms of the model of files: a key holds a value, a change that was cut off
may be either way until it is seen, and a catalogue that is put back holds what it held then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from collective.core.ids import Domain, SpiffeId
from collective.model.rights import Right
from tests.simulation.clients import Desk
from tests.simulation.model import Change, Files, Value, Watch

PEER = 1
"""The value of a domain that is a peer; None for one that is not."""
HEARD_S = 20.0
"""So long after two are peers for certain no end of before is heard any more."""


@dataclass(frozen=True, slots=True)
class Giving:
    """Who gives whom rights on which datastore; which rights is what is kept of it."""

    top: str
    receiver: SpiffeId
    giver: SpiffeId

    @property
    def key(self) -> str:
        """What it is kept under."""
        return f"grant {self.top} {self.receiver} {self.giver}"


def peer_key(domain: Domain) -> str:
    """Return what a peering is kept under."""
    return f"peer {domain}"


class Pending:
    """A change of several keys that is under way."""

    def __init__(self, desk: Desk, register: Files, values: Mapping[str, Value]) -> None:
        """Begin it."""
        self._desk = desk
        self._register = register
        self._restores = desk.restores
        self.changes = [register.begin(key, value) for key, value in values.items()]

    def done(self) -> None:
        """Hear that it was acknowledged."""
        self._end(Files.done)

    def refused(self) -> None:
        """Hear that it had no effect."""
        self._end(Files.refused)

    def cut_off(self, *, but: str = "") -> None:
        """Hear that nobody knows, but of the key ``but``, which it left as it was."""

        def act(register: Files, change: Change) -> None:
            (Files.refused if change.path == but else Files.cut_off)(register, change)

        self._end(act)

    def _end(self, act: Callable[[Files, Change], None]) -> None:
        for change in self.changes:
            if self._restores != self._desk.restores:  # it may come after the restore
                again = self._register.begin(change.path, change.value)
                self._register.cut_off(again)
            else:
                act(self._register, change)


class Watching:
    """What the owner's grants to one person may have been since a call of theirs began."""

    def __init__(self, ledger: Ledger, who: SpiffeId) -> None:
        """Begin to watch."""
        self._register = ledger.register
        domain = who.trust_domain
        self.peer = self._register.watch(peer_key(domain))
        receivers = {who, SpiffeId.coordinator(domain)}
        self._grants: dict[str, list[Watch]] = {}
        for giving in ledger.givings:
            if giving.receiver in receivers:
                watch = self._register.watch(giving.key)
                self._grants.setdefault(giving.top, []).append(watch)

    def close(self) -> None:
        """End watching; what was seen stays."""
        for watch in (self.peer, *(one for found in self._grants.values() for one in found)):
            self._register.unseen(watch)

    def certain(self, top: str) -> Right:
        """Return the rights on ``top`` that were there all the time."""
        if self.peer.values != {PEER}:
            return Right.NONE
        found = Right.NONE
        for watch in self._grants.get(top, ()):
            each = Right.READ | Right.WRITE | Right.SHARE
            for value in watch.values:
                each &= Right(value or 0)
            found |= each
        return found

    def possible(self, top: str) -> Right:
        """Return the rights on ``top`` that may have been there at some moment."""
        if PEER not in self.peer.values:
            return Right.NONE
        found = Right.NONE
        for watch in self._grants.get(top, ()):
            for value in watch.values:
                found |= Right(value or 0)
        return found


class Ledger:
    """One member's decisions about others."""

    def __init__(self, desk: Desk, own: Domain, now_s: Callable[[], float]) -> None:
        """Know of none."""
        self.own = own
        self.register = Files(now_s)
        self.givings: list[Giving] = []
        self._passing: frozenset[Giving] = frozenset()
        self._desk = desk
        self._endings: dict[Domain, Pending] = {}
        """By domain, the end of a peering that the other side may have decided, and that may come at any time."""
        self._ending_s: dict[Domain, float] = {}

    def expect(
        self,
        domains: Iterable[Domain],
        givings: Iterable[Giving],
        passing: Iterable[Giving] = (),
    ) -> None:
        """Keep account of these from now on: nothing else may ever be given to others.

        ``passing``: those with which the receiver passes rights on, one for each who does.
        """
        self._passing = frozenset(passing)
        for domain in domains:
            self.register.may_be(peer_key(domain))
        for giving in givings:
            self.givings.append(giving)
            self.register.may_be(giving.key)

    def begin(self, values: Mapping[str, Value]) -> Pending:
        """Begin to change several keys at once."""
        return Pending(self._desk, self.register, values)

    def without(self, domain: Domain) -> dict[str, Value]:
        """Return the end of a peering: with it all grants to people of ``domain`` end."""
        ended: dict[str, Value] = {peer_key(domain): None}
        for giving in self.givings:
            if domain in {giving.receiver.trust_domain, giving.giver.trust_domain}:
                ended[giving.key] = None
        return ended

    def restored(self, from_s: float, until_s: float) -> None:
        """Note that all of it is now as it was at some moment between the two.

        An end that was heard after that is not known any more, and may be heard again: what was kept of it
        is forgotten, and :meth:`expect_end` keeps account of it anew.
        """
        self._endings.clear()
        self.register.restored(from_s, until_s)

    # --- what others end ---------------------------------------------------------------------------

    def may_have_ended(self, domain: Domain) -> bool:
        """Tell whether ``domain`` may be no peer by what was decided here."""
        ending = self._endings.get(domain)
        return None in self.register.may_be_without(
            peer_key(domain), () if ending is None else ending.changes
        )

    def expect_end(self, domain: Domain, *, may_come: bool, now_s: float) -> None:
        """Take into account that ``domain`` has ended the peering, or not: then it ends here when that is heard."""
        if may_come:
            self._ending_s[domain] = now_s
            if domain not in self._endings:
                self._endings[domain] = self.begin(self.without(domain))
        elif domain in self._endings and self._ending_s[domain] + HEARD_S < now_s:
            self._endings.pop(domain).refused()

    def peered(self, domain: Domain) -> None:
        """Hear that both have peered anew: an end from before does not come any more.

        It may have come before that, with the end of the grants.
        """
        if domain in self._endings:
            self._endings.pop(domain).cut_off(but=peer_key(domain))

    def ended(self, domain: Domain) -> None:
        """Hear that the peering has ended here, whoever ended it."""
        if domain in self._endings:
            self._endings.pop(domain).done()

    def is_given(self, giving: Giving) -> bool:
        """Tell whether a right is certainly given now."""
        return None not in self.may_be(giving.key)

    def is_passing(self, giving: Giving) -> bool:
        """Tell whether a right is given to be passed on."""
        return giving in self._passing

    def passed_on(self, giving: Giving) -> list[Giving]:
        """Return what was given by the receiver of ``giving``, and by whom that was given to: it ends with it."""
        if giving not in self._passing:
            return []
        below = [
            one for one in self.givings if (one.top, one.giver) == (giving.top, giving.receiver)
        ]
        return [*below, *(last for one in below for last in self.passed_on(one))]

    def may_be(self, key: str) -> frozenset[Value]:
        """Return what a key may hold now."""
        return self.register.may_be(key)

    def is_peer(self, domain: Domain) -> bool:
        """Tell whether ``domain`` is certainly a peer now."""
        return self.may_be(peer_key(domain)) == {PEER}

    def certain(self, who: SpiffeId, top: str) -> Right:
        """Return the rights that a person of another member certainly has now."""
        watching = Watching(self, who)
        watching.close()
        return watching.certain(top)

    def possible(self, who: SpiffeId, top: str) -> Right:
        """Return the rights that a person of another member may have now."""
        watching = Watching(self, who)
        watching.close()
        return watching.possible(top)


def settle(register: Files, key: str, value: Value) -> bool:
    """Take what a key was seen to hold for what it holds; tell whether that may be."""
    return register.seen(register.watch(key), value)
