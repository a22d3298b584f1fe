"""Stubs of the typed front, made from the project's own .proto file as a user of the service would make them."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

PROTO = Path(__file__).resolve().parents[3] / "proto"


@functools.cache
def made() -> tuple[ModuleType, ModuleType]:
    """Messages and stubs; once a process, because protobuf takes a file once."""
    with tempfile.TemporaryDirectory(prefix="stubs-") as out:
        arguments = [f"-I{PROTO}", f"--python_out={out}", f"--grpc_python_out={out}", "spotter/v1/detection.proto"]
        # In a process of its own: beside TensorFlow, which tests load, protoc's own protobuf crashes.
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
        sys.path.insert(0, out)
        try:
            return tuple(importlib.import_module(f"spotter.v1.detection_pb2{end}") for end in ("", "_grpc"))
        finally:
            sys.path.remove(out)
