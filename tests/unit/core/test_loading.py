"""Imports at less cost: what is pretended to be missing is so only meanwhile."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys

import pytest

from collective.core.loading import as_if_missing


def test_a_module_is_missing_only_inside() -> None:
    before = importlib.import_module("json.tool")
    with as_if_missing("json.tool"), pytest.raises(ImportError):
        importlib.import_module("json.tool")
    assert importlib.import_module("json.tool") is before


def test_a_module_that_was_never_loaded_can_be_loaded_afterwards() -> None:
    sys.modules.pop("this_is_none", None)
    with as_if_missing("this_is_none"):
        pass
    assert "this_is_none" not in sys.modules


def test_a_process_that_serves_does_not_load_what_draws_in_colours() -> None:
    asked = (
        "import sys, json\n"
        "from collective.cli import serve\n"
        "try: serve.serve(role=['coordinator'], config=None, data_dir='/nowhere')\n"
        "except BaseException: pass\n"
        "print(json.dumps(['structlog' in sys.modules, 'rich' in sys.modules]))\n"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout.splitlines()[-1]) == [True, False]
