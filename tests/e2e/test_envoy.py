"""Through a real Envoy, as in a mesh: three model servers, of which one fails every call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest

from conftest import LOGS, StartGateway
from support import photos
from support.envoy import Envoy
from support.peer import Peer
from support.wait import until


class Failing(grpc.GenericRpcHandler):
    """Refuses whatever is asked, and counts it."""

    def __init__(self) -> None:
        self.asked = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.asked += 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "upstream is not well")
            raise AssertionError("abort raises")

        return grpc.unary_unary_rpc_method_handler(refuse)


@pytest.fixture
def failing() -> Iterator[tuple[str, Failing]]:
    handler = Failing()
    server = grpc.server(ThreadPoolExecutor(max_workers=4), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}", handler
    server.stop(None).wait()


@pytest.fixture(scope="module")
def pair(saved_models: Path) -> Iterator[list[Peer]]:
    model = {"m": saved_models / "image_tensor"}
    with Peer(model, logs=LOGS) as one, Peer(model, logs=LOGS) as other:
        yield [one, other]


def test_a_mesh_that_retries_and_ejects_hides_the_failing_host(
    pair: list[Peer], failing: tuple[str, Failing], spotter: StartGateway
) -> None:
    address, handler = failing
    with Envoy([address, *(peer.address for peer in pair)], cares=True, logs=LOGS) as envoy:
        gateway = spotter("--serving", envoy.url, "--model", "m", "--labels", "coco")
        until(gateway.is_ready, "the gateway to be ready")
        with ThreadPoolExecutor(max_workers=4) as clients:
            statuses = Counter(
                clients.map(lambda _: gateway.post(photos.read("chelsea")).status_code, range(40))
            )
        assert statuses == {200: 40}
        assert envoy.stat("upstream_rq_retry") > 0, "it was asked, and somebody else answered"
        until(lambda: envoy.stat("outlier_detection.ejections_active") == 1, "Envoy to have ejected the failing host")
        before = handler.asked
        assert gateway.post(photos.read("chelsea")).status_code == 200
        assert handler.asked == before


def test_with_all_model_servers_dead_behind_it_photos_and_probes_are_told_so_until_one_is_back(
    saved_models: Path, spotter: StartGateway
) -> None:
    model = {"m": saved_models / "image_tensor"}
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(model, logs=LOGS)) for _ in range(2)]
        envoy = stack.enter_context(Envoy([peer.address for peer in peers], cares=False, logs=LOGS))
        gateway = spotter("--serving", envoy.url, "--model", "m", "--labels", "coco")
        until(gateway.is_ready, "the gateway to be ready")
        assert gateway.post(photos.read("chelsea")).status_code == 200

        for peer in peers:
            peer.stop()
        answer = gateway.post(photos.read("chelsea"))
        assert (answer.status_code, answer.json()["code"]) == (503, "MODEL_UNAVAILABLE")
        assert int(answer.headers["retry-after"]) > 0
        until(lambda: gateway.get("/readyz").status_code == 503, "the gateway to be no longer ready")
        assert gateway.get("/livez").status_code == 200

        # The other stays dead: where probes take turns with photos, the second try of one may meet it as well.
        stack.enter_context(Peer(model, logs=LOGS, listen=peers[0].address))
        until(lambda: gateway.post(photos.read("chelsea")).status_code == 200, "a photo to be answered again")
        until(gateway.is_ready, "the gateway to be ready again")


def test_behind_a_proxy_that_only_balances_a_refused_call_is_asked_once_more(
    pair: list[Peer], failing: tuple[str, Failing], spotter: StartGateway
) -> None:
    address, handler = failing
    with Envoy([address, *(peer.address for peer in pair)], cares=False, logs=LOGS) as envoy:
        gateway = spotter("--serving", envoy.url, "--model", "m", "--labels", "coco")
        until(gateway.is_ready, "the gateway to be ready")
        before = handler.asked
        # One after the other: Envoy takes turns, so that the second try of a call meets another host.
        statuses = Counter(gateway.post(photos.read("chelsea")).status_code for _ in range(15))
        assert statuses == {200: 15}
        assert handler.asked > before, "the failing host had its turns"
