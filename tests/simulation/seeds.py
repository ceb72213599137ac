"""What a seed stands for, and one run of it."""

from __future__ import annotations

from typing import Final

from tests.simulation.houses.federation import Federation
from tests.simulation.liar import able_to_lie
from tests.simulation.loop import ending_quietly
from tests.simulation.pace import is_calm
from tests.simulation.scenario import Scenario
from tests.simulation.stage import Result, Stage
from tests.simulation.tuning import tuned

OF_SEVERAL: Final = 1_000_000
"""Seeds above are of several members, those up to it of one."""


def is_of_several(seed: int) -> bool:
    """Tell whether a seed's run has several members."""
    return seed > OF_SEVERAL


def stage_of(seed: int, minutes: float) -> Stage:
    """Return the run of a seed."""
    return Federation(seed, minutes) if is_of_several(seed) else Scenario(seed, minutes)


def run_seed(seed: int, minutes: float = 10.0) -> Result:
    """Run one seed."""
    with tuned(is_calm=is_calm(minutes) and not is_of_several(seed)), able_to_lie():
        return run_here(seed, minutes)


def run_here(seed: int, minutes: float) -> Result:
    """Run one seed where everything is tuned already, and collect what it leaves."""
    with ending_quietly():
        return stage_of(seed, minutes).run()
