"""How densely a run is filled: a busy one lasts for minutes, a calm one for days.

In a busy run people and faults leave no rest, and whatever a member does now and then it does often.  In a
calm one there are hours between two faults, nobody works at night, and the member has the settings of a
quiet house, so that what only days bring takes place: certificates end, keys and the CA are replaced, codes
are forgotten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final

DAY_S: Final = 86_400.0
ROTATION_PAUSE_S: Final = 2 * DAY_S
"""Between two replacements of the CA, in a calm run."""
CALM_FROM_MINUTES: Final = 1440.0
"""Runs that last a day or longer are calm."""
NIGHT_FROM_S: Final = 16 * 3600.0
"""Of each day; until it ends people rest."""

BUSY_MINUTES: Final = 10.0
"""What a busy run must reach is said for so many minutes."""
CALM_DAYS: Final = 10.0
"""And what a calm one must, for so many days."""

_CALM_SETTINGS: Final[dict[str, Any]] = {
    "heartbeat_interval_s": 120.0,
    "node_suspect_after_s": 270.0,
    "node_down_after_s": 390.0,
    "node_lost_after_s": 660.0,
    "collection_grace_s": 600.0,
    "snapshot_interval_s": 300.0,
    "scrub_cycle_s": DAY_S,
    "certificate_lifetime_s": 3 * DAY_S,
    "join_code_validity_s": DAY_S / 4,
}


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace of one run; times in seconds."""

    acts_a_minute: float
    """Acknowledged acts of all people together that a run is to have."""
    rarer: float
    """How many times longer the rests are than in a run of ten minutes."""
    pause_s: float
    """How long a person rests between two acts, while there are about as many as there are to be."""
    fault_pause_s: float
    """Between two faults, on average."""
    acknowledged_least: float
    """Operations that a run has acknowledged at least."""
    faults_least: float
    """Faults that a run has at least: where they were fewer, faults go on for longer."""
    counted_least: dict[str, int] = field(default_factory=dict)
    """What else a run counts at least."""
    stretch: float = 1.0
    """How many times longer a fault lasts, as nodes are missed so many times later."""
    backup_age_most_s: float = 60.0
    """How old a backup of the coordinator is when it is put back; mostly it is young."""
    nodes_most: float = math.inf
    """With more nodes, those that are drained included, none takes another's place before some are gone."""
    losable_until_s: float = math.inf
    """Until when the whole catalogue may be lost: what it keeps for a week can end only after that."""
    settle_s: float = 1500.0
    """How long a member that is left in peace may take until nothing is left to do."""
    look_s: float = 10.0
    """Between two looks whether nothing is left to do."""
    is_calm: bool = False
    """Whether it lasts for days: people rest at night, and the operator has the CA replaced now and then."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What the member's settings have in the place of a busy member's."""

    def until_morning_s(self, now_s: float) -> float:
        """Return for how long people rest at this moment, whatever is due."""
        hour_s = now_s % DAY_S
        return DAY_S - hour_s if self.is_calm and hour_s >= NIGHT_FROM_S else 0.0


def is_calm(minutes: float) -> bool:
    """Tell whether a run of ``minutes`` is calm."""
    return minutes >= CALM_FROM_MINUTES


def pace_of(minutes: float) -> Pace:
    """Return the pace of a run of ``minutes``."""
    return _calm(minutes) if is_calm(minutes) else busy(minutes)


def busy(minutes: float) -> Pace:
    """Return the pace of a busy run; the longer it is, the longer are the rests in it.

    It has more acts and faults than a shorter one, and not as many more as it is longer.
    """
    rarer = math.sqrt(max(1.0, minutes / BUSY_MINUTES))
    part = min(1.0, minutes / BUSY_MINUTES)
    return Pace(
        acts_a_minute=20.0 / rarer,
        rarer=rarer,
        pause_s=6.0 * rarer,
        fault_pause_s=17.0 * rarer,
        acknowledged_least=200 * part,
        faults_least=10 * part,
    )


def _calm(minutes: float) -> Pace:
    part = minutes * 60 / (CALM_DAYS * DAY_S)
    least = {
        "restarts": 40,
        "certificates renewed": 12,
        "ticket keys made": 500,
        "CAs replaced": 1,
        "snapshots": 1500,
    }
    return Pace(
        acts_a_minute=0.12,
        rarer=150.0,
        pause_s=900.0,
        fault_pause_s=2400.0,
        acknowledged_least=1000 * part,
        faults_least=120 * part,
        counted_least={what: math.floor(count * part) for what, count in least.items()},
        stretch=6.0,
        backup_age_most_s=4 * 3600.0,
        nodes_most=6,
        losable_until_s=1.5 * DAY_S,
        settle_s=6 * 3600.0,
        look_s=60.0,
        is_calm=True,
        settings=_CALM_SETTINGS,
    )
