"""A real Prometheus scrapes both ends, and its tools read the pages, the rules and the configuration."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.helpers import pog
from tests.helpers.origin import Origins, echo, unused_port
from tests.helpers.process import ROOT, Program
from tests.helpers.user import Address, connect, get
from tests.helpers.watch import eventually
from tests.system.conftest import Tool, program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.conftest import Pair

DEPLOY = ROOT / "deploy" / "prometheus"
TUNNELS = 7
STARTED = "grpc_io_(server|client)_started_rpcs"
# Names that promtool has something to say about and that are the original's.
ORIGINALS = {"tunnelling_connections_total"}


class Prometheus:
    """A running one; `query` asks it as Grafana does."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def ask(self, path: str, **fields: str) -> Any:
        status, text = get(self._address, f"/api/v1/{path}?{urllib.parse.urlencode(fields)}")
        assert status == 200, text
        return json.loads(text)["data"]

    def query(self, expression: str) -> dict[str, float]:
        """Value by job."""
        found = self.ask("query", query=expression)["result"]
        return {each["metric"].get("job", ""): float(each["value"][1]) for each in found}


@pytest.fixture
def prometheus(pair: Pair, tmp_path: Path) -> Iterator[Prometheus]:
    """Ours, with the configuration that is deployed, but for the addresses and the pace."""
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
    config["rule_files"] = [str(DEPLOY / "alerts.yml")]
    targets = {"pog-server": pair.server.host_port, "pog-client": pair.client.host_port}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    address = ("127.0.0.1", unused_port())
    running = Program(
        [
            program("prometheus"),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            "--web.listen-address={}:{}".format(*address),
        ]
    )
    with running:
        running.wait_line("Server is ready to receive web requests")
        yield Prometheus(address)


def test_both_ends_are_scraped_while_tunnels_are_open(pair: Pair, origins: Origins, prometheus: Prometheus) -> None:
    def both(expression: str, value: float) -> None:
        assert prometheus.query(expression) == {"pog-server": value, "pog-client": value}

    target = origins.start(echo).host_port
    eventually(lambda: both("up", 1), 30)  # it takes up its targets every 5 s
    with ExitStack() as stack:
        for _ in range(TUNNELS):
            tunnel = stack.enter_context(connect(pair.client.address, target))
            tunnel.send(bytes(1000))
            tunnel.receive(1000)
        eventually(lambda: both("tunnelling_connections_total", TUNNELS))
        eventually(lambda: both('tunnels{state="open"}', TUNNELS))
        eventually(lambda: both('tunnel_bytes_total{direction="down"} >= bool 7000', 1))
        # It takes OpenMetrics, where counters must end with _total; these do not.
        eventually(lambda: both(f'sum by (job) ({{__name__=~"{STARTED}"}}) >= bool {TUNNELS}', 1))
    eventually(lambda: both("tunnelling_connections_total", 0))
    groups = prometheus.ask("rules")["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
    assert {each["health"] for each in prometheus.ask("targets")["activeTargets"]} == {"up"}


@pytest.mark.parametrize("end", ["client", "server"])
def test_promtool_has_nothing_to_say_about_names_of_ours(pair: Pair, end: str) -> None:
    check_names(get(getattr(pair, end).address, "/metrics")[1])


def check_names(page: str) -> None:
    said = subprocess.run([program("promtool"), "check", "metrics"], input=page, capture_output=True, text=True)
    named = {line.split()[0] for line in (said.stdout + said.stderr).splitlines()}
    assert {name for name in named - ORIGINALS if not name.startswith("grpc_io_")} == set(), said.stderr
    # It did read the page.
    assert "tunnelling_connections_total" in named


def test_promtool_reads_a_page_with_both_ends(pair: Pair, origins: Origins) -> None:
    client = pog.client(pair.server.host_port, {"MUX_SERVER_METRICS": "1"})
    with client.program, connect(client.address, origins.start(echo).host_port):
        page = get(client.address, "/metrics")[1]
    assert 'tunnels_opened_total{end="server"}' in page
    check_names(page)


def test_the_rules(run: Tool) -> None:
    said = run("promtool", "check", "rules", str(DEPLOY / "alerts.yml"))
    assert re.search(r"SUCCESS: \d+ rules found", said)
    assert "SUCCESS" in run("promtool", "test", "rules", str(ROOT / "tests" / "system" / "alerts_test.yml"))


def test_every_rule_has_a_case() -> None:
    rules = {
        rule["alert"]
        for each in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
        for rule in each["rules"]
    }
    cases = yaml.safe_load((ROOT / "tests" / "system" / "alerts_test.yml").read_text())["tests"]
    firing = {case["alertname"] for each in cases for case in each["alert_rule_test"] if case.get("exp_alerts")}
    assert firing == rules


def test_the_configuration(run: Tool) -> None:
    assert "SUCCESS" in run("promtool", "check", "config", str(DEPLOY / "prometheus.yml"))
