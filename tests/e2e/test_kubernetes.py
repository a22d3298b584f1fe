"""The manifests: fit for the API server and for the mesh, whole, and in agreement with the program."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from itertools import takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import yaml

from conftest import ROOT, StartGateway
from deploy.manifests import (
    K8S,
    OVERLAYS,
    Manifests,
    container,
    dangling,
    environment,
    installed,
    mebibytes,
    models,
    pod,
    seconds,
)
from deploy.schemas import Manifest, faults

MESHED = ("istio", "canary")
WITH_MODEL_SERVER = ("serving", *MESHED)
ADAPTER = yaml.safe_load((ROOT / "monitoring/adapter.yaml").read_text())
OPENAPI = json.loads((ROOT / "openapi/openapi.json").read_text())

# Maps whose keys are anybody's own words; what they refer to is checked by `dangling`.
FREE = {"labels", "annotations", "matchLabels", "data", "requests", "limits", "selector", "headers"}


@pytest.fixture(scope="module", params=OVERLAYS)
def overlay(request: pytest.FixtureRequest) -> Manifests:
    return Manifests.of(request.param)


@pytest.fixture(scope="module", params=MESHED)
def mesh(request: pytest.FixtureRequest) -> Manifests:
    return Manifests.of(request.param)


def test_the_overlays_are_those_that_the_documentation_speaks_of() -> None:
    assert set(OVERLAYS) == {"local", "serving", "istio", "canary"}
    kinds = {name: {manifest["kind"] for manifest in Manifests.of(name).all} for name in OVERLAYS}
    assert Manifests.of("local").names("Deployment") == {"spotter"}
    assert Manifests.of("serving").names("Deployment") == {"spotter", "detector"}
    assert kinds["serving"] - kinds["local"] == {"ServiceMonitor"}
    assert kinds["istio"] - kinds["serving"] == {
        "AuthorizationPolicy",
        "DestinationRule",
        "Gateway",
        "PeerAuthentication",
        "VirtualService",
    }
    assert kinds["canary"] == kinds["istio"]


def test_every_manifest_is_fit_and_every_reference_leads_somewhere(overlay: Manifests) -> None:
    assert [fault for manifest in overlay.all for fault in faults(manifest)] == []
    assert dangling(overlay) == []


@pytest.mark.parametrize("name", OVERLAYS)
def test_a_misspelt_field_is_refused_wherever_it_stands(name: str) -> None:
    """Each field of each manifest, misspelt once."""
    accepted = []
    for manifest in Manifests.of(name).all:
        for path in field_paths(manifest):
            wrong = copy.deepcopy(manifest)
            parent = wrong
            for step in path[:-1]:
                parent = parent[step]
            parent[f"{path[-1]}x"] = parent.pop(path[-1])
            try:
                refused = bool(faults(wrong))
            except KeyError:  # of apiVersion and kind, without which there is nothing to look up
                refused = True
            if not refused:
                accepted.append(f"{manifest['kind']}: {'.'.join(map(str, path))}")
    assert accepted == []


def field_paths(value: Any, path: tuple = ()) -> Iterator[tuple]:
    if isinstance(value, list):
        for index, member in enumerate(value):
            yield from field_paths(member, (*path, index))
    elif isinstance(value, dict):
        for key, member in value.items():
            # `selector` holds free words, but for `matchLabels`, which is a field.
            if path and path[-1] in FREE and key != "matchLabels":
                continue
            yield (*path, key)
            yield from field_paths(member, (*path, key))


def set_at(kind: str, name: str, path: str, value: Any) -> Callable[[Manifests], None]:
    def change(manifests: Manifests) -> None:
        place: Any = manifests.get(kind, name)
        *steps, last = [int(step) if step.isdigit() else step for step in path.split("/")]
        for step in steps:
            place = place[step]
        assert place[last] != value
        place[last] = value

    return change


SPOTTER_CONTAINER = "spec/template/spec/containers/0"


@pytest.mark.parametrize(
    "change",
    [
        set_at("Service", "spotter", "spec/ports/0/targetPort", "http"),
        set_at("Service", "detector", "spec/selector", {"app.kubernetes.io/name": "serving"}),
        set_at("Deployment", "spotter", f"{SPOTTER_CONTAINER}/readinessProbe/httpGet/port", "http"),
        set_at("Deployment", "spotter", f"{SPOTTER_CONTAINER}/volumeMounts/0/name", "label"),
        set_at("Deployment", "spotter", f"{SPOTTER_CONTAINER}/envFrom/0/configMapRef/name", "spotter-settings"),
        set_at("Deployment", "spotter", "spec/template/spec/serviceAccountName", "default"),
        set_at("Deployment", "spotter", "spec/template/metadata/labels", {"app": "spotter"}),
        set_at("HorizontalPodAutoscaler", "detector", "spec/scaleTargetRef/name", "serving"),
        set_at("HorizontalPodAutoscaler", "spotter", "spec/metrics/0/containerResource/container", "app"),
        set_at("ServiceMonitor", "spotter", "spec/selector/matchLabels", {"app": "spotter"}),
        set_at("ServiceMonitor", "spotter", "spec/endpoints/0/port", "api-metrics"),
        set_at("NetworkPolicy", "prometheus-to-spotter", "spec/ingress/0/ports/0/port", "http"),
        set_at("PeerAuthentication", "spotter", "spec/portLevelMtls", {"9090": {"mode": "PERMISSIVE"}}),
        set_at("PodDisruptionBudget", "spotter", "spec/selector/matchLabels", {"app": "spotter"}),
        set_at("NetworkPolicy", "detector", "spec/ingress/0/ports/0/port", "http"),
        set_at("NetworkPolicy", "spotter-to-detector", "spec/egress/0/ports/0/port", "api"),
        set_at("NetworkPolicy", "detector", "spec/ingress/0/from/0/podSelector/matchLabels", {"app": "spotter"}),
        set_at("DestinationRule", "detector", "spec/host", "detectors"),
        set_at("VirtualService", "detector", "spec/http/0/route/0/destination/port/number", 8501),
        set_at("VirtualService", "spotter", "spec/hosts", ["www.example.com", "spotter"]),
        set_at("VirtualService", "spotter", "spec/hosts", ["spotter.example.com", "spotters"]),
        set_at("VirtualService", "spotter", "spec/hosts", ["spotter.example.com"]),
        set_at("VirtualService", "spotter", "spec/gateways", ["mesh"]),
        set_at("VirtualService", "spotter", "spec/http/0/match/0/gateways", ["spotters"]),
        set_at("AuthorizationPolicy", "detector", "spec/selector/matchLabels", {"app": "detector"}),
        set_at(
            "AuthorizationPolicy", "detector", "spec/rules/0/from/0/source/principals",
            ["cluster.local/ns/default/sa/spotter"],
        ),
    ],
)  # fmt: skip
def test_a_reference_that_leads_nowhere_is_found(change: Callable[[Manifests], None]) -> None:
    manifests = Manifests.of("istio")
    change(manifests)
    assert dangling(manifests)


@pytest.mark.parametrize(
    "change",
    [
        set_at("DestinationRule", "detector", "spec/trafficPolicy/outlierDetection/interval", "0s"),
        set_at("DestinationRule", "detector", "spec/trafficPolicy/loadBalancer/simple", "LEAST_REQUESTS"),
        set_at("DestinationRule", "detector", "spec/trafficPolicy/outlierDetection/maxEjectionPercent", "67"),
        set_at("AuthorizationPolicy", "detector", "spec/rules/0/from/0/source",
               {"principals": ["a"], "serviceAccounts": ["b"]}),
        set_at("ServiceMonitor", "spotter", "spec/endpoints/0/interval", "15 s"),
        set_at("PeerAuthentication", "strict", "spec", {"portLevelMtls": {"8500": {"mode": "STRICT"}}}),
    ],
)  # fmt: skip
def test_what_the_definitions_say_of_values_is_heeded(change: Callable[[Manifests], None]) -> None:
    """Enumerations, types, and rules in CEL."""
    manifests = Manifests.of("istio")
    change(manifests)
    assert [fault for manifest in manifests.all for fault in faults(manifest)]


def test_the_settings_are_the_programs_own(overlay: Manifests, spotter_binary: Path, tmp_path: Path) -> None:
    """Names and values: the program reads them all, and has them from the environment."""
    deployment = overlay.get("Deployment", "spotter")
    settings = installed(overlay, deployment, tmp_path)
    assert settings and all(name.startswith("SPOTTER_") for name in settings)
    assert container(deployment)["args"] == ["serve"]

    printed = config(spotter_binary, settings)

    assert printed.returncode == 0, printed.stderr
    # The models follow after an empty line.
    rows = [line.split() for line in takewhile(str.strip, printed.stdout.splitlines()[1:])]
    from_environment = {row[1] for row in rows if row[-1] == "environment"}
    assert from_environment == settings.keys()
    # What agrees with the manifests is in one place: the file is for models.
    assert {row[0] for row in rows if re.search(r"spotter\.toml:\d+$", row[-1])} <= {"--serving", "--labels"}


def test_clients_need_a_key_but_on_a_laptop(overlay: Manifests) -> None:
    deployment = overlay.get("Deployment", "spotter")
    settings = environment(overlay, deployment)
    if overlay.names("Deployment") == {"spotter"}:
        assert settings["SPOTTER_ALLOW_ANONYMOUS"] == "true"
        return
    assert "SPOTTER_ALLOW_ANONYMOUS" not in settings
    (mount,) = (m for m in container(deployment)["volumeMounts"] if m["mountPath"] == settings["SPOTTER_API_KEYS"])
    assert "subPath" not in mount, "those are never renewed"
    (volume,) = (volume for volume in pod(deployment)["volumes"] if volume["name"] == mount["name"])
    assert volume["secret"]["secretName"] == "spotter-keys"
    assert "optional" not in volume["secret"]


def test_a_setting_that_the_program_does_not_know_is_found(spotter_binary: Path) -> None:
    assert "SPOTTER_LISTENS" not in config(spotter_binary, {"SPOTTER_LISTENS": "0.0.0.0:8080"}).stdout
    assert config(spotter_binary, {"SPOTTER_LISTEN": "everywhere"}).returncode == 64


def config(binary: Path, settings: dict[str, str]) -> subprocess.CompletedProcess:
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPOTTER_")}
    return subprocess.run([binary, "config"], env=own | settings, capture_output=True, text=True, check=False)


def test_the_ports_are_where_the_program_listens(overlay: Manifests) -> None:
    deployment = overlay.get("Deployment", "spotter")
    settings = environment(overlay, deployment)
    ports = {port["name"]: f"0.0.0.0:{port['containerPort']}" for port in container(deployment)["ports"]}
    assert ports == {"api": settings["SPOTTER_LISTEN"], "metrics": settings["SPOTTER_METRICS_LISTEN"]}


def test_the_metrics_are_where_they_are_scraped(overlay: Manifests, spotter: StartGateway) -> None:
    """At the address of their own, which is the only one that has them."""
    gateway = spotter("--metrics-listen", "127.0.0.1:0")
    announced = gateway.printed(r"metrics +(http://\S+)")[1]
    paths = {endpoint["path"] for monitor in overlay.kind("ServiceMonitor") for endpoint in monitor["spec"]["endpoints"]}
    for path in paths:
        assert requests.get(announced.removesuffix("/metrics") + path, timeout=10).status_code == 200
        assert gateway.get(path).status_code == 404
    if overlay.names("Deployment") != {"spotter"}:
        assert paths == {"/metrics"}


def test_the_metrics_are_for_prometheus_alone(overlay: Manifests) -> None:
    for policy in overlay.kind("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []):
            if "metrics" in {port["port"] for port in rule["ports"]}:
                (peer,) = rule["from"]
                assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
                assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}


def test_only_the_metrics_are_open_to_who_has_no_certificate(mesh: Manifests) -> None:
    port = str(environment(mesh, mesh.get("Deployment", "spotter"))["SPOTTER_METRICS_LISTEN"].rpartition(":")[2])
    lenient = [m["spec"] for m in mesh.kind("PeerAuthentication") if "portLevelMtls" in m["spec"]]
    assert [spec["portLevelMtls"] for spec in lenient] == [{port: {"mode": "PERMISSIVE"}}]
    nameless = [
        rule
        for policy in mesh.kind("AuthorizationPolicy")
        for rule in policy["spec"].get("rules", [])
        if "from" not in rule
    ]
    assert nameless == [{"to": [{"operation": {"ports": [port], "methods": ["GET"], "paths": ["/metrics"]}}]}]


@pytest.mark.parametrize("name", WITH_MODEL_SERVER)
def test_scaling_asks_for_a_load_that_the_adapter_answers(name: str) -> None:
    metrics = Manifests.of(name).get("HorizontalPodAutoscaler", "spotter")["spec"]["metrics"]
    asked = [metric["pods"]["metric"]["name"] for metric in metrics if metric["type"] == "Pods"]
    assert asked == [rule["name"]["as"] for rule in ADAPTER["rules"]["custom"]]
    # Beside it, for clusters without the adapter.
    assert "ContainerResource" in {metric["type"] for metric in metrics}


def test_as_many_workers_as_cores_asked_for(overlay: Manifests) -> None:
    deployment = overlay.get("Deployment", "spotter")
    assert environment(overlay, deployment)["SPOTTER_WORKERS"] == container(deployment)["resources"]["requests"]["cpu"]


def test_probes_ask_for_paths_of_the_api(overlay: Manifests) -> None:
    asked = container(overlay.get("Deployment", "spotter"))
    paths = {probe: asked[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    assert all("get" in OPENAPI["paths"][path] for path in paths.values())
    # /readyz takes up to 0.9 s before it says no.
    assert asked["readinessProbe"]["timeoutSeconds"] > 0.9


def test_a_stopping_spotter_has_time_to_leave_the_balancers_and_to_finish(overlay: Manifests) -> None:
    deployment = overlay.get("Deployment", "spotter")
    settings = environment(overlay, deployment)
    leave = int(settings["SPOTTER_SHUTDOWN_DELAY_MS"]) / 1000
    drain = int(settings["SPOTTER_SHUTDOWN_GRACE_MS"]) / 1000
    assert leave >= 5
    assert "lifecycle" not in container(deployment), "a preStop would come on top"
    assert drain >= int(settings["SPOTTER_REQUEST_TIMEOUT_MS"]) / 1000
    assert pod(deployment)["terminationGracePeriodSeconds"] > leave + drain


@pytest.mark.parametrize("name", WITH_MODEL_SERVER)
def test_a_stopping_model_server_outlasts_what_it_was_asked(name: str) -> None:
    """It ends at once on SIGTERM, so that all of it happens before."""
    manifests = Manifests.of(name)
    request = int(environment(manifests, manifests.get("Deployment", "spotter"))["SPOTTER_REQUEST_TIMEOUT_MS"]) / 1000
    detector = manifests.get("Deployment", "detector")
    leave = container(detector)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert leave >= 5 + request
    assert pod(detector)["terminationGracePeriodSeconds"] > leave


def test_the_memory_limit_holds_what_may_be_in_flight(overlay: Manifests) -> None:
    """As docs/OPERATE.md reckons."""
    deployment = overlay.get("Deployment", "spotter")
    settings = environment(overlay, deployment)
    pixels = int(settings["SPOTTER_MAX_PIXELS_IN_FLIGHT"])
    assert pixels >= int(settings["SPOTTER_MAX_IMAGE_PIXELS"])
    uploads_and_answers = 2 * int(settings["SPOTTER_MAX_UPLOAD_BYTES_IN_FLIGHT"])
    model_servers = int(settings["SPOTTER_SERVING_MAX_ANSWER_BYTES_IN_FLIGHT"])
    # What takes no room of each view's answer: of 64 photos in flight, with 16 tiles.
    views = 64 * (1 + 16) * 64 / 1024
    documents = 64
    (program,) = re.findall(r"at rest became (\d+) at", (ROOT / "docs" / "OPERATE.md").read_text())
    needed = (pixels * 16 + uploads_and_answers + model_servers) / 2**20 + views + documents + int(program)
    assert mebibytes(container(deployment)["resources"]["limits"]["memory"]) >= needed


def test_pods_are_what_restricted_pod_security_admits(overlay: Manifests) -> None:
    assert overlay.get("Namespace", "spotter")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for deployment in overlay.kind("Deployment"):
        spec, only = pod(deployment), container(deployment)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert only["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume} - {"name"}
        assert kinds <= {"configMap", "emptyDir", "secret"}


def test_nothing_is_open_that_is_not_opened(overlay: Manifests) -> None:
    nothing = overlay.get("NetworkPolicy", "nothing")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for policy in overlay.kind("NetworkPolicy"):
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            assert rule["ports"], policy["metadata"]["name"]


# A row of what `spotter config` says of models.
ASKED = re.compile(r"^ (\S+)(?: \(default\))? +TensorFlow Serving at (\S+), '(\w+)', version label '(\w+)'", re.MULTILINE)


@pytest.mark.parametrize("name", WITH_MODEL_SERVER)
def test_the_model_server_serves_the_model_that_spotter_asks_for(
    name: str, spotter_binary: Path, tmp_path: Path
) -> None:
    manifests = Manifests.of(name)
    printed = config(spotter_binary, installed(manifests, manifests.get("Deployment", "spotter"), tmp_path)).stdout
    asked = ASKED.findall(printed)
    assert [model for model, *_ in asked] == (["detector", "canary"] if name == "canary" else ["detector"])
    assert re.search(r"^ detector \(default\)", printed, re.MULTILINE), "the canary is asked by name only"
    detector = container(manifests.get("Deployment", "detector"))
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in detector["args"])
    ports = {port["name"]: str(port["containerPort"]) for port in detector["ports"]}
    assert (flags["port"], flags["rest_api_port"]) == (ports["grpc"], ports["rest"])

    mount = {mount["name"]: mount["mountPath"] for mount in detector["volumeMounts"]}["models-config"]
    (file,) = manifests.config_map("detector-models")["data"]
    assert flags["model_config_file"] == f"{mount}/{file}"
    (served,) = models(manifests)
    assert served.base_path == f"/models/{served.name}"
    # Every version has its label, and each label is asked for.
    assert sorted(served.version_labels.values()) == sorted(served.model_version_policy.specific.versions)
    assert {tuple(rest) for _, *rest in asked} == {
        (f"http://detector:{ports['grpc']}", served.name, label) for label in served.version_labels
    }
    probes = {detector[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe")}
    assert probes == {f"/v1/models/{served.name}/metadata"}


@pytest.mark.parametrize("name", WITH_MODEL_SERVER)
def test_the_label_map_is_read_by_the_program(name: str, spotter_binary: Path, tmp_path: Path) -> None:
    manifests = Manifests.of(name)
    deployment = manifests.get("Deployment", "spotter")
    file = Path(installed(manifests, deployment, tmp_path)["SPOTTER_CONFIG"])
    labels = file.parent / tomllib.loads(file.read_text())["labels"]
    command = [spotter_binary, "doctor", "--labels", labels]
    report = subprocess.run(command, capture_output=True, text=True, check=False)
    assert report.returncode == 0, report.stdout
    assert "the label map fits the model's 80 classes" in report.stdout


def test_where_the_mesh_does_not_balance_spotter_sees_every_model_server() -> None:
    assert Manifests.of("serving").get("Service", "detector")["spec"]["clusterIP"] == "None"
    # In the mesh the name stands for one address, behind which the proxy balances; headless names it would pass on.
    assert all("clusterIP" not in Manifests.of(name).get("Service", "detector")["spec"] for name in MESHED)


def settings_of(mesh: Manifests) -> dict[str, str]:
    return environment(mesh, mesh.get("Deployment", "spotter"))


def routes(mesh: Manifests, name: str) -> dict[str, Manifest]:
    return {http["name"]: http for http in mesh.get("VirtualService", name)["spec"]["http"]}


def test_the_gateway_waits_a_little_longer_than_spotter(mesh: Manifests) -> None:
    """So that clients read spotter's problem document instead of the proxy's bare 504."""
    own = int(settings_of(mesh)["SPOTTER_REQUEST_TIMEOUT_MS"]) / 1000
    for name in routes(mesh, "spotter").keys() - {"internal", "grpc-stream"}:
        assert own < seconds(routes(mesh, "spotter")[name]["timeout"]) <= own + 5
    # A stream of frames has no end that could be foreseen.
    assert "timeout" not in routes(mesh, "spotter")["grpc-stream"]


def test_clients_inside_the_mesh_have_the_gateways_routes(mesh: Manifests) -> None:
    route = mesh.get("VirtualService", "spotter")["spec"]
    assert route["gateways"] == ["spotter", "mesh"]
    assert route["hosts"] == ["spotter.example.com", mesh.get("DestinationRule", "spotter")["spec"]["host"]]


def test_the_gateway_repeats_only_what_reached_nobody(mesh: Manifests) -> None:
    for name, route in routes(mesh, "spotter").items():
        if "route" in route and route["retries"]["attempts"]:
            assert set(route["retries"]["retryOn"].split(",")) == {"connect-failure", "refused-stream"}, name


def test_all_tries_at_the_model_servers_fit_into_spotters_time(mesh: Manifests) -> None:
    """And end before it, also of a photo that has waited for its turn, so that the proxy and not spotter sees a call to a host that
    hangs to its end."""
    own = int(settings_of(mesh)["SPOTTER_REQUEST_TIMEOUT_MS"]) / 1000
    (route,) = routes(mesh, "detector").values()
    # As it comes.
    queue = int(settings_of(mesh).get("SPOTTER_MAX_QUEUE_MS", "5000")) / 1000
    assert own - queue - 5 <= seconds(route["timeout"]) < own - queue
    assert "perTryTimeout" not in route["retries"], "what takes long would be computed once more"
    # Overload is not answered with more of it.
    assert "resource-exhausted" not in route["retries"]["retryOn"]


def test_with_three_model_servers_a_failing_one_can_be_ejected(mesh: Manifests) -> None:
    hosts = mesh.get("HorizontalPodAutoscaler", "detector")["spec"]["minReplicas"]
    policy = mesh.get("DestinationRule", "detector")["spec"]["trafficPolicy"]
    assert hosts == 3
    assert policy["outlierDetection"]["maxEjectionPercent"] >= 100 / hosts
    assert policy["outlierDetection"]["maxEjectionPercent"] < 100, "the last one is kept, whatever it does"
    assert policy["loadBalancer"] == {"simple": "LEAST_REQUEST"}


def test_what_is_for_probes_and_scrapes_is_not_for_the_world(mesh: Manifests) -> None:
    internal = routes(mesh, "spotter")["internal"]
    assert next(iter(routes(mesh, "spotter"))) == "internal", "the first match wins"
    kept = [match["uri"] for match in internal["match"]]
    assert {uri["exact"] for uri in kept if "exact" in uri} == {"/livez", "/readyz", "/metrics"}
    # What asks for no key over gRPC (src/grpc.rs).
    assert [uri["prefix"] for uri in kept if "prefix" in uri] == ["/grpc.health.v1.Health/", "/grpc.reflection."]
    assert internal["directResponse"] == {"status": 404}
    assert {gateway for match in internal["match"] for gateway in match["gateways"]} == {"spotter"}, "the mesh is not the world"


def test_a_canary_is_asked_by_a_path_that_the_program_has() -> None:
    canary = Manifests.of("canary")
    rewritten = {name: http for name, http in routes(canary, "spotter").items() if "rewrite" in http}
    for name, http in rewritten.items():
        (match,) = http["match"]
        assert match["headers"] == {"spotter-canary": {"exact": "true"}}, name
        named = match["uri"]["exact"].replace("/v1/", "/v1/models/{model}/")
        assert {match["uri"]["exact"], named} <= OPENAPI["paths"].keys()
        assert http["rewrite"]["uri"] == named.replace("{model}", "canary")
    order = list(routes(canary, "spotter"))
    assert order[:3] == ["internal", *rewritten], "the first match wins"
    images = [container(Manifests.of(name).get("Deployment", "detector"))["image"] for name in ("istio", "canary")]
    assert len(set(images)) == 2, "the second version is in another image"


def test_only_calls_that_spotter_makes_are_let_through_to_the_model_servers(mesh: Manifests) -> None:
    (rule,) = mesh.get("AuthorizationPolicy", "detector")["spec"]["rules"]
    (to,) = rule["to"]
    protos = (ROOT / "proto").rglob("*_service.proto")
    made = {
        f"/{package}.{service}/{call}"
        for proto in protos
        for package, service, body in re.findall(r"package ([\w.]+);.*?service (\w+) \{(.*?)\n\}", proto.read_text(), re.S)
        for call in re.findall(r"rpc (\w+)", body)
    }
    assert made == set(to["operation"]["paths"])
    assert to["operation"]["ports"] == [str(p["port"]) for p in mesh.get("Service", "detector")["spec"]["ports"]]


def test_the_gateway_knows_the_grpc_service_by_its_name(mesh: Manifests) -> None:
    text = (ROOT / "proto/spotter/v1/detection.proto").read_text()
    package = re.search(r"package ([\w.]+);", text)[1]
    (service,) = re.findall(r"^service (\w+)", text, re.MULTILINE)
    (stream,) = re.findall(r"rpc (\w+)\(stream ", text)
    paths = {name: [match["uri"] for match in routes(mesh, "spotter")[name]["match"]] for name in ("grpc", "grpc-stream")}
    assert paths == {
        "grpc": [{"prefix": f"/{package}.{service}/"}],
        "grpc-stream": [{"exact": f"/{package}.{service}/{stream}"}],
    }
    order = list(routes(mesh, "spotter"))
    assert order.index("grpc-stream") < order.index("grpc") < order.index("http"), "the first match wins"


def test_whoever_is_not_named_is_let_in_nowhere(mesh: Manifests) -> None:
    assert mesh.get("AuthorizationPolicy", "nobody")["spec"] == {}
    assert mesh.get("PeerAuthentication", "strict")["spec"] == {"mtls": {"mode": "STRICT"}}
    for rule in mesh.kind("DestinationRule"):
        assert rule["spec"]["trafficPolicy"]["tls"]["mode"] == "ISTIO_MUTUAL"


def test_the_proxy_outlasts_the_program_and_not_the_pods_grace(mesh: Manifests) -> None:
    """It goes when no connection is left; a drain of fixed length is not looked at beside that."""
    leave = int(settings_of(mesh)["SPOTTER_SHUTDOWN_DELAY_MS"]) / 1000
    for deployment in mesh.kind("Deployment"):
        annotation = deployment["spec"]["template"]["metadata"]["annotations"]["proxy.istio.io/config"]
        proxy = yaml.safe_load(annotation)
        assert proxy.keys() == {"holdApplicationUntilProxyStarts", "proxyMetadata"}
        assert proxy["proxyMetadata"]["EXIT_ON_ZERO_ACTIVE_CONNECTIONS"] == "true"
        least = seconds(proxy["proxyMetadata"]["MINIMUM_DRAIN_DURATION"])
        assert leave < least < pod(deployment)["terminationGracePeriodSeconds"]


def with_component(name: str, folder: Path) -> Manifests:
    """The mesh, where somebody has added a component that no overlay has."""
    shutil.copytree(K8S, folder / "k8s")
    file = folder / "k8s/overlays/serving/kustomization.yaml"
    kustomization = yaml.safe_load(file.read_text())
    kustomization["components"].append(f"../../components/{name}")
    file.write_text(yaml.safe_dump(kustomization))
    return Manifests.at(folder / "k8s/overlays/istio")


def opened(manifests: Manifests) -> list[dict[str, Any]]:
    """Where the component lets spotter go, but for names."""
    added = manifests.names("NetworkPolicy") - Manifests.of("istio").names("NetworkPolicy")
    (policy,) = (manifests.get("NetworkPolicy", name)["spec"] for name in added)
    assert policy["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "spotter"}
    assert policy["policyTypes"] == ["Egress"]
    return [rule for rule in policy["egress"] if {port["port"] for port in rule["ports"]} != {53}]


def added_setting(manifests: Manifests, binary: Path, folder: Path) -> tuple[str, str]:
    """The component's variable and its value, which the program has read."""
    settings = installed(manifests, manifests.get("Deployment", "spotter"), folder)
    (name,) = settings.keys() - settings_of(Manifests.of("istio")).keys()
    printed = config(binary, settings)
    assert printed.returncode == 0, printed.stderr
    (row,) = (line.split() for line in printed.stdout.splitlines() if name in line.split())
    assert row[-1] == "environment"
    return name, settings[name]


def test_traces_reach_the_collector_that_the_component_names(spotter_binary: Path, tmp_path: Path) -> None:
    manifests = with_component("tracing", tmp_path)
    assert [fault for manifest in manifests.all for fault in faults(manifest)] + dangling(manifests) == []
    name, value = added_setting(manifests, spotter_binary, tmp_path)
    assert name == "OTEL_EXPORTER_OTLP_ENDPOINT"
    collector = urlsplit(value)
    service, _, namespace = collector.hostname.partition(".")
    (rule,) = opened(manifests)
    assert rule["ports"] == [{"port": collector.port, "protocol": "TCP"}]
    (peer,) = rule["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": namespace}
    assert peer["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": service}


def test_photos_are_fetched_from_the_public_internet_alone(spotter_binary: Path, tmp_path: Path) -> None:
    manifests = with_component("image-urls", tmp_path)
    assert [fault for manifest in manifests.all for fault in faults(manifest)] + dangling(manifests) == []
    assert added_setting(manifests, spotter_binary, tmp_path) == ("SPOTTER_IMAGE_URL_SCHEMES", "https")
    (rule,) = opened(manifests)
    assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
    blocks = {ip_network(peer["ipBlock"]["cidr"]): peer["ipBlock"]["except"] for peer in rule["to"]}
    for address in ("10.0.0.1", "172.20.1.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "fd00::1", "fe80::1"):
        (exceptions,) = (kept for whole, kept in blocks.items() if ip_address(address) in whole)
        assert any(ip_address(address) in ip_network(kept) for kept in exceptions), address


def test_a_models_name_is_the_same_wherever_it_is_written() -> None:
    """The image's variable and folder, what the pipeline builds, what the model server serves and what spotter asks for."""
    (in_image,) = re.findall(r"^ARG MODEL_NAME=(\S+)", (K8S / "serving/Dockerfile").read_text(), re.MULTILINE)
    workflow = (ROOT / ".github/workflows/images.yml").read_text()
    assert re.findall(r"--build-arg MODEL_NAME=(\S+)", workflow) == [in_image]
    assert re.findall(r'^NAME = "(\w+)"', (K8S / "serving/warmup.py").read_text(), re.MULTILINE) == [in_image]
    for overlay in WITH_MODEL_SERVER:
        (served,) = models(Manifests.of(overlay))
        assert (served.name, served.base_path) == (in_image, f"/models/{in_image}")
