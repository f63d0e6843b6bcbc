"""What stands in deploy/ fits the programs: names of metrics, of settings and of services."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from pog.client.exits.attempt import RUN
from pog.config.client_settings import ClientSettings
from pog.config.server_settings import ServerSettings
from pog.config.settings import load, table
from tests.helpers.names import series
from tests.helpers.process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEPLOY = ROOT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "pog.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"

# What stands in an expression of PromQL and is no metric.
_WORDS = {"and", "or", "unless", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "offset"}


def names(expression: str) -> set[str]:
    """The metrics that an expression of PromQL asks for."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]', " ", expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", bare)
    found = re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)(?!\s*\()(?![\w:])", bare)
    return set(found) - _WORDS


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ('sum by (job, le) (rate(a_bucket{job=~"$job",x="b_total"}[$__rate_interval])) > 0.1 * c', {"a_bucket", "c"}),
        ("a - time() < 14 * 86400 and on (job) group_left (x) b_total offset 5m unless c", {"a", "b_total", "c"}),
        ("histogram_quantile(0.9, x) == 1e9", {"x"}),
    ],
)
def test_names_in_an_expression(expression: str, found: set[str]) -> None:
    assert names(expression) - {"m"} == found


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Every query that somebody will make of these metrics, and where it stands."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in panels():
        for target in panel.get("targets", ()):
            yield f"{DASHBOARD.name}: {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            metric, _, _ = variable["definition"].removeprefix("label_values(").rpartition(",")
            yield f"{DASHBOARD.name}: ${variable['name']}", metric
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            yield f"{ALERTS.name}: {rule['alert']}", rule["expr"]


@pytest.mark.parametrize("openmetrics", [False, True], ids=["text", "openmetrics"])
def test_every_query_names_metrics_that_exist(openmetrics: bool) -> None:
    """Prometheus asks for OpenMetrics, most others for text."""
    known = series(openmetrics=openmetrics) | {"up"}
    asked = {where: names(expression) for where, expression in queries()}
    assert all(asked.values()), [where for where, found in asked.items() if not found]
    assert {where: found - known for where, found in asked.items() if found - known} == {}


def test_the_dashboard_shows_every_metric() -> None:
    """But for those of OpenCensus that ours say better."""
    shown = set().union(*(names(expression) for _, expression in queries()))
    hidden = {name for name in series() - shown if not re.search(r"_sum$|_count$|^grpc_io_|_virtual_|_mux_", name)}
    assert hidden == set()


def test_panels_neither_overlap_nor_share_an_id() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert grid["x"] + grid["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_every_alert_is_explained() -> None:
    """An alert at night is looked up in docs/operations.md by its name."""
    guide = (ROOT / "docs" / "operations.md").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert f"`{rule['alert']}`" in guide


# Settings

_KNOWN = {row.env for cls in (ServerSettings, ClientSettings) for _, each in table(cls) for row in each.spellings}


def check_settings(found: set[str]) -> None:
    """Each is a variable that pog reads."""
    assert found
    starred = tuple(each[:-1] for each in _KNOWN if each.endswith("*"))
    assert {each for each in found if each not in _KNOWN and not each.startswith(starred)} == set()


def manifests(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


@pytest.mark.parametrize("path", ["cloudrun/service.yaml", "kubernetes/server.yaml"])
def test_manifests_of_containers(path: str) -> None:
    (spec,) = [each["spec"]["template"]["spec"] for each in manifests(DEPLOY / path) if "template" in each["spec"]]
    (container,) = spec["containers"]
    (port,) = container["ports"]
    assert port == {"name": "h2c", "containerPort": 8080}
    env = {each["name"]: each.get("value", "") for each in container["env"]}
    check_settings(set(env))
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["grpc"]["port"] == 8080
        assert RUN.startswith(container[probe]["grpc"].get("service", ""))
    if path.startswith("kubernetes"):
        # A Service named pog-auth would set POG_AUTH_SERVICE_HOST, which is no auth item.
        assert spec["enableServiceLinks"] is False
    if "terminationGracePeriodSeconds" in spec:
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pause + int(env["DRAIN_TIMEOUT"]) + 5 < spec["terminationGracePeriodSeconds"]
    else:
        assert int(env["DRAIN_TIMEOUT"]) <= 8  # Cloud Run kills after 10 s


def test_terraform_says_what_the_manifest_of_cloud_run_says() -> None:
    (service,) = manifests(DEPLOY / "cloudrun/service.yaml")
    spec = service["spec"]["template"]["spec"]
    text = (DEPLOY / "terraform/main.tf").read_text()
    check_settings({name for name in re.findall(r'name\s+= "([A-Z_]+)"', text)})
    assert f"max_instance_request_concurrency = {spec['containerConcurrency']}" in text
    assert f'timeout = "{spec["timeoutSeconds"]}s"' in text
    assert 'name           = "h2c"' in text
    for limit, value in spec["containers"][0]["resources"]["limits"].items():
        assert re.search(rf'{limit}\s+= "{value}"', text)
    assert "POG_AUTH_${env.key}" in text
    assert set(re.findall(r"var\.(\w+)", text)) == set(
        re.findall(r'variable "(\w+)"', (DEPLOY / "terraform/variables.tf").read_text())
    )


def test_compose() -> None:
    compose = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())
    for name in ("server", "client"):
        check_settings(set(compose["services"][name]["environment"]))
    client = load(ClientSettings, compose["services"]["client"]["environment"], {})
    published = [port for service in compose["services"].values() for port in service.get("ports", ())]
    assert published and all(port.startswith("127.0.0.1:") for port in published)
    scraped = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scraped for each in job["static_configs"] for target in each["targets"]]
    assert targets == ["server:8080", "client:18080"]
    assert "client" in client.pages_hosts, "the client shows /metrics under the name by which it is scraped"
    assert {job["job_name"] for job in scraped} == {"pog-server", "pog-client"}


@pytest.mark.parametrize(("role", "settings"), [("server", ServerSettings), ("client", ClientSettings)])
def test_systemd(role: str, settings: type[ServerSettings] | type[ClientSettings]) -> None:
    unit = (DEPLOY / f"systemd/pog-{role}.service").read_text()
    assert f"ExecStart=/opt/pog/bin/pog {role}\n" in unit
    assert f"EnvironmentFile=/etc/pog/{role}.env\n" in unit
    lines = [line.removeprefix("#") for line in (DEPLOY / f"systemd/{role}.env").read_text().splitlines()]
    env = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    check_settings(set(env))
    load(settings, {name: value for name, value in env.items() if not name.startswith("POG_AUTH_")}, {})


def test_every_server_has_users_or_is_open_on_purpose() -> None:
    """Otherwise it would refuse every tunnel."""
    (cloudrun,) = manifests(DEPLOY / "cloudrun/service.yaml")
    env = cloudrun["spec"]["template"]["spec"]["containers"][0]["env"]
    assert any(each["name"].startswith("POG_AUTH_") for each in env)
    kubernetes = manifests(DEPLOY / "kubernetes/server.yaml")[0]["spec"]["template"]["spec"]["containers"][0]
    assert kubernetes["envFrom"] == [{"secretRef": {"name": "pog-auth"}}]
    assert re.search(r"^POG_AUTH_LAPTOP='\{", (DEPLOY / "systemd/server.env").read_text(), re.MULTILINE)
    assert "condition     = length(var.auth_items) > 0" in (DEPLOY / "terraform/variables.tf").read_text()
    # The compose file publishes the client and nothing of the server.
    server = yaml.safe_load((DEPLOY / "compose/compose.yaml").read_text())["services"]["server"]
    assert load(ServerSettings, server["environment"], {}).open_proxy and "ports" not in server


def test_the_image_holds_the_program_and_nothing_else() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    assert re.search(r"^USER [1-9]\d*:\d+$", dockerfile, re.MULTILINE)
    assert 'ENTRYPOINT ["pog"]\nCMD ["server"]' in dockerfile
    taken = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = set(re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile, re.MULTILINE))
    assert {name for line in copied for name in line.split()} == taken
    assert all((ROOT / name).exists() for name in taken)


def test_packages_come_from_where_the_user_has_said() -> None:
    """No file names a host but examples."""
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert set(re.findall(r"https?://([\w.-]+)", text)) <= {"127.0.0.1", "example.com"}, path
