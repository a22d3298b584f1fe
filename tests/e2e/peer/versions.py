"""Which versions of which models can answer: watching folders, loading, swapping, labels.

Imitates the server's default policies: only the highest version number is wanted, and the version
it replaces is let go no sooner than the new one can answer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.python.client import pywrap_tf_session
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus
from tensorflow_serving.apis.model_pb2 import ModelSpec

from .refusal import Refusal, invalid_argument, not_found

State = ModelVersionStatus.State


class SavedModel:
    """A SavedModel in a session, run by tensor names as the signatures give them."""

    def __init__(self, path: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        meta_graph = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(path))
        self.signatures = dict(meta_graph.signature_def)

    def run(self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], timeout_ms: int) -> list[np.ndarray]:
        """Run the graph; a timeout of 0 means none.

        This goes below `Session.run`, which would convert a wrong dtype in Python or refuse it in
        words of its own. A server feeds what it was sent, and the runtime's refusal reaches the client.
        """
        tensor = self._session.graph.get_tensor_by_name
        options = tf.compat.v1.RunOptions(timeout_in_ms=timeout_ms)
        return self._session._call_tf_sessionrun(
            pywrap_tf_session.TF_NewBufferFromString(options.SerializeToString()),
            {tensor(name)._as_tf_output(): array for name, array in feeds.items()},
            [tensor(name)._as_tf_output() for name in fetches],
            [],
            None,
        )


@dataclass
class _Version:
    state: int = State.START
    model: SavedModel | None = None
    error: tuple[int, str] | None = None

    @property
    def was_unloaded(self) -> bool:
        return self.state == State.END and self.error is None


@dataclass(frozen=True)
class Servable:
    """What a request was matched with."""

    name: str
    version: int
    model: SavedModel


class Models:
    """All models of the server. `poll` is called by one thread, everything else by any."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        labels: Mapping[tuple[str, str], int],
        all_versions: bool,
        warm_up: Callable[[Servable, Path], None],
    ) -> None:
        """`warm_up` is given each version and its folder once it is loaded and before it can answer."""
        self._folders = folders
        self._labels = labels
        self._all_versions = all_versions
        self._warm_up = warm_up
        self._lock = threading.Lock()
        self._versions: dict[str, dict[int, _Version]] = {name: {} for name in folders}

    def poll(self) -> None:
        """Bring what is loaded in line with what is on disk; returns when every load is settled."""
        for name, folder in self._folders.items():
            wanted = self._wanted(folder)
            with self._lock:
                versions = self._versions[name]
                # A version that failed is not tried again; one that was unloaded may come back.
                new = [number for number in wanted if number not in versions or versions[number].was_unloaded]
                versions.update((number, _Version()) for number in new)
            for number in new:
                self._load(versions[number], name, folder / str(number))
            if not wanted or any(versions[number].model for number in wanted):
                for number in versions.keys() - wanted:
                    self._unload(versions[number])

    def find(self, spec: ModelSpec) -> Servable:
        """The loaded version that a request names, or the refusal it gets."""
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        number = self._requested_version(spec)
        with self._lock:
            loaded = {n: v.model for n, v in self._versions.get(spec.name, {}).items() if v.model}
        if number is None:
            if not loaded:
                raise not_found(f"Servable not found for request: Latest({spec.name})")
            number = max(loaded)
        elif number not in loaded:
            raise not_found(f"Servable not found for request: Specific({spec.name}, {number})")
        return Servable(spec.name, number, loaded[number])

    def statuses(self, spec: ModelSpec) -> list[ModelVersionStatus]:
        """Every version ever seen, newest first. Labels are ignored, as the server does."""
        with self._lock:
            versions = dict(self._versions.get(spec.name, {}))
        if spec.HasField("version"):
            number = spec.version.value
            if number not in versions:
                raise not_found(f"Could not find version {number} of model {spec.name}")
            versions = {number: versions[number]}
        if not versions:
            raise not_found(f"Could not find any versions of model {spec.name}")
        return [_status(number, version) for number, version in sorted(versions.items(), reverse=True)]

    def _requested_version(self, spec: ModelSpec) -> int | None:
        match spec.WhichOneof("version_choice"):
            case "version":
                return spec.version.value
            case "version_label":
                number = self._labels.get((spec.name, spec.version_label))
                if number is None:
                    raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
                return number
        return None

    def _wanted(self, folder: Path) -> set[int]:
        on_disk = {int(entry.name) for entry in folder.glob("*") if entry.name.isdigit()}
        return on_disk if self._all_versions else set(sorted(on_disk)[-1:])

    def _load(self, version: _Version, name: str, path: Path) -> None:
        self._set(version, State.LOADING)
        try:
            model = SavedModel(path)
            self._warm_up(Servable(name, int(path.name), model), path)
        except Refusal as refusal:
            self._set(version, State.END, error=(refusal.code.value[0], refusal.message))
        except tf.errors.OpError as error:
            self._set(version, State.END, error=(error.error_code, error.message))
        except (OSError, RuntimeError) as error:  # how the Python loader reports a missing or foreign file
            self._set(version, State.END, error=(tf.errors.NOT_FOUND, str(error)))
        else:
            self._set(version, State.AVAILABLE, model)

    def _unload(self, version: _Version) -> None:
        # Requests under way hold the SavedModel; its session closes with the last of them.
        if version.model:
            self._set(version, State.UNLOADING)
            self._set(version, State.END)

    def _set(
        self,
        version: _Version,
        state: int,
        model: SavedModel | None = None,
        error: tuple[int, str] | None = None,
    ) -> None:
        with self._lock:
            version.state, version.model, version.error = state, model, error


def _status(number: int, version: _Version) -> ModelVersionStatus:
    status = ModelVersionStatus(version=number, state=version.state)
    status.status.SetInParent()  # "OK" is an empty message, but a present one
    if version.error:
        status.status.error_code, status.status.error_message = version.error
    return status
