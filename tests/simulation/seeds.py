"""What a seed stands for, and one run of it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from tests.simulation.fork import in_child
from tests.simulation.houses.federation import Federation
from tests.simulation.liar import able_to_lie
from tests.simulation.loop import be_quiet, ending_quietly
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


@contextmanager
def prepared(seed: int, minutes: float) -> Iterator[None]:
    """Have the product be as a seed's run needs it."""
    with tuned(is_calm=is_calm(minutes) and not is_of_several(seed)), able_to_lie():
        yield


def run_seed(seed: int, minutes: float = 10.0) -> Result:
    """Run one seed, and collect what it leaves."""
    with prepared(seed, minutes), ending_quietly():
        return stage_of(seed, minutes).run()


def run_apart(
    seed: int, minutes: float, mutant: Callable[[ExitStack], None] | None = None
) -> tuple[Result, float]:
    """Run one seed in a child of this process; return what it came to and the CPU seconds it took.

    Args:
        seed: which.
        minutes: how long, in virtual minutes.
        mutant: changes the product for this run.
    """
    stages: list[Stage] = []  # kept to the end of the child, so that nothing of it is collected

    def run() -> Result:
        sys.unraisablehook = be_quiet
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        with prepared(seed, minutes), ExitStack() as stack:
            if mutant is not None:
                mutant(stack)
            stages.append(stage_of(seed, minutes))
            return stages[0].run()

    try:
        return in_child(run)
    except ChildProcessError as error:
        raise ChildProcessError(f"Seed {seed}: {error}") from error
