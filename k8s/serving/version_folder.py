"""One numbered version of a model as TensorFlow Serving, fetch_model.py and spotter take it."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
import warmup
from file_list import write_list


@dataclass(frozen=True)
class VersionFolder:
    """The folder to make, and the photos that its version is warmed up with."""

    path: Path
    photos: list[Path]

    @staticmethod
    def declare(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("target", type=Path, help="the folder to make, named after the version's number")
        parser.add_argument(
            "--photos", type=Path, nargs="+", required=True, metavar="PHOTO", help="to warm the version up with"
        )

    @classmethod
    def of(cls, arguments: argparse.Namespace) -> VersionFolder:
        path = arguments.target
        if not path.name.isdigit():
            raise SystemExit(f"'{path}' has to end with the version's number, such as models/1")
        if path.exists():
            raise SystemExit(f"{path} is there already: a version never changes, take the next number")
        return cls(path, warmup.checked(arguments.photos))

    def save(self, serve: Callable, owner: tf.Module) -> None:
        """All of it or nothing: the SavedModel with one signature, its warm-up records, and the list of all files."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{self.path.name}-", dir=self.path.parent))
        try:
            tf.saved_model.save(owner, str(unfinished), signatures={warmup.SIGNATURE: serve})
            warmup.write(unfinished, self.photos)
            digest = write_list(unfinished)
            # mkdtemp's are for the owner alone; in an image others read it.
            unfinished.chmod(0o755)
            unfinished.rename(self.path)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        print(f"{self.path}: MODEL_SHA256 is {digest}")
