"""Whether a manifest is one that the API server would take, strictly: a misspelt field is refused too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import celpy
import kubernetes_validate
from celpy.adapter import json_to_cel
from jsonschema import Draft202012Validator

from .istio.trim import TRIMMED as OF_ISTIO
from .prometheus.trim import TRIMMED as OF_PROMETHEUS

# The oldest release whose fields the manifests may use: `preStop.sleep` and matching proxies are stable in it.
KUBERNETES = "1.34"

Manifest = dict[str, Any]


def faults(manifest: Manifest) -> list[str]:
    """What is wrong with one manifest; nothing where it is fit."""
    kind = f"{manifest['apiVersion']}/{manifest['kind']}"
    # Kubernetes' own groups have no dot, or end with its name.
    group = manifest["apiVersion"].rpartition("/")[0]
    if "." in group and not group.endswith(".k8s.io"):
        return [f"{kind}: {fault}" for fault in _defined_faults(kind, manifest)]
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{kind}: {error.message} at {'.'.join(map(str, error.path))}"]
    except kubernetes_validate.SchemaNotFoundError:
        return [f"{kind}: no such kind"]
    return []


def _defined_faults(kind: str, manifest: Manifest) -> Iterator[str]:
    if kind not in _defined():
        yield "no such kind"
        return
    if unknown := manifest.keys() - {"apiVersion", "kind", "metadata", "spec"}:
        yield f"unknown fields {sorted(unknown)}"
    # What every kind has, whoever defined it.
    frame = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": manifest.get("metadata")}
    yield from faults(frame)
    schema, validator = _defined()[kind]
    spec = manifest.get("spec")
    for error in validator.iter_errors(spec):
        yield f"{error.message} at spec.{'.'.join(map(str, error.absolute_path))}"
    yield from _rule_faults(schema, spec, "spec")


@cache
def _defined() -> dict[str, tuple[dict[str, Any], Draft202012Validator]]:
    """The kinds that custom resource definitions add."""
    schemas = {kind: schema for file in (OF_ISTIO, OF_PROMETHEUS) for kind, schema in json.loads(file.read_text()).items()}
    return {kind: (schema, Draft202012Validator(_strict(schema))) for kind, schema in schemas.items()}


def _strict(schema: Any, within_choice: bool = False) -> Any:
    """The same schema with no place for fields it does not name; the branches of a choice name only a part of them."""
    if isinstance(schema, list):
        return [_strict(item, within_choice) for item in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {}
    for key, value in schema.items():
        if key == "properties":
            strict[key] = {name: _strict(of_name, within_choice) for name, of_name in value.items()}
        elif key not in ("required", "enum"):
            strict[key] = _strict(value, within_choice or key in ("allOf", "anyOf", "oneOf", "not"))
        else:
            strict[key] = value
    free = schema.get("additionalProperties") or schema.get("x-kubernetes-preserve-unknown-fields")
    if not within_choice and schema.get("type") == "object" and not free:
        strict["additionalProperties"] = False
    if schema.get("nullable"):
        return {"anyOf": [{"type": "null"}, strict]}
    return strict


def _rule_faults(schema: dict[str, Any], value: Any, path: str) -> Iterator[str]:
    """What the schema says in CEL, on the whole way down the value."""
    for rule in schema.get("x-kubernetes-validations", []):
        try:
            holds = bool(_program(rule["rule"]).evaluate({"self": json_to_cel(value)}))
        except celpy.CELEvalError:
            holds = False
        if not holds:
            yield f"{rule.get('message') or rule['rule']} at {path}"
    if isinstance(value, dict):
        for key, member in value.items():
            below = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if isinstance(below, dict):
                yield from _rule_faults(below, member, f"{path}.{key}")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, member in enumerate(value):
            yield from _rule_faults(schema["items"], member, f"{path}.{index}")


@cache
def _program(rule: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(rule))
