"""A real Prometheus that scrapes the service and evaluates what the dashboard and the alerts ask."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import requests
import yaml

from .daemon import Daemon
from .wait import until


class Prometheus(Daemon):
    """Scrapes `target` (host:port) every second, under the job `spotter`, with `key` where one is given."""

    def __init__(self, target: str, rules: Path, *, logs: Path, key: str | None = None) -> None:
        super().__init__("prometheus", logs)
        scrape: dict[str, Any] = {
            "job_name": "spotter",
            "scrape_interval": "1s",
            "static_configs": [{"targets": [target]}],
        }
        if key:
            scrape["authorization"] = {"credentials": key}
        config = {"global": {"evaluation_interval": "1s"}, "rule_files": [str(rules)], "scrape_configs": [scrape]}
        (self.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        # It does not say which port it was given for 0, so it is given one that was free a moment ago.
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self._start(
            [
                *("prometheus", f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"),
                f"--web.listen-address={address}",
            ]
        )
        self._url = f"http://{address}"
        try:
            until(self._is_ready, f"Prometheus to start; see {self.log}")
        except BaseException:
            self.stop()
            raise

    def _is_ready(self) -> bool:
        if self._child.poll() is not None:
            raise AssertionError(f"Prometheus ended: {self.log.read_text()[-2000:]}")
        try:
            return requests.get(f"{self._url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    def get(self, path: str, **params: str) -> Any:
        answer = requests.get(f"{self._url}/api/v1/{path}", params=params, timeout=30).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that the expression gives at this moment."""
        return self.get("query", query=expression)["result"]

    def labels(self, metric: str) -> set[str]:
        """The names of all labels that the metric was ever scraped with."""
        return {name for series in self.get("series", **{"match[]": metric}) for name in series}
