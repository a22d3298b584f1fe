"""``python -m deploy.istio.trim CRDS.yaml``: what of Istio's definitions validates this project's manifests."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import yaml

KINDS = ("AuthorizationPolicy", "DestinationRule", "Gateway", "PeerAuthentication", "VirtualService")
VERSION = "v1"
TRIMMED = Path(__file__).with_name("crds.json")


def trim(definitions: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema of each kind's `spec`, by `apiVersion/kind`."""
    schemas = {}
    for definition in filter(None, definitions):
        spec = definition["spec"]
        kind = spec["names"]["kind"]
        if kind in KINDS:
            (version,) = (version for version in spec["versions"] if version["name"] == VERSION)
            schema = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
            schemas[f"{spec['group']}/{VERSION}/{kind}"] = without_descriptions(schema)
    missing = set(KINDS) - {key.rpartition("/")[2] for key in schemas}
    if missing:
        raise SystemExit(f"not in the file: {', '.join(sorted(missing))}")
    return schemas


def without_descriptions(schema: Any) -> Any:
    """Leaves a property that is called `description` alone: its value is a schema, not a text."""
    if isinstance(schema, list):
        return [without_descriptions(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_descriptions(value)
        for key, value in schema.items()
        if not (key == "description" and isinstance(value, str))
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("definitions", type=Path, help="Istio's file of custom resource definitions")
    definitions = list(yaml.safe_load_all(parser.parse_args().definitions.read_text()))
    TRIMMED.write_text(json.dumps(trim(definitions), separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
