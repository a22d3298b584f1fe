"""The soak in short: its clients, troubles and accounts, for as many requests as take some seconds. Memory is left to `make
soak`, which has the time for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from soak.ledger import Ledger
from soak.mixed import Soak
from soak.model_server import ModelServer

ROUNDS, REQUESTS = 2, 300


def test_every_request_of_good_and_bad_clients_is_accounted_for(spotter_binary: Path, tmp_path: Path) -> None:
    soak = Soak(spotter_binary, tmp_path)

    def enough() -> Callable[[], bool]:
        end = len(soak.ledger.requests) + REQUESTS
        return lambda: len(soak.ledger.requests) < end

    with ModelServer() as model:
        # On a thread of its own: the browser of other tests keeps a loop on this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, soak.run(model.address, ROUNDS, enough)).result()
    assert soak.findings() == []
    assert soak.ledger.outcomes()["200"] > REQUESTS / 4, "nothing to account for"


def test_an_account_that_does_not_add_up_is_told(tmp_path: Path) -> None:
    ledger = Ledger()
    fine, twice, other, unlogged, strange, lost, left, vanished, gone, unseen = (ledger.ask("raw") for _ in range(10))
    for name in (fine, twice, other, unlogged):
        ledger.answer(name, "200", {"200"})
    ledger.answer(twice, "200", {"200"})
    ledger.answer(strange, "404 NOT_FOUND", {"200"})
    for name in (left, vanished, gone):
        ledger.leave(name)
    ledger.leave(unseen, is_seen=False)
    log = tmp_path / "log"
    logged = [(fine, 200), (twice, 200), (twice, 200), (other, 500), (strange, 404), (left, 200), ("soak-99", 200)]
    lines = [{"message": "answered", "status": status, "span": {"request_id": name}} for name, status in logged]
    log.write_text("\n".join(json.dumps(line) for line in lines))

    assert [wrong.split()[0] for wrong in ledger.wrong] == [twice, strange]
    assert [name.split()[0] for name in ledger.lost] == [lost]
    assert {line.split()[0] for line in ledger.against_log(log)} == {twice, other, unlogged, vanished, gone, "soak-99"}
