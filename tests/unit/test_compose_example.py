"""The Compose example agrees with the package and with itself; no engine is needed for that."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml  # type: ignore[import-untyped]

import collective
from collective.core.ids import MemberId
from collective.core.settings import unknown_variables
from collective.pki.cert_dir import CertDir
from tests.compose.engine import NoEngineError, compose_command

ROOT: Final = Path(__file__).parents[2]
FILE: Final[dict[str, Any]] = yaml.safe_load((ROOT / "compose/docker-compose.yml").read_text())
DOCKERFILE: Final = (ROOT / "compose/Dockerfile").read_text()
SERVICES: Final[dict[str, dict[str, Any]]] = FILE["services"]
OURS: Final = [name for name, service in SERVICES.items() if "build" in service]


def test_the_image_has_the_number_of_the_package_and_no_registry_is_asked_for_it() -> None:
    assert len(OURS) == 6
    for name in OURS:
        assert SERVICES[name]["image"] == f"collective:{collective.__version__}"
        assert SERVICES[name]["pull_policy"] == "build"
    page = (ROOT / "docs/compose.md").read_text()
    numbers = set(re.findall(r"collective:(\d[\w.]*)", page))
    assert numbers == {collective.__version__}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_and_bounded_logs(name: str) -> None:
    service = SERVICES[name]
    assert "healthcheck" in service or (name in OURS and "\nHEALTHCHECK" in DOCKERFILE)
    assert set(service["logging"]["options"]) == {"max-size", "max-file"}


def test_the_image_has_a_folder_of_introductions_for_each_domain() -> None:
    domains = {
        settings["COLLECTIVE_DOMAIN"]
        for service in SERVICES.values()
        if "COLLECTIVE_DOMAIN" in (settings := service.get("environment", {}))
    }
    told = re.search(r'^ARG DOMAINS="(.*)"$', DOCKERFILE, re.MULTILINE)
    assert told
    assert set(told[1].split()) == domains
    for name in OURS:
        assert SERVICES[name]["build"]["args"]["DOMAINS"] == f"${{DOMAINS:-{told[1]}}}"


@pytest.mark.parametrize("member", ["alice", "bob", "carol"])
def test_a_command_in_a_coordinators_container_is_the_operators(member: str) -> None:
    service = SERVICES[f"{member}-coordinator"]
    place = CertDir("/collective/certs", MemberId(member))
    told = service["environment"]
    assert told["COLLECTIVE_CA"] == place.ca_certificate
    assert told["COLLECTIVE_CERT"] == place.coordinator_certificate
    assert told["COLLECTIVE_KEY"] == place.coordinator_key
    assert unknown_variables(told) == ()
    assert f"{member}-certs:/collective/certs" in service["volumes"]


def tools(folder: Path, *names: str, has_plugin: bool) -> dict[str, str]:
    """Return an environment in which there are programs of ``names`` alone."""
    for name in names:
        (folder / name).write_text(f"#!/bin/sh\nexit {0 if has_plugin else 1}\n")
        (folder / name).chmod(0o755)
    return {"PATH": str(folder)}


@pytest.mark.parametrize(
    ("names", "has_plugin", "command"),
    [
        (["docker"], True, ["docker", "compose"]),
        (["docker", "docker-compose"], True, ["docker", "compose"]),
        (["docker", "docker-compose"], False, ["docker-compose"]),
    ],
)
def test_either_compose_will_do(
    names: list[str], has_plugin: bool, command: list[str], tmp_path: Path
) -> None:
    assert compose_command(tools(tmp_path, *names, has_plugin=has_plugin)) == command


@pytest.mark.parametrize("names", [[], ["docker"], ["docker-compose"]])
def test_without_either_the_tests_are_left_out(names: list[str], tmp_path: Path) -> None:
    with pytest.raises(NoEngineError):
        compose_command(tools(tmp_path, *names, has_plugin=False))
