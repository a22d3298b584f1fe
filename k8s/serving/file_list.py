"""SHA256SUMS: which files belong to a version of a model, each with its digest. fetch_model.py fetches these and no others."""

from __future__ import annotations

import hashlib
from pathlib import Path

LIST = "SHA256SUMS"


def write_list(folder: Path) -> str:
    """Lists all that is there now, so it comes last; returns the list's own digest, the pipeline's MODEL_SHA256."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != LIST)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    text = "".join(lines).encode()
    (folder / LIST).write_bytes(text)
    return hashlib.sha256(text).hexdigest()
