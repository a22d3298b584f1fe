"""The program under test as a child process, spoken to over HTTP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import requests

from .process import Process

# Above the service's own limit for a request, so that a hang is the service's fault and is seen as one.
TIMEOUT_SECONDS = 60


class Gateway(Process):
    def __init__(
        self, binary: Path, *flags: str, logs: Path, port: int = 0, patience: float = TIMEOUT_SECONDS
    ) -> None:
        super().__init__(
            [binary, "serve", "--listen", f"127.0.0.1:{port}", *flags],
            announces=r"listening +(http://127\.0\.0\.1:\d+)\n",  # the model server's URL is announced too
            logs=logs,
        )
        self.url = self.announced
        self.port = int(self.url.rpartition(":")[2])
        self._patience = patience

    def get(self, path: str) -> requests.Response:
        return requests.get(self.url + path, timeout=self._patience)

    def post(self, photo: bytes, headers: dict[str, str] | None = None, **options: Any) -> requests.Response:
        """POST /v1/detect with the photo as a multipart part, whatever comes of it."""
        return requests.post(
            self.url + "/v1/detect",
            files={"image": ("photo", photo)},
            params=options,
            headers=headers,
            timeout=self._patience,
        )

    def detect(self, photo: bytes, **options: Any) -> dict[str, Any]:
        response = self.post(photo, **options)
        assert response.status_code == 200, f"{response.status_code}: {response.text}\nlog: {self.log}"
        return response.json()

    def resident(self) -> float:
        """MiB of its memory that are there."""
        (kilobytes,) = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        return int(kilobytes) / 1024

    def is_ready(self) -> bool:
        return self.get("/readyz").status_code == 200
