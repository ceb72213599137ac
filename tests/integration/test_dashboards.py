"""Rules and dashboards of ``compose/``: each query is asked of a Prometheus that watched a federation at work."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Self

import pytest

from tests.integration.cluster import PATIENCE_S, Cluster
from tests.integration.federation.houses import Houses, Person, running_houses
from tests.integration.material import Material
from tests.integration.ports import free_port
from tests.integration.processes import wait_for

COMPOSE: Final = Path(__file__).parents[2] / "compose"
RULES: Final = COMPOSE / "prometheus"
DASHBOARDS: Final = sorted((COMPOSE / "grafana" / "dashboards").glob("*.json"))
VARIABLES: Final = {"$__rate_interval": "15s", "$member": ".*", "$node": ".*"}

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None or shutil.which("promtool") is None,
    reason="prometheus is not installed",
)


def promtool(*arguments: str) -> str:
    done = subprocess.run(
        ["promtool", *arguments],
        cwd=RULES,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_alerts_fire_where_they_should_and_nowhere_else() -> None:
    promtool("check", "rules", "rules.yml", "alerts.yml")
    promtool("check", "config", "prometheus.yml")
    promtool("test", "rules", "tests.yml")


def test_each_alert_says_what_to_do_and_is_tested() -> None:
    alerts = (RULES / "alerts.yml").read_text().split("- alert: ")[1:]
    tested = (RULES / "tests.yml").read_text()
    assert len(alerts) > 15
    for alert in alerts:
        name = alert.split("\n", 1)[0]
        assert re.search(r"^ +summary: '.+'$", alert, re.MULTILINE), name
        assert re.search(r"^ +action: '.+'$", alert, re.MULTILINE), name
        assert f"alertname: {name}\n" in tested, name


def builder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "dashboards_build", COMPOSE / "grafana" / "build.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_dashboards_are_what_the_code_says(monkeypatch: pytest.MonkeyPatch) -> None:
    build = builder(monkeypatch)
    assert [path.stem for path in DASHBOARDS] == sorted(build.DASHBOARDS)
    for path in DASHBOARDS:
        assert path.read_text() == build.text(path.stem), "run: python compose/grafana/build.py"


@contextmanager
def prometheus(folder: Path, houses: Houses) -> Iterator[str]:
    """Yield the address of a Prometheus with the example's own file, but for where targets are, and how often."""
    config = (RULES / "prometheus.yml").read_text()
    config = config.replace("_interval: 15s", "_interval: 1s").replace(
        "_timeout: 10s", "_timeout: 1s"
    )
    nodes = ""
    for member in ("alice", "bob", "carol"):
        target = f"{member}-coordinator:9090"
        assert target in config
        if member not in houses.members:
            config = re.sub(rf" +- targets: \[{target}\]\n.*\n", "", config)
            continue
        cluster = houses[member]
        config = config.replace(target, f"127.0.0.1:{cluster.coordinator.metrics_port}")
        places = ", ".join(f"127.0.0.1:{node.metrics_port}" for node in cluster.nodes)
        nodes += f"      - targets: [{places}]\n        labels: {{member: {member}}}\n"
    config, count = re.subn(
        r"    dns_sd_configs:\n(?:      .*\n)+", f"    static_configs:\n{nodes}", config
    )
    assert count == 1
    folder.mkdir()
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(RULES / name, folder)
    (folder / "prometheus.yml").write_text(config)
    port = free_port()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder}/prometheus.yml",
                f"--storage.tsdb.path={folder}/data",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def ask(address: str, query: str) -> list[Any]:
    url = f"{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return list(json.load(answer)["data"]["result"])
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 503:
                return []  # it is starting
            raise AssertionError(f"{query}: {error.read().decode()}") from error
    except OSError:
        return []  # it is starting


def queries(dashboard: Path) -> Iterator[tuple[str, str]]:
    for panel in json.loads(dashboard.read_text())["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in VARIABLES.items():
                text = text.replace(name, value)
            assert "$" not in text, text
            yield f"{dashboard.stem}: {panel['title']}", text


class Load:
    """People who write, read, ask for what they may not have, and look at what a peer's people have."""

    def __init__(self, alice: Cluster, own: Person, foreign: Person) -> None:
        self._alice = alice
        self._own = own
        self._foreign = foreign
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.failure: BaseException | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        number = 0
        try:
            while not self._over.is_set():
                number += 1
                content = Material(200_000, seed=number).all()
                self._own.cli("write", f"/shared/{number}", stdin=content)
                self._own.cli("read", f"/shared/{number}")
                self._foreign.cli("read", f"/@home.alice/shared/{number}")
                assert self._own.cli("ls", "/secret", check=False).code == 4
        except BaseException as error:  # noqa: BLE001 - told where the load ends
            self.failure = error


@needs_prometheus
def test_no_panel_is_empty_or_wrong_under_load(tmp_path: Path) -> None:
    quick = {"COLLECTIVE_NODE_LOST_AFTER": "12s", "COLLECTIVE_COLLECTION_GRACE": "1s"}
    with running_houses(tmp_path / "houses", "alice", "bob", nodes=4, extra=quick) as houses:
        houses.peer("alice", "bob")
        alice = houses["alice"]
        own = houses.person("alice", "ann", "/shared:read+write")
        foreign = houses.person("bob", "ben", "/bens:read+write")
        own.cli("mkdir", "/shared")
        alice.cli("grant", "add", "/shared:read", "ben@home.bob")
        with prometheus(tmp_path / "prometheus", houses) as address, Load(alice, own, foreign):
            wait_for(lambda: ask(address, "rate(collective_peer_calls_total[15s]) > 0"), "load")
            alice.nodes[3].kill()  # repair has something to do, and then the copies that come back
            wait_for(lambda: ask(address, "collective_repairs_total > 0"), "repair")
            alice.nodes[3].start()
            waiting = {query: title for path in DASHBOARDS for title, query in queries(path)}
            asked = len(waiting)

            def all_answered() -> bool:
                for query in list(waiting):
                    if ask(address, query):
                        del waiting[query]
                return not waiting

            try:
                wait_for(all_answered, "answer to each panel", every_s=0.5)
            except AssertionError:
                raise AssertionError(f"Empty: {waiting}") from None
            assert asked > 45
            assert ask(address, 'ALERTS{alertname="CallsFail", alertstate="firing"}') == []
