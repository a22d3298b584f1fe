"""What the autoscaler goes by: the adapter's query, asked of a real Prometheus that scrapes the service."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import LOGS, ROOT, StartGateway, StartPeer
from support import photos
from support.prometheus import Prometheus
from support.wait import until

MONITORING = ROOT / "monitoring"
(RULE,) = yaml.safe_load((MONITORING / "adapter.yaml").read_text())["rules"]["custom"]


def load_of(prometheus: Prometheus) -> list[dict[str, Any]]:
    """The query as the adapter fills it in; a scrape outside of Kubernetes has a job where there it has a pod."""
    query = RULE["metricsQuery"].replace("<<.LabelMatchers>>", 'job="spotter"').replace("<<.GroupBy>>", "job")
    assert "<<" not in query
    return prometheus.query(query)


def value(prometheus: Prometheus) -> float | None:
    found = load_of(prometheus)
    return float(found[0]["value"][1]) if found else None


# chelsea.png is 451 x 300, and as large for a model that takes any size.
ONE_PHOTO = str(2 * 451 * 300)


@pytest.mark.parametrize(
    ("room", "full"),
    [
        # One is worked on, two wait for its place.
        (("--max-in-flight", "1"), 3),
        # There are places, and memory for no more than one.
        (("--max-in-flight", "64", "--max-image-pixels", ONE_PHOTO, "--max-pixels-in-flight", ONE_PHOTO), 1),
    ],
    ids=["places", "pixels"],
)
def test_the_load_is_what_is_taken_and_waited_for_by_what_there_is(
    spotter: StartGateway, start_peer: StartPeer, saved_models: Path, room: tuple[str, ...], full: float
) -> None:
    peer = start_peer({"detector": saved_models / "image_tensor"}, "--delay-ms=4000")
    flags = ("--serving", f"http://{peer.address}", "--model", "detector", "--labels", "coco")
    gateway = spotter(*flags, *room, "--max-queue-ms", "20000", "--metrics-listen", "127.0.0.1:0")
    metrics = gateway.printed(r"metrics +http://(\S+)/metrics")[1]
    until(gateway.is_ready, "the model", within=60)
    with Prometheus(metrics, MONITORING / "alerts.yaml", logs=LOGS) as prometheus:
        until(lambda: value(prometheus) == 0, "an idle service")
        # The adapter finds the pods that it asks for by this series.
        assert prometheus.query(RULE["seriesQuery"].partition("{")[0])
        with ThreadPoolExecutor(3) as pool:
            answers = [pool.submit(gateway.post, photos.read("chelsea")) for _ in range(3)]
            until(lambda: value(prometheus) == full, "three photos for the room of one", within=30)
            assert {answer.result().status_code for answer in answers} == {200}
        until(lambda: value(prometheus) == 0, "an idle service", within=30)
