"""The metrics as a real Prometheus reads them; what the dashboard and the alerts ask for is there, by name, label and value."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml

from conftest import LOGS, ROOT, StartGateway, StartPeer
from support import photos
from support.gateway import Gateway
from support.prometheus import Prometheus
from support.wait import until

MONITORING = ROOT / "monitoring"
GUIDE = ROOT / "docs" / "DEPLOY.md"
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((MONITORING / "grafana-dashboard.json").read_text())
TARGETS = [(panel["title"], target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
KEY = "0123456789abcdef0123456789abcdef"
METRIC = re.compile(r"\b(?:(?:spotter|process)_[a-z_]+|up)\b")
ASKED = [(title, target["expr"]) for title, target in TARGETS] + [(alert["alert"], alert["expr"]) for alert in ALERTS]
# The problems' codes and statuses, which test_documentation.py compares with the program's.
CODES = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (\d+) \|", (ROOT / "docs/OPERATE.md").read_text(), re.MULTILINE))


def values() -> dict[str, set[str]]:
    """What the program can give each label that a query asks for by value."""
    metrics = (MONITORING / "README.md").read_text()
    (outcomes,) = re.findall(r"^\| `spotter_serving_calls_total.*", metrics, re.MULTILINE)
    proto = (ROOT / "proto/spotter/v1/detection.proto").read_text()
    service = f"{re.search(r'package ([^;]+);', proto)[1]}.{re.search(r'^service (.+) {', proto, re.MULTILINE)[1]}"
    paths = json.loads((ROOT / "openapi/openapi.json").read_text())["paths"]
    return {
        "code": {"", "CLIENT_GONE", *CODES},
        "status": {"200", "499", *CODES.values()},
        "outcome": {*re.findall(r"`(\w+)`", outcomes), *(code.name.lower() for code in grpc.StatusCode)},
        "route": {"-", *paths, *(f"/{service}/{call}" for call in re.findall(r"rpc (\w+)", proto))},
        "__name__": set(METRIC.findall(metrics)),
    }


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
    # Of what came last: a scrape between the two photos would not have it.
    until(lambda: watched.prometheus.query("spotter_photos_failed_total"), "the first scrape")
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
    # Prometheus drops a label that is empty, such as the version of a photo that failed before it was known.
    documented = {
        name: set(labels.split(","))
        for name, labels in re.findall(r"^\| `(\w+)\{([\w,]+)\}`", (MONITORING / "README.md").read_text(), re.MULTILINE)
    }
    known = {
        name: watched.prometheus.labels(name) | documented.get(name, set())
        for name in watched.prometheus.get("label/__name__/values")
    }
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


def test_every_value_that_is_asked_for_is_one_that_the_program_gives() -> None:
    """Each alternative of each matcher: one that is misspelt matches nothing, or excludes nothing, and nobody sees it."""
    known, wrong = values(), []
    for title, expr in ASKED:
        for label, pattern in re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', expr):
            if (label, pattern) == ("job", "$job"):
                continue
            # None of them has a bracket, so that each bar is between two alternatives of the whole.
            assert not set("()[]") & set(pattern), f"{title}: cannot read {pattern}"
            for alternative in pattern.split("|"):
                if not any(re.fullmatch(alternative, value) for value in known[label]):
                    wrong.append(f"{title}: {label} is never {alternative}")
    assert wrong == []


def test_the_codes_that_alert_are_ours_whether_of_requests_or_of_photos() -> None:
    """Of photos there is no status to tell them by, so that they are listed."""
    exprs = {alert["alert"]: alert["expr"] for alert in ALERTS}
    (listed,) = re.findall(r'code=~"([^"]*)"', exprs["SpotterPhotosFailing"])
    ((status, spared),) = re.findall(r'status=~"([^"]*)",code!~"([^"]*)"', exprs["SpotterFailing"])
    ours = {code for code, given in CODES.items() if re.fullmatch(status, given) and not re.fullmatch(spared, code)}
    assert set(listed.split("|")) == ours


def test_the_dashboard_has_a_panel_for_each_alert() -> None:
    """As docs/OPERATE.md says: what an alert asks for is seen there."""
    shown = {metric for _, target in TARGETS for metric in METRIC.findall(target["expr"])}
    assert {alert["alert"]: set(METRIC.findall(alert["expr"])) - shown for alert in ALERTS} == {
        alert["alert"]: set() for alert in ALERTS
    }


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


def test_the_alerts_become_a_rule_of_the_operator_as_the_guide_says() -> None:
    (line,) = re.findall(r"^```sh\n(\{\n.*?\n\} )\| kubectl apply -f -\n```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    made = subprocess.run(["sh", "-c", line], cwd=ROOT, text=True, capture_output=True, check=True)
    rule = yaml.safe_load(made.stdout)
    assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((MONITORING / "alerts.yaml").read_text())


def test_every_alert_is_tried_and_is_explained_to_the_operator() -> None:
    names = [alert["alert"] for alert in ALERTS]
    tried = yaml.safe_load((MONITORING / "alerts.test.yaml").read_text())["tests"]
    silent = [case["alertname"] for case in tried[0]["alert_rule_test"] if not case.get("exp_alerts")]
    assert set(silent) == set(names), tried[0]["name"]
    cases = [case for test in tried[1:] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == set(names)
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
