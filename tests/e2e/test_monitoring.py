"""The metrics as a real Prometheus reads them; what the dashboard and the alerts ask for is there, by name and label."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from conftest import LOGS, ROOT, StartGateway, StartPeer
from support import photos
from support.gateway import Gateway
from support.prometheus import Prometheus
from support.wait import until

MONITORING = ROOT / "monitoring"
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
KEY = "0123456789abcdef0123456789abcdef"
METRIC = re.compile(r"\b(?:spotter|process)_[a-z_]+")


@dataclass
class Watched:
    spotter: Gateway
    prometheus: Prometheus


@pytest.fixture
def watched(spotter: StartGateway, start_peer: StartPeer, saved_models: Path, tmp_path: Path) -> Iterator[Watched]:
    """A service with keys in front of a real model, scraped with one."""
    peer = start_peer({"detector": saved_models / "image_tensor"})
    keys = tmp_path / "keys"
    keys.write_text(f"prometheus: {KEY}\n")
    gateway = spotter("--serving", f"http://{peer.address}", "--model", "detector", "--labels", "coco", "--api-keys", str(keys))
    target = gateway.url.removeprefix("http://")
    with Prometheus(target, MONITORING / "alerts.yaml", logs=LOGS, key=KEY) as prometheus:
        yield Watched(gateway, prometheus)


def expression(target: dict[str, str]) -> str:
    """As Grafana sends it."""
    return target["expr"].replace("$job", "spotter").replace("$__rate_interval", "1m")


def test_prometheus_scrapes_the_service_and_every_panel_of_the_dashboard_shows_something(watched: Watched) -> None:
    photo = (photos.PHOTOS / "chelsea.png").read_bytes()
    authorization = {"Authorization": f"Bearer {KEY}"}

    def ask() -> None:
        assert watched.spotter.post(photo, authorization).status_code == 200
        assert watched.spotter.post(b"no photo", authorization).status_code == 415

    # A rate takes two scrapes with something between them.
    ask()
    until(lambda: watched.prometheus.query("spotter_photos_total"), "the first scrape")
    ask()
    until(lambda: watched.prometheus.query("rate(spotter_photos_failed_total[1m]) > 0"), "the second scrape")
    health = watched.prometheus.get("targets")["activeTargets"][0]
    assert (health["health"], health["lastError"]) == ("up", "")
    for title, target in TARGETS:
        until(lambda: watched.prometheus.query(expression(target)), f"{title}: {expression(target)}", within=10)

    rules = watched.prometheus.get("rules")["groups"][0]["rules"]
    assert [rule["name"] for rule in rules] == [alert["alert"] for alert in ALERTS]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, rules

    # Names and labels, also of what a calm minute does not show.
    known = {name: watched.prometheus.labels(name) for name in watched.prometheus.get("label/__name__/values")}
    asked = [(title, expression(target), target["legendFormat"]) for title, target in TARGETS]
    asked += [(alert["alert"], alert["expr"], "") for alert in ALERTS]
    for title, expr, legend in asked:
        metrics = METRIC.findall(expr)
        assert metrics, f"{title} asks for no metric: {expr}"
        assert not set(metrics) - known.keys(), f"{title} asks for what there is not: {set(metrics) - known.keys()}"
        for metric, matchers in re.findall(r"([a-z_]+)\{([^}]*)\}", expr):
            labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers))
            assert labels <= known[metric], f"{title}: {metric} has no label {labels - known[metric]}"
        grouped = {name for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", expr) for name in re.split(r",\s*", names)}
        common = set.union(*(known[metric] for metric in metrics))
        assert grouped <= common, f"{title} groups by {grouped - common}, which no metric of it has"
        shown = set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert shown <= (grouped or common), f"{title} shows {shown}, and has {grouped}"


def test_the_scrape_is_as_promtool_wants_metrics(spotter: StartGateway) -> None:
    gateway = spotter()
    gateway.detect((photos.PHOTOS / "chelsea.png").read_bytes())
    scrape = gateway.get("/metrics").text
    # promtool reads Prometheus's older text form, in which a counter is described under its whole name.
    counters = re.findall(r"^# TYPE (\S+) counter$", scrape, re.MULTILINE)
    for counter in counters:
        scrape = re.sub(rf"^# (HELP|TYPE) {counter} ", rf"# \1 {counter}_total ", scrape, flags=re.MULTILINE)
    scrape = re.sub(r"^# (UNIT .*|EOF)\n", "", scrape, flags=re.MULTILINE)
    checked = subprocess.run(["promtool", "check", "metrics"], input=scrape, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("command", [["check", "rules", "alerts.yaml"], ["test", "rules", "alerts.test.yaml"]])
def test_the_alerts_are_valid_and_fire_when_they_should(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=MONITORING, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tried_and_is_explained_to_the_operator() -> None:
    names = [alert["alert"] for alert in ALERTS]
    tried = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    for test in tried:
        assert sorted(case["alertname"] for case in test["alert_rule_test"]) == sorted(names), test["name"]
    explained = re.findall(r"^\| `(Spotter\w+)` \|", (ROOT / "docs" / "OPERATE.md").read_text(), re.MULTILINE)
    assert explained == names


def test_panels_do_not_lie_over_each_other_and_ask_the_chosen_source() -> None:
    panels = DASHBOARD["panels"]
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in panels)
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"${source}"}
