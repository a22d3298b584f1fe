"""The mesh's behaviour, rehearsed: a real Envoy configured from the manifests' routes and balancing."""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import requests

from conftest import LOGS, StartGateway, StartPeer
from deploy.envoy import Envoy, bootstrap
from deploy.manifests import Manifests, environment, installed, models
from support import photos
from support.gateway import Gateway
from support.peer import Peer
from support.stubs import made
from support.versions import add_version
from support.wait import until

MODEL = "image_tensor"
PHOTOS = 24


class Failing(grpc.GenericRpcHandler):
    """A model server that is there and always UNAVAILABLE."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=4), handlers=[self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    @property
    def total(self) -> int:
        return self.calls.total()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
            with self._lock:
                self.calls[details.method.rpartition("/")[2]] += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "out of order")
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(refuse)

    def stop(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture(scope="module")
def two_model_servers(saved_models: Path) -> Iterator[list[str]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(Peer({MODEL: saved_models / MODEL}, logs=LOGS)).address
            for _ in range(2)
        ]  # fmt: skip


@pytest.fixture
def failing() -> Iterator[Failing]:
    server = Failing()
    yield server
    server.stop()


@pytest.fixture
def mesh() -> Manifests:
    return Manifests.of("istio")


@contextmanager
def refuses() -> Iterator[str]:
    """The address of a pod whose program has died: nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """The address of a pod whose node is gone: nobody answers. The one place in the queue of those who connect is taken, so
    that the system drops who comes next."""
    with socket.socket() as listener, socket.socket() as first:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        first.connect(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def resets() -> Iterator[str]:
    """The address of a pod that is lost in the midst of each call: connections are taken, and reset once something has come."""

    class Reset(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.request.close()

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Reset) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


def ask_for_all(gateway: Gateway) -> list[int]:
    """Several at once, so that the balancer has loads to compare."""
    photo = photos.read("chelsea")
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: gateway.post(photo).status_code, range(PHOTOS)))


def start(mesh: Manifests, envoy: Envoy, spotter: StartGateway) -> Gateway:
    retries = environment(mesh, mesh.get("Deployment", "spotter"))["SPOTTER_SERVING_RETRIES"]
    return spotter("--serving", envoy.url, "--model", MODEL, "--labels", "coco", "--serving-retries", retries)


def behind(mesh: Manifests, envoy: Envoy, spotter: StartGateway) -> Gateway:
    gateway = start(mesh, envoy, spotter)
    until(gateway.is_ready, "the model behind the proxy", within=60)
    return gateway


def test_of_three_model_servers_a_failing_one_is_ejected_and_no_client_notices(
    mesh: Manifests, two_model_servers: list[str], failing: Failing, spotter: StartGateway
) -> None:
    with Envoy(bootstrap(mesh, "detector", [*two_model_servers, failing.address]), LOGS) as envoy:
        gateway = behind(mesh, envoy, spotter)

        assert ask_for_all(gateway) == [200] * PHOTOS

        hosts = envoy.hosts("detector")
        assert [address for address, host in hosts.items() if host["ejected"]] == [failing.address]
        assert all(hosts[address]["requests"] > 0 for address in two_model_servers)
        stats = envoy.stats("detector")
        assert stats["outlier_detection.ejections_enforced_consecutive_gateway_failure"] == 1
        assert stats["upstream_rq_retry_success"] > 0
        asked = failing.total
        assert ask_for_all(gateway) == [200] * PHOTOS
        assert failing.total == asked, "an ejected host is left alone"


@pytest.mark.parametrize("dead", [refuses, silent, resets], ids=lambda dead: dead.__name__)
def test_of_three_model_servers_a_dead_one_is_ejected_and_no_client_notices(
    mesh: Manifests, two_model_servers: list[str], dead: Callable[[], AbstractContextManager[str]], spotter: StartGateway
) -> None:
    with dead() as gone, Envoy(bootstrap(mesh, "detector", [*two_model_servers, gone]), LOGS) as envoy:
        gateway = behind(mesh, envoy, spotter)

        def is_ejected() -> bool:
            assert ask_for_all(gateway) == [200] * PHOTOS
            return envoy.hosts("detector")[gone]["ejected"]

        until(is_ejected, "the ejection of the host that is gone", within=60)

        stats = envoy.stats("detector")
        assert stats["outlier_detection.ejections_enforced_consecutive_gateway_failure"] == 1
        assert stats["upstream_rq_retry_success"] > 0


def test_at_the_default_share_nobody_would_be_ejected(
    mesh: Manifests, two_model_servers: list[str], failing: Failing, spotter: StartGateway
) -> None:
    """Why maxEjectionPercent is written down: of three hosts one is more than 10 %."""
    detection = mesh.get("DestinationRule", "detector")["spec"]["trafficPolicy"]["outlierDetection"]
    detection["maxEjectionPercent"] = 10
    with Envoy(bootstrap(mesh, "detector", [*two_model_servers, failing.address]), LOGS) as envoy:
        assert ask_for_all(behind(mesh, envoy, spotter)) == [200] * PHOTOS, "repeating hides it, at a price"
        stats = envoy.stats("detector")
        assert stats["outlier_detection.ejections_overflow"] > 0
        assert stats["outlier_detection.ejections_active"] == 0
        assert failing.total > detection["consecutiveGatewayErrors"]


def test_with_all_model_servers_failing_only_the_mesh_repeats(mesh: Manifests, spotter: StartGateway) -> None:
    (route,) = mesh.get("VirtualService", "detector")["spec"]["http"]
    servers = [Failing() for _ in range(3)]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.stop)
        envoy = stack.enter_context(Envoy(bootstrap(mesh, "detector", [server.address for server in servers]), LOGS))
        gateway = start(mesh, envoy, spotter)

        assert gateway.post(photos.read("chelsea")).status_code == 503

        # What a photo asks for first; what the service asks for by itself are other things.
        asked = sum(server.calls["GetModelMetadata"] for server in servers)
        assert 1 <= asked <= route["retries"]["attempts"] + 1


def test_rest_and_http2_reach_spotter_through_one_port(mesh: Manifests, embedded: Gateway, tmp_path: Path) -> None:
    address = embedded.url.removeprefix("http://")
    photo = tmp_path / "photo.png"
    photo.write_bytes(photos.read("chelsea"))
    with Envoy(bootstrap(mesh, "spotter", [address]), LOGS) as envoy:
        for version in ("--http1.1", "--http2-prior-knowledge"):
            command = ["curl", "--silent", "--fail-with-body", version, "-F", f"image=@{photo}", f"{envoy.url}/v1/detect"]
            answer = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)
            assert [found["label"] for found in answer["detections"]] == ["cat"]
        stats = envoy.stats("spotter")
        assert (stats["upstream_cx_http1_total"], stats["upstream_cx_http2_total"]) == (1, 1)


def test_probes_and_metrics_are_not_there_for_the_world(mesh: Manifests, embedded: Gateway) -> None:
    assert embedded.get("/livez").status_code == 200
    with Envoy(bootstrap(mesh, "spotter", [embedded.url.removeprefix("http://")]), LOGS) as envoy:
        for path, expected in (("/livez", "404"), ("/readyz", "404"), ("/metrics", "404"), ("/openapi.json", "200")):
            command = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", envoy.url + path]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected


def test_clients_inside_the_mesh_hear_that_a_pod_is_full_and_may_ask_for_its_health(
    mesh: Manifests, failing: Failing, embedded: Gateway
) -> None:
    """Without the route Istio would repeat what is UNAVAILABLE."""
    pb2, pb2_grpc = made()
    with Envoy(bootstrap(mesh, "spotter", [failing.address], "mesh"), LOGS) as envoy:
        with grpc.insecure_channel(envoy.url.removeprefix("http://")) as channel:
            with pytest.raises(grpc.RpcError) as refused:
                pb2_grpc.DetectionServiceStub(channel).Detect(pb2.DetectRequest(), timeout=60)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert failing.total == 1
    with Envoy(bootstrap(mesh, "spotter", [embedded.url.removeprefix("http://")], "mesh"), LOGS) as envoy:
        assert requests.get(envoy.url + "/readyz", timeout=10).status_code == 200


@pytest.mark.parametrize("gateway", ["spotter", "mesh"])
@pytest.mark.parametrize("dead", [refuses, silent], ids=lambda dead: dead.__name__)
def test_a_dead_pod_is_put_aside_and_no_client_notices(
    mesh: Manifests, embedded: Gateway, dead: Callable[[], AbstractContextManager[str]], gateway: str
) -> None:
    alive = embedded.url.removeprefix("http://")
    with dead() as gone, Envoy(bootstrap(mesh, "spotter", [alive, gone], gateway), LOGS) as envoy:

        def is_ejected() -> bool:
            found = requests.post(envoy.url + "/v1/detect", data=photos.read("chelsea"), timeout=60)
            assert found.status_code == 200, found.text
            return envoy.hosts("spotter")[gone]["ejected"]

        until(is_ejected, "the ejection of the pod that is gone", within=60)

        stats = envoy.stats("spotter")
        assert stats["upstream_rq_retry_success"] > 0
        assert stats["outlier_detection.ejections_enforced_consecutive_local_origin_failure"] == 1
        pb2, pb2_grpc = made()
        with grpc.insecure_channel(envoy.url.removeprefix("http://")) as channel:
            found = pb2_grpc.DetectionServiceStub(channel).Detect(pb2.DetectRequest(image=photos.read("chelsea")), timeout=60)
        assert [detection.label for detection in found.detections] == ["cat"]


def test_a_full_pod_is_neither_asked_again_nor_put_aside(mesh: Manifests, embedded: Gateway, spotter: StartGateway) -> None:
    full = spotter("--max-upload-bytes-in-flight", "1")
    addresses = [gateway.url.removeprefix("http://") for gateway in (embedded, full)]
    with Envoy(bootstrap(mesh, "spotter", addresses), LOGS) as envoy:
        answers = Counter(
            requests.post(envoy.url + "/v1/detect", data=photos.read("chelsea"), timeout=60).status_code
            for _ in range(PHOTOS)
        )

        assert answers.keys() == {200, 503}
        assert envoy.stats("spotter").get("upstream_rq_retry", 0) == 0
        assert not any(host["ejected"] for host in envoy.hosts("spotter").values())


@pytest.mark.parametrize("overlay", ["istio", "canary"])
def test_a_field_that_the_rehearsal_does_not_translate_is_refused(overlay: str) -> None:
    """Wherever it stands: nothing is rehearsed without what the mesh would do."""
    for service in ("spotter", "detector"):
        for kind in ("VirtualService", "DestinationRule"):
            places = list(objects(Manifests.of(overlay).get(kind, service)["spec"]))
            for number in range(len(places)):
                changed = Manifests.of(overlay)
                # The same place of another copy.
                list(objects(changed.get(kind, service)["spec"]))[number]["mirror"] = {"host": "elsewhere"}
                with pytest.raises(ValueError, match="does not know"):
                    bootstrap(changed, service, ["127.0.0.1:1"])


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Each object with fields of its own. Headers are by anybody's names."""
    if isinstance(value, list):
        for member in value:
            yield from objects(member)
    elif isinstance(value, dict):
        yield value
        for key, member in value.items():
            yield from objects(list(member.values()) if key == "headers" else member)


def test_a_canary_answers_who_asks_for_it_and_nobody_else(
    saved_models: Path, start_peer: StartPeer, spotter: StartGateway, tmp_path: Path
) -> None:
    """The overlay's own files: what the model server serves, what spotter offers, and the gateway's routes."""
    canary = Manifests.of("canary")
    (served,) = models(canary)
    for version in served.model_version_policy.specific.versions:
        add_version(saved_models / MODEL / "1", tmp_path / "models", version)
    labels = [f"--label={label}={version}" for label, version in served.version_labels.items()]
    peer = start_peer({served.name: tmp_path / "models"}, "--all-versions", *labels)
    file = installed(canary, canary.get("Deployment", "spotter"), tmp_path)["SPOTTER_CONFIG"]
    gateway = spotter("--config", file, "--serving", f"http://{peer.address}")
    until(gateway.is_ready, "the model", within=60)
    address = gateway.url.removeprefix("http://")

    wanted = {"Spotter-Canary": "true"}
    with Envoy(bootstrap(canary, "spotter", [address]), LOGS) as envoy:
        assert model_of(envoy.url) == {"name": "detector", "version": "1"}
        assert model_of(envoy.url, {"Spotter-Canary": "false"}) == {"name": "detector", "version": "1"}
        assert model_of(envoy.url, wanted) == {"name": "canary", "version": "2"}
        assert model_of(envoy.url, wanted, "/v1/detect/batch") == {"name": "canary", "version": "2"}
        assert model_of(envoy.url, path="/v1/models/canary/detect") == {"name": "canary", "version": "2"}
    with Envoy(bootstrap(Manifests.of("istio"), "spotter", [address]), LOGS) as envoy:
        assert model_of(envoy.url, wanted) == {"name": "detector", "version": "1"}, "taken back"


def model_of(url: str, headers: dict[str, str] | None = None, path: str = "/v1/detect") -> dict[str, str]:
    """Which model and version answered a photo."""
    answer = requests.post(
        url + path, files={"image": photos.read("chelsea")}, params={"max_detections": 1}, headers=headers, timeout=60
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return found["photos"][0]["answer"]["model"] if "batch" in path else found["model"]


def test_grpc_goes_through_the_gateway_but_for_its_probes(mesh: Manifests, embedded: Gateway) -> None:
    pb2, pb2_grpc = made()
    with Envoy(bootstrap(mesh, "spotter", [embedded.url.removeprefix("http://")]), LOGS) as envoy:
        with grpc.insecure_channel(envoy.url.removeprefix("http://")) as channel:
            client = pb2_grpc.DetectionServiceStub(channel)
            found = client.Detect(pb2.DetectRequest(image=photos.read("chelsea")), timeout=60)
            assert [detection.label for detection in found.detections] == ["cat"]
            assert [model.name for model in client.ListModels(pb2.ListModelsRequest(), timeout=60).models] == ["nanodet-g"]
            for kept in ("grpc.health.v1.Health/Check", "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"):
                with pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(f"/{kept}")(b"", timeout=60)
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED, kept
        assert envoy.stats("spotter")["upstream_cx_http2_total"] == 1


def test_a_stream_of_frames_outlives_the_time_of_a_call(
    mesh: Manifests, saved_models: Path, start_peer: StartPeer, spotter: StartGateway
) -> None:
    """A model slower than the routes' timeout, which is shortened to see it: calls are given up, the stream is not."""
    peer = start_peer({MODEL: saved_models / MODEL}, "--delay-ms=1500")
    gateway = spotter("--serving", f"http://{peer.address}", "--model", MODEL, "--labels", "coco")
    until(gateway.is_ready, "the slow model", within=60)
    for route in mesh.get("VirtualService", "spotter")["spec"]["http"]:
        if "timeout" in route:
            route["timeout"] = "1s"
    pb2, pb2_grpc = made()
    with Envoy(bootstrap(mesh, "spotter", [gateway.url.removeprefix("http://")]), LOGS) as envoy:
        with grpc.insecure_channel(envoy.url.removeprefix("http://")) as channel:
            client = pb2_grpc.DetectionServiceStub(channel)
            photo = photos.read("chelsea")
            with pytest.raises(grpc.RpcError) as given_up:
                client.Detect(pb2.DetectRequest(image=photo), timeout=60)
            assert given_up.value.details() == "upstream request timeout"
            frame = pb2.StreamDetectRequest(frame=pb2.Frame(id=1, image=photo))
            (answer,) = client.StreamDetect(iter([frame]), timeout=60)
            assert [detection.label for detection in answer.result.response.detections] == ["cat"]


def test_a_model_that_takes_long_is_asked_once_and_waited_for(
    mesh: Manifests, saved_models: Path, start_peer: StartPeer, spotter: StartGateway
) -> None:
    slow = [start_peer({MODEL: saved_models / MODEL}, "--delay-ms=12000") for _ in range(2)]
    with Envoy(bootstrap(mesh, "detector", [peer.address for peer in slow]), LOGS) as envoy:
        gateway = behind(mesh, envoy, spotter)
        before = sum(len(peer.requests()) for peer in slow)

        assert gateway.post(photos.read("chelsea")).status_code == 200

        assert sum(len(peer.requests()) for peer in slow) - before == 1
        assert envoy.stats("detector")["upstream_rq_retry"] == 0
        assert not any(host["ejected"] for host in envoy.hosts("detector").values())


def test_a_model_server_that_hangs_costs_few_calls_and_is_then_left_alone(
    mesh: Manifests, saved_models: Path, start_peer: StartPeer, two_model_servers: list[str], spotter: StartGateway
) -> None:
    hung = start_peer({MODEL: saved_models / MODEL}, "--delay-ms=60000")
    (route,) = mesh.get("VirtualService", "detector")["spec"]["http"]
    # Long enough for a busy machine, and as before shorter than spotter's time.
    route["timeout"] = "4s"
    with Envoy(bootstrap(mesh, "detector", [*two_model_servers, hung.address]), LOGS) as envoy:
        gateway = behind(mesh, envoy, spotter)
        answers: Counter[int] = Counter()

        def is_ejected() -> bool:
            answers.update(ask_for_all(gateway))
            return envoy.hosts("detector")[hung.address]["ejected"]

        until(is_ejected, "the ejection of the host that hangs", within=60)

        assert answers.keys() == {200, 504}
        assert answers[504] < answers[200] / 2, "it is asked least, because it has the most in flight"
        stats = envoy.stats("detector")
        assert stats["outlier_detection.ejections_enforced_consecutive_gateway_failure"] == 1
        assert stats["upstream_rq_retry"] == 0, "what takes long is not computed once more"
        assert ask_for_all(gateway) == [200] * PHOTOS
        assert [address for address, host in envoy.hosts("detector").items() if host["ejected"]] == [hung.address]
