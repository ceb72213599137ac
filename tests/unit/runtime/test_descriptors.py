from __future__ import annotations

import resource

from collective.core.open_files import RAISED_MAX, raise_limit
from collective.core.settings import ServeSettings
from collective.core.units import Address
from collective.roles.runtime.descriptors import wanted

HERE = Address("127.0.0.1", 1)


def test_the_soft_limit_becomes_the_hard_one() -> None:
    taken: list[tuple[int, int]] = []
    assert raise_limit(lambda: (1024, 20_000), taken.append) == 20_000
    assert taken == [(20_000, 20_000)]


def test_a_limit_that_is_high_enough_or_cannot_be_raised_is_left_alone() -> None:
    def refuse(_: tuple[int, int]) -> None:
        raise ValueError

    assert raise_limit(lambda: (4096, 4096), refuse) == 4096
    assert raise_limit(lambda: (1024, 4096), refuse) == 1024
    infinite = resource.RLIM_INFINITY
    assert raise_limit(lambda: (infinite, infinite), refuse) == RAISED_MAX
    assert raise_limit(lambda: (1024, infinite), lambda _: None) == RAISED_MAX


def test_every_listener_and_role_is_counted() -> None:
    node = wanted(ServeSettings(roles=frozenset(("node",)), node_address=HERE))
    bare = wanted(ServeSettings(roles=frozenset(("coordinator",)), coordinator_address=HERE))
    with_bootstrap = wanted(
        ServeSettings(
            roles=frozenset(("coordinator",)), coordinator_address=HERE, bootstrap_address=HERE
        )
    )
    alone = wanted(ServeSettings(roles=frozenset(("bootstrap",)), bootstrap_address=HERE))
    assert node == bare > 1024
    assert with_bootstrap > bare
    assert alone < 1024, "a bootstrap runs by the usual limit"
