"""What all work of care uses besides what it cares for."""

from __future__ import annotations

from dataclasses import dataclass

from collective.core.clock import Clock
from collective.core.randomness import Randomness
from collective.member.metrics import MemberMetrics
from collective.member.wakes import Wakes


@dataclass(frozen=True, slots=True)
class CareTools:
    """Counters, wakes, time and chance."""

    metrics: MemberMetrics
    wakes: Wakes
    clock: Clock
    randomness: Randomness
