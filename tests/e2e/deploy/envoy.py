"""A real Envoy that does what a VirtualService and a DestinationRule say, as the mesh's proxies would.

What Istio adds by itself is added here too: retries go to another host, a call's own deadline (grpc-timeout) ends it within the
route's timeout, hosts are not ejected for their success rate, and no share of ejected hosts makes the proxy ask all of them again.
A field that is not translated is refused, so that nothing is rehearsed without it. TLS alone is left out: the
rehearsal is of routes and balancing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests

from support.process import Process
from support.wait import until

from .manifests import Manifests, seconds

ENVOY = Path(sys.executable).with_name("envoy")
HTTP = "type.googleapis.com/envoy.extensions"
UNLIMITED = 2**32 - 1


def bootstrap(manifests: Manifests, service: str, hosts: list[str], gateway: str | None = None) -> dict[str, Any]:
    """The configuration for calls to one service, whose pods are `hosts` (HOST:PORT).

    The proxy is that of `gateway`, which is `mesh` for those beside the clients' own pods; the first that the route is bound to
    where none is said.
    """
    virtual = manifests.get("VirtualService", service)["spec"]
    _only(virtual, "hosts", "gateways", "http")
    bound = virtual.get("gateways", ["mesh"])
    gateway = gateway or bound[0]
    assert gateway in bound, f"the route to {service} is not bound to {gateway}"
    rule = manifests.get("DestinationRule", service)["spec"]
    _only(rule, "host", "trafficPolicy")
    policy = rule["trafficPolicy"]
    manager = {
        "@type": f"{HTTP}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {
            "virtual_hosts": [
                {"name": service, "domains": ["*"], "routes": [r for http in virtual["http"] for r in _routes(http, gateway)]}
            ]
        },
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{HTTP}.filters.http.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "ingress",
        "address": _address("127.0.0.1:0"),
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    clusters = [_cluster(service, _speaks_http2(manifests, service), policy, hosts)]
    return {
        "admin": {"address": _address("127.0.0.1:0")},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _only(fields: dict[str, Any], *known: str) -> None:
    if unknown := fields.keys() - set(known):
        raise ValueError(f"the rehearsal does not know {sorted(unknown)} beside {sorted(known)}: translate it here")


def _address(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _speaks_http2(manifests: Manifests, service: str) -> bool:
    ways = [way for http in manifests.get("VirtualService", service)["spec"]["http"] for way in http.get("route", [])]
    (asked,) = {way["destination"]["port"]["number"] for way in ways}
    (port,) = (port for port in manifests.get("Service", service)["spec"]["ports"] if port["port"] == asked)
    return port.get("appProtocol") == "grpc"


def _routes(http: dict[str, Any], gateway: str) -> list[dict[str, Any]]:
    if "route" in http:
        _only(http, "name", "match", "route", "rewrite", "timeout", "retries")
        action = {"route": _route(http)}
    else:
        _only(http, "name", "match", "directResponse")
        _only(http["directResponse"], "status")
        action = {"direct_response": http["directResponse"]}
    if "match" not in http:
        return [{"match": {"prefix": "/"}, **action}]
    here = [match for match in http["match"] if gateway in match.get("gateways", [gateway])]
    return [{"match": _match(match), **action} for match in here]


def _match(match: dict[str, Any]) -> dict[str, Any]:
    _only(match, "uri", "headers", "gateways")
    _only(match["uri"], "exact", "prefix")
    for value in match.get("headers", {}).values():
        _only(value, "exact", "prefix")
    found: dict[str, Any] = {("path" if how == "exact" else how): value for how, value in match["uri"].items()}
    if headers := match.get("headers"):
        found["headers"] = [{"name": name, "string_match": value} for name, value in headers.items()]
    return found


def _route(http: dict[str, Any]) -> dict[str, Any]:
    (way,) = http["route"]
    _only(way, "destination")
    _only(way["destination"], "host", "port")
    _only(way["destination"]["port"], "number")
    # A route without a timeout has none.
    timeout = http.get("timeout", "0s")
    route: dict[str, Any] = {
        "cluster": way["destination"]["host"],
        "timeout": timeout,
        # Istio sets it in spite of its age.
        "max_grpc_timeout": timeout,
    }
    if rewrite := http.get("rewrite"):
        _only(rewrite, "uri")
        # Of a path that matched as a whole, the whole is the prefix.
        route["prefix_rewrite"] = rewrite["uri"]
    retries = http["retries"]
    _only(retries, "attempts", "retryOn")
    if retries["attempts"]:
        route["retry_policy"] = {
            "num_retries": retries["attempts"],
            "retry_on": retries["retryOn"],
            "retry_host_predicate": [
                {
                    "name": "previous",
                    "typed_config": {"@type": f"{HTTP}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
            "host_selection_retry_max_attempts": 5,
        }
    return route


def _cluster(service: str, http2: bool, policy: dict[str, Any], hosts: list[str]) -> dict[str, Any]:
    _only(policy, "tls", "loadBalancer", "connectionPool", "outlierDetection")
    _only(policy["tls"], "mode")
    _only(policy["loadBalancer"], "simple")
    pool = policy["connectionPool"]
    _only(pool, "tcp", "http")
    _only(pool["tcp"], "connectTimeout")
    _only(pool["http"], "useClientProtocol", "http2MaxRequests")
    if pool["http"].get("useClientProtocol"):
        protocol: dict[str, Any] = {"use_downstream_protocol_config": {"http2_protocol_options": {}}}
    elif http2:
        protocol = {"explicit_http_config": {"http2_protocol_options": {}}}
    else:
        protocol = {"explicit_http_config": {"http_protocol_options": {}}}
    options = f"{HTTP}.upstreams.http.v3.HttpProtocolOptions"
    return {
        "name": service,
        "type": "STATIC",
        "connect_timeout": pool["tcp"]["connectTimeout"],
        "lb_policy": policy["loadBalancer"]["simple"],
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {
            "thresholds": [
                {"max_requests": pool["http"].get("http2MaxRequests", UNLIMITED), "max_retries": UNLIMITED,
                 "max_connections": UNLIMITED, "max_pending_requests": UNLIMITED}
            ]
        },
        "typed_extension_protocol_options": {options.split("/")[-1]: {"@type": options, **protocol}},
        "outlier_detection": _outlier_detection(policy["outlierDetection"]),
        "load_assignment": {
            "cluster_name": service,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(host)}} for host in hosts]}],
        },
    }  # fmt: skip


def _outlier_detection(policy: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "interval": policy["interval"],
        "base_ejection_time": policy["baseEjectionTime"],
        "max_ejection_percent": policy["maxEjectionPercent"],
        "split_external_local_origin_errors": policy.get("splitExternalLocalOriginErrors", False),
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
    }
    failures = {
        "consecutive5xxErrors": "consecutive_5xx",
        "consecutiveGatewayErrors": "consecutive_gateway_failure",
        "consecutiveLocalOriginFailures": "consecutive_local_origin_failure",
    }
    _only(policy, "interval", "baseEjectionTime", "maxEjectionPercent", "splitExternalLocalOriginErrors", *failures)
    for theirs, ours in failures.items():
        if theirs in policy:
            # 0 means "not for this".
            found |= {ours: policy[theirs] or 1, f"enforcing_{ours}": 100 if policy[theirs] else 0}
    return found


class Envoy(Process):
    def __init__(self, config: dict[str, Any], logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        # Of its own, so that other proxies on the machine share neither memory nor names with it.
        self._folder = tempfile.TemporaryDirectory(prefix="envoy-")
        folder = Path(self._folder.name)
        (folder / "envoy.json").write_text(json.dumps(config))
        admin = folder / "admin"
        super().__init__(
            # It logs to standard error, where it says that it is ready.
            ["bash", "-c", 'exec "$@" 2>&1', "envoy", ENVOY, "--config-path", folder / "envoy.json",
             "--concurrency", "1", "--disable-hot-restart", "--admin-address-path", admin],
            announces=r"(starting main dispatch loop)",
            logs=logs,
        )  # fmt: skip
        self.admin = f"http://{until(admin.read_text, 'the address of the admin page')}"
        listeners = requests.get(f"{self.admin}/listeners?format=json", timeout=5).json()
        address = listeners["listener_statuses"][0]["local_address"]["socket_address"]
        self.url = f"http://{address['address']}:{address['port_value']}"

    def stats(self, cluster: str) -> dict[str, int]:
        """The cluster's counters, by their names within it."""
        query = f"{self.admin}/stats?format=json&filter=^cluster\\.{cluster}\\."
        stats = requests.get(query, timeout=5).json()["stats"]
        prefix = f"cluster.{cluster}."
        return {s["name"].removeprefix(prefix): s["value"] for s in stats if "value" in s}

    def hosts(self, cluster: str) -> dict[str, dict[str, Any]]:
        """What the proxy thinks of each host, by its HOST:PORT."""
        for status in requests.get(f"{self.admin}/clusters?format=json", timeout=5).json()["cluster_statuses"]:
            if status["name"] == cluster:
                return {
                    f"{host['address']['socket_address']['address']}:{host['address']['socket_address']['port_value']}":
                    {"ejected": host.get("health_status", {}).get("failed_outlier_check", False),
                     "requests": next((int(s.get("value", 0)) for s in host["stats"] if s["name"] == "rq_total"), 0)}
                    for host in status["host_statuses"]
                }  # fmt: skip
        raise KeyError(cluster)
