"""One numbered version of a model as TensorFlow Serving, fetch_model.py and spotter take it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

LIST = "SHA256SUMS"


def checked(target: Path) -> Path:
    if not target.name.isdigit():
        raise SystemExit(f"'{target}' has to end with the version's number, such as models/1")
    if target.exists():
        raise SystemExit(f"{target} is there already: a version never changes, take the next number")
    return target


def save(target: Path, serve: Callable, owner: tf.Module) -> None:
    """All of it or nothing: the SavedModel with one signature, and the list of its files with their digests."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        tf.saved_model.save(owner, str(unfinished), signatures={"serving_default": serve})
        names = sorted(str(path.relative_to(unfinished)) for path in unfinished.rglob("*") if path.is_file())
        lines = [f"{hashlib.sha256((unfinished / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        (unfinished / LIST).write_text("".join(lines))
        # mkdtemp's are for the owner alone; in an image others read it.
        unfinished.chmod(0o755)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    print(f"{target}: MODEL_SHA256 is {hashlib.sha256((target / LIST).read_bytes()).hexdigest()}")
