"""A real Envoy between the service and the model servers, as a mesh's sidecar would be."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests

from .daemon import Daemon
from .wait import until

ENVOY = Path(sys.executable).with_name("envoy")
HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}
# Envoy's own answer to a host that fails: another try, and the host left alone for a while.
RETRIES = {"retry_on": "unavailable,connect-failure,refused-stream,reset", "num_retries": 2}
EJECTION = {"consecutive_5xx": 3, "interval": "0.5s", "base_ejection_time": "30s", "max_ejection_percent": 50}


class Envoy(Daemon):
    """Balances gRPC over `hosts`, one call after the other; with `cares` it retries and ejects as well."""

    def __init__(self, hosts: Sequence[str], *, cares: bool, logs: Path) -> None:
        super().__init__("envoy", logs)
        (self.folder / "envoy.json").write_text(json.dumps(_config(hosts, cares)))
        admin = self.folder / "admin"
        self._start(
            [
                *(ENVOY, "-c", self.folder / "envoy.json", "--use-dynamic-base-id", "--concurrency", "1"),
                *("--admin-address-path", admin, "--log-level", "warning"),
            ]
        )
        try:
            until(lambda: admin.exists() and admin.read_text(), f"Envoy to start; see {self.log}")
            self._admin = f"http://{admin.read_text()}"
            self.url = f"http://{until(self._listener, 'Envoy to listen')}"
        except BaseException:
            self.stop()
            raise

    def _listener(self) -> str | None:
        try:
            statuses = requests.get(f"{self._admin}/listeners?format=json", timeout=5).json()["listener_statuses"]
        except (requests.ConnectionError, KeyError):
            return None
        address = statuses[0]["local_address"]["socket_address"]
        return f"{address['address']}:{address['port_value']}"

    def stat(self, name: str) -> int:
        """A counter or gauge of the cluster of model servers."""
        stats = requests.get(f"{self._admin}/stats?format=json&filter=cluster.models.{name}$", timeout=5).json()
        return int(stats["stats"][0]["value"])


def _config(hosts: Sequence[str], cares: bool) -> dict[str, Any]:
    def at(address: str) -> dict[str, Any]:
        host, _, port = address.rpartition(":")
        return {"socket_address": {"address": host, "port_value": int(port)}}

    route: dict[str, Any] = {"cluster": "models", "timeout": "0s"}
    cluster: dict[str, Any] = {
        "name": "models",
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": HTTP2,
        "load_assignment": {
            "cluster_name": "models",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(host)}} for host in hosts]}],
        },
    }
    if cares:
        route["retry_policy"] = RETRIES
        cluster["outlier_detection"] = EJECTION
    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "codec_type": "AUTO",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]
        },
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "grpc",
        "address": at("127.0.0.1:0"),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"admin": {"address": at("127.0.0.1:0")}, "static_resources": {"listeners": [listener], "clusters": [cluster]}}
