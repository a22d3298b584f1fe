"""``python trim.py``: what of the Prometheus operator's definitions validates this project's manifests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

KIND = "monitoring.coreos.com/v1/ServiceMonitor"
TRIMMED = Path(__file__).with_name("definitions.json")


def trim(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of the kind's `spec` alone, with what it refers to."""
    spec = simplified(schema["$defs"][schema["properties"]["spec"]["$ref"].rpartition("/")[2]])
    definitions = {name: simplified(part) for name, part in schema["$defs"].items()}
    used: set[str] = set()
    left = references(spec)
    while left:
        used |= left
        left = set().union(*(references(definitions[name]) for name in left)) - used
    return spec | {"$defs": {name: definitions[name] for name in sorted(used)}}


def references(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(references, schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
    return own.union(*map(references, schema.values()))


def simplified(schema: Any) -> Any:
    """Without what pydantic adds: titles, defaults, and null as another way to leave a field out."""
    if isinstance(schema, list):
        return [simplified(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "properties":
            found[key] = {name: simplified(property) for name, property in value.items()}
        elif key not in ("title", "default", "description"):
            found[key] = simplified(value)
    choices = [choice for choice in found.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        del found["anyOf"]
        return found | choices[0]
    return found | {"anyOf": choices} if choices else found


def main() -> None:
    from cloudcoil.models.prometheus_operator import v1  # installed for this alone

    schemas = {KIND: trim(v1.ServiceMonitor.model_json_schema(by_alias=True))}
    TRIMMED.write_text(json.dumps(schemas, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
