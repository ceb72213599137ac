"""Each way past the world is found, and what only looks like one is not."""

from __future__ import annotations

import pytest

from tests.lint import world
from tests.lint.world import ALLOWED, FORBIDDEN, FORBIDDEN_METHODS, findings, idle_grants, uses


def kinds(source: str) -> set[str]:
    return {kind for _, _, kind in uses(source)}


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import time\ntime.time()", world.CLOCK),
        ("import time as t\nt.monotonic()", world.CLOCK),
        ("from time import sleep", world.CLOCK),
        ("import datetime as dt\ndt.datetime.now(dt.UTC)", world.CLOCK),
        ("from datetime import datetime\ndatetime.utcnow()", world.CLOCK),
        ("from datetime import datetime as moment\nmoment.now()", world.CLOCK),
        ("import random", world.CHANCE),
        ("from random import Random", world.CHANCE),
        ("import secrets\nsecrets.token_hex()", world.CHANCE),
        ("import os\nos.urandom(8)", world.CHANCE),
        ("from os import urandom", world.CHANCE),
        ("import uuid\nuuid.uuid4()", world.CHANCE),
        ("import socket", world.NETWORK),
        ("import asyncio\nasyncio.open_connection('h', 1)", world.NETWORK),
        ("def f(loop):\n    return loop.create_connection(None)", world.NETWORK),
        ("import threading\nthreading.Thread(target=print)", world.THREADS),
        ("from threading import Thread as T\nT()", world.THREADS),
        ("from concurrent.futures import ThreadPoolExecutor", world.THREADS),
        ("import concurrent.futures", world.THREADS),
        ("import asyncio\nasyncio.to_thread(print)", world.THREADS),
        ("import asyncio\nrun = asyncio.to_thread", world.THREADS),
        ("def f(loop):\n    loop.run_in_executor(None, print)", world.THREADS),
        ("import asyncio\nasyncio.get_running_loop().run_in_executor(None, print)", world.THREADS),
        ("import aiofiles.os", world.THREADS),
        ("import subprocess", world.PROCESS),
        ("open('x')", world.DISK),
        ("with open('x') as file:\n    pass", world.DISK),
        ("read = open", world.DISK),
        ("import io\nio.open('x')", world.DISK),
        ("import os\nos.open('x', 0)", world.DISK),
        ("import os\nos.path.exists('x')", world.DISK),
        ("from os import path\npath.exists('x')", world.DISK),
        ("import tempfile", world.DISK),
        ("from cryptography import x509\nx509.random_serial_number()", world.KEYS),
        ("from collective.core.clock import SystemClock", world.REAL),
        ("def f():\n    from collective.core.disk import OsDisk", world.REAL),
        ("from collective.core.world import real_world", world.REAL),
        ("from collective.rpc.tls_links import TlsLinks", world.REAL),
    ],
)
def test_a_way_past_the_world_is_found(source: str, kind: str) -> None:
    assert kinds(source) == {kind}


@pytest.mark.parametrize("name", [name for name in FORBIDDEN if "." in name])
def test_every_name_is_found_however_it_is_imported(name: str) -> None:
    module, _, last = name.rpartition(".")
    kind = FORBIDDEN[name]
    assert kinds(f"from {module} import {last} as x") == {kind}
    assert kinds(f"import {module} as m\nm.{last}") == {kind}
    assert kinds(f"import {module}\n{name}") == {kind}


@pytest.mark.parametrize("name", FORBIDDEN_METHODS)
def test_every_method_of_a_loop_is_found_on_whatever_it_is_called(name: str) -> None:
    assert kinds(f"self.anything().{name}()") == {FORBIDDEN_METHODS[name]}


@pytest.mark.parametrize(
    "source",
    [
        "def f(clock):\n    return clock.time()",
        "def f(disk):\n    return disk.open('x', 'read')",
        "time = 3\nuuid = time",
        "import asyncio\nasyncio.sleep(1)",
        "import threading\nthreading.Lock()",
        "import datetime as dt\ndt.datetime.fromtimestamp(1, dt.UTC)",
        "import os\nos.path.join('a', 'b')\nos.environ",
        "from collective.core.clock import Clock",
        "class File:\n    def open(self):\n        return self.open",
    ],
)
def test_what_is_none_is_not_taken_for_one(source: str) -> None:
    assert kinds(source) == set()


def test_a_module_may_use_what_it_is_allowed_and_nothing_else() -> None:
    allowed = {"a/": ("clock", "why"), "b.py": ("disk", "why")}
    source = "import time\nopen('x')"
    assert [one.kind for one in findings("a/x.py", source, allowed)] == ["disk"]
    assert [one.kind for one in findings("b.py", source, allowed)] == ["clock"]
    assert [one.line for one in findings("c.py", source, allowed)] == [1, 2]


def test_an_allowance_that_nothing_needs_is_found() -> None:
    sources = {"a/x.py": "import time", "b.py": "open('x')"}
    allowed = {"a/": ("clock disk", "why"), "b.py": ("disk", "why"), "gone.py": ("disk", "why")}
    assert idle_grants(sources, allowed) == [("a/", "disk"), ("gone.py", "disk")]


def test_every_allowance_has_its_reason() -> None:
    assert all(reason for _, reason in ALLOWED.values())
