"""Putting model versions where a model server watches for them."""

from __future__ import annotations

import shutil
from pathlib import Path


def add_version(saved_model: Path, folder: Path, number: int) -> None:
    """Put a version in place at once: a half copied one would be loaded, and fail."""
    partial = folder / f"{number}.partial"
    shutil.copytree(saved_model, partial)
    partial.rename(folder / str(number))
