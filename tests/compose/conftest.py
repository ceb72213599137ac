"""One engine for all tests of the example, and one federation for each module."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.compose.engine import Engine, NoEngineError, running_engine
from tests.compose.person import Person


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with running_engine() as engine:
            for line in engine.left_out:
                sys.stderr.write(f"compose: left out: {line}\n")
            yield engine
    except NoEngineError as error:
        pytest.skip(f"compose: left out, no container engine: {error}")


@pytest.fixture(scope="module")
def person(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Person]:
    """Somebody on the host, before anything was started; whatever they left is removed after."""
    engine.compose("down", "-v", "--remove-orphans")
    person = Person.at(engine, request.module.__name__.rpartition(".")[2])
    yield person
    engine.compose("down", "-v", "--remove-orphans")
