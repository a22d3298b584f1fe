"""The manifests as a cluster gets them, and what of them refers to what."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from .schemas import Manifest

K8S = Path(__file__).resolve().parents[3] / "k8s"
OVERLAYS = tuple(sorted(path.name for path in (K8S / "overlays").iterdir()))
KUBECTL = Path(sys.executable).with_name("kubectl")

# Who stands outside and is referred to: the operator makes the Secrets, the mesh and the cluster bring the rest.
GIVEN_SECRETS = {"spotter-keys", "spotter-tls"}


@cache
def _rendered(overlay: str) -> str:
    return _kustomized(K8S / "overlays" / overlay)


def _kustomized(folder: Path) -> str:
    command = [KUBECTL, "kustomize", str(folder)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


class Manifests:
    """Everything that one overlay makes."""

    def __init__(self, manifests: list[Manifest]) -> None:
        self.all = manifests

    @classmethod
    def of(cls, overlay: str) -> Manifests:
        return cls(list(yaml.safe_load_all(_rendered(overlay))))

    @classmethod
    def at(cls, folder: Path) -> Manifests:
        return cls(list(yaml.safe_load_all(_kustomized(folder))))

    def kind(self, kind: str) -> list[Manifest]:
        return [manifest for manifest in self.all if manifest["kind"] == kind]

    def get(self, kind: str, name: str) -> Manifest:
        (found,) = (manifest for manifest in self.kind(kind) if manifest["metadata"]["name"] == name)
        return found

    def names(self, kind: str) -> set[str]:
        return {manifest["metadata"]["name"] for manifest in self.kind(kind)}

    def config_map(self, prefix: str) -> Manifest:
        """A generated one: its name ends with a hash."""
        (found,) = (m for m in self.kind("ConfigMap") if re.fullmatch(f"{prefix}-[0-9a-z]+", m["metadata"]["name"]))
        return found


def pod(deployment: Manifest) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


def container(deployment: Manifest) -> dict[str, Any]:
    (only,) = pod(deployment)["containers"]
    return only


def environment(manifests: Manifests, deployment: Manifest) -> dict[str, str]:
    """The container's variables as the kubelet would set them."""
    only = container(deployment)
    found: dict[str, str] = {}
    for source in only.get("envFrom", []):
        found.update(manifests.get("ConfigMap", source["configMapRef"]["name"])["data"])
    for variable in only.get("env", []):
        if "value" in variable:
            found[variable["name"]] = variable["value"]
        else:
            resource = variable["valueFrom"]["resourceFieldRef"]["resource"]
            group, _, name = resource.partition(".")
            found[variable["name"]] = str(cores(only["resources"][group][name]))
    return found


def installed(manifests: Manifests, deployment: Manifest, root: Path) -> dict[str, str]:
    """The container's variables, where the ConfigMaps that it mounts lie under `root` instead of /."""
    found = environment(manifests, deployment)
    volumes = {volume["name"]: volume for volume in pod(deployment).get("volumes", [])}
    for mount in container(deployment).get("volumeMounts", []):
        volume = volumes[mount["name"]]
        if "configMap" not in volume:
            continue
        folder = root / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        for file, text in manifests.get("ConfigMap", volume["configMap"]["name"])["data"].items():
            (folder / file).write_text(text)
        for name, value in found.items():
            if value.startswith(f"{mount['mountPath']}/"):
                found[name] = str(root / value.lstrip("/"))
    return found


def models(manifests: Manifests) -> list[ModelConfig]:
    """What the model server is told to serve, as it reads that itself."""
    (text,) = manifests.config_map("detector-models")["data"].values()
    return list(text_format.Parse(text, ModelServerConfig()).model_config_list.config)


def cores(quantity: str) -> int:
    """Whole ones, rounded up as the kubelet does for a divisor of 1."""
    if quantity.endswith("m"):
        return -(-int(quantity[:-1]) // 1000)
    return int(quantity)


def mebibytes(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


def seconds(duration: str | int) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", str(duration)).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def dangling(manifests: Manifests) -> list[str]:
    """Every reference from one manifest to another that leads nowhere."""
    return [fault for check in (_of_deployments, _of_services, _of_scalers, _of_selectors, _of_monitors, _of_mesh)
            for fault in check(manifests)]


def _labels(deployment: Manifest) -> dict[str, str]:
    return deployment["spec"]["template"]["metadata"]["labels"]


def _selects(selector: dict[str, str], deployment: Manifest) -> bool:
    return selector.items() <= _labels(deployment).items()


def _of_deployments(manifests: Manifests) -> Iterator[str]:
    for deployment in manifests.kind("Deployment"):
        name, spec, only = deployment["metadata"]["name"], pod(deployment), container(deployment)
        selectors = [deployment["spec"]["selector"]["matchLabels"]]
        selectors += [spread["labelSelector"]["matchLabels"] for spread in spec["topologySpreadConstraints"]]
        for selector in selectors:
            if not _selects(selector, deployment):
                yield f"Deployment {name}: {selector} is not on its pods"
        if spec["serviceAccountName"] not in manifests.names("ServiceAccount"):
            yield f"Deployment {name}: no ServiceAccount {spec['serviceAccountName']}"
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        maps = [volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume]
        maps += [source["configMapRef"]["name"] for source in only.get("envFrom", [])]
        for missing in set(maps) - manifests.names("ConfigMap"):
            yield f"Deployment {name}: no ConfigMap {missing}"
        secrets = {volume["secret"]["secretName"] for volume in volumes.values() if "secret" in volume}
        for missing in secrets - GIVEN_SECRETS:
            yield f"Deployment {name}: no Secret {missing}"
        mounts = {mount["name"] for mount in only.get("volumeMounts", [])}
        if mounts != volumes.keys():
            yield f"Deployment {name}: volumes {sorted(volumes)} but mounts {sorted(mounts)}"
        ports = {port["name"] for port in only["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            for way in ("httpGet", "tcpSocket"):
                port = only[probe].get(way, {}).get("port")
                if port is not None and port not in ports:
                    yield f"Deployment {name}: {probe} asks port {port}"


def _of_services(manifests: Manifests) -> Iterator[str]:
    for service in manifests.kind("Service"):
        name = service["metadata"]["name"]
        behind = [d for d in manifests.kind("Deployment") if _selects(service["spec"]["selector"], d)]
        if len(behind) != 1:
            yield f"Service {name}: stands for {len(behind)} deployments"
            continue
        ports = {port["name"] for port in container(behind[0])["ports"]}
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                yield f"Service {name}: no port {port['targetPort']}"


def _of_scalers(manifests: Manifests) -> Iterator[str]:
    for scaler in manifests.kind("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        if target["name"] not in manifests.names(target["kind"]):
            yield f"HorizontalPodAutoscaler: no {target['kind']} {target['name']}"
            continue
        deployment = manifests.get("Deployment", target["name"])
        for metric in scaler["spec"]["metrics"]:
            if metric["type"] == "ContainerResource" and metric["containerResource"]["container"] != container(deployment)["name"]:
                yield f"HorizontalPodAutoscaler {target['name']}: no container {metric['containerResource']['container']}"


def _of_selectors(manifests: Manifests) -> Iterator[str]:
    """Of what applies to pods by their labels. Selectors of other namespaces' pods are not known here."""
    deployments = manifests.kind("Deployment")
    selectors = [(m, m["spec"]["selector"]["matchLabels"]) for m in manifests.kind("PodDisruptionBudget")]
    selectors += [
        (m, m["spec"]["selector"]["matchLabels"])
        for kind in ("AuthorizationPolicy", "PeerAuthentication")
        for m in manifests.kind(kind)
        if "selector" in m["spec"]
    ]
    for policy in manifests.kind("NetworkPolicy"):
        spec = policy["spec"]
        chosen = spec["podSelector"].get("matchLabels", {})
        selectors.append((policy, chosen))
        for way, side in (("ingress", "from"), ("egress", "to")):
            for rule in spec.get(way, []):
                peers = [peer for peer in rule[side] if not {"namespaceSelector", "ipBlock"} & peer.keys()]
                selectors += [(policy, peer["podSelector"]["matchLabels"]) for peer in peers]
                # Named ports are those of whoever is asked.
                asked = [chosen] if way == "ingress" else [peer["podSelector"]["matchLabels"] for peer in peers]
                for selector in asked:
                    known = {p["name"] for d in deployments if _selects(selector, d) for p in container(d)["ports"]}
                    for port in rule["ports"]:
                        if isinstance(port["port"], str) and port["port"] not in known:
                            yield f"NetworkPolicy {policy['metadata']['name']}: no port {port['port']}"
    for manifest, selector in selectors:
        if not any(_selects(selector, deployment) for deployment in deployments):
            yield f"{manifest['kind']} {manifest['metadata']['name']}: no pod is {selector}"


def _of_monitors(manifests: Manifests) -> Iterator[str]:
    for monitor in manifests.kind("ServiceMonitor"):
        name, spec = monitor["metadata"]["name"], monitor["spec"]
        chosen = [
            service
            for service in manifests.kind("Service")
            if spec["selector"]["matchLabels"].items() <= service["metadata"].get("labels", {}).items()
        ]
        if not chosen:
            yield f"ServiceMonitor {name}: no Service is {spec['selector']['matchLabels']}"
        for service in chosen:
            ports = {port["name"] for port in service["spec"]["ports"]}
            for endpoint in spec["endpoints"]:
                if endpoint["port"] not in ports:
                    yield f"ServiceMonitor {name}: Service {service['metadata']['name']} has no port {endpoint['port']}"


def _of_mesh(manifests: Manifests) -> Iterator[str]:
    listened = {str(p["containerPort"]) for d in manifests.kind("Deployment") for p in container(d)["ports"]}
    asked = [(m, port) for m in manifests.kind("PeerAuthentication") for port in m["spec"].get("portLevelMtls", {})]
    asked += [
        (policy, port)
        for policy in manifests.kind("AuthorizationPolicy")
        for rule in policy["spec"].get("rules", [])
        for to in rule.get("to", [])
        for port in to["operation"]["ports"]
    ]
    for manifest, port in asked:
        if port not in listened:
            yield f"{manifest['kind']} {manifest['metadata']['name']}: nobody listens on {port}"
    ports = {s["metadata"]["name"]: {p["port"] for p in s["spec"]["ports"]} for s in manifests.kind("Service")}
    for rule in manifests.kind("DestinationRule"):
        if rule["spec"]["host"] not in ports:
            yield f"DestinationRule {rule['metadata']['name']}: no Service {rule['spec']['host']}"
    gateways = {g["metadata"]["name"]: {h for s in g["spec"]["servers"] for h in s["hosts"]}
                for g in manifests.kind("Gateway")}
    for gateway in manifests.kind("Gateway"):
        for server in gateway["spec"]["servers"]:
            secret = server.get("tls", {}).get("credentialName")
            if secret is not None and secret not in GIVEN_SECRETS:
                yield f"Gateway {gateway['metadata']['name']}: no Secret {secret}"
    for route in manifests.kind("VirtualService"):
        name, spec = route["metadata"]["name"], route["spec"]
        # Inside of the mesh a host is a Service.
        bound = {gateway: gateways.get(gateway, set()) if gateway != "mesh" else ports.keys()
                 for gateway in spec.get("gateways", ["mesh"])}
        for gateway, taken in bound.items():
            if not taken & set(spec["hosts"]):
                yield f"VirtualService {name}: Gateway {gateway} takes none of {spec['hosts']}"
        for host in set(spec["hosts"]) - set().union(*bound.values()):
            yield f"VirtualService {name}: nobody takes {host}"
        for http in spec["http"]:
            for gateway in {gateway for match in http.get("match", []) for gateway in match.get("gateways", [])} - bound.keys():
                yield f"VirtualService {name}: {http['name']} is for {gateway}, which it is not bound to"
            for way in http.get("route", []):
                to = way["destination"]
                if to["port"]["number"] not in ports.get(to["host"], set()):
                    yield f"VirtualService {name}: no Service {to['host']} with port {to['port']['number']}"
    accounts = {f"cluster.local/ns/{a['metadata']['namespace']}/sa/{a['metadata']['name']}"
                for a in manifests.kind("ServiceAccount")}
    for policy in manifests.kind("AuthorizationPolicy"):
        for rule in policy["spec"].get("rules", []):
            for source in rule.get("from", []):
                for principal in source["source"]["principals"]:
                    if principal not in accounts and "/ns/istio-system/" not in principal:
                        yield f"AuthorizationPolicy {policy['metadata']['name']}: nobody is {principal}"
