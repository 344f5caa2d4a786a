"""Many clients at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.helpers.api_caller import ApiCaller

CLIENTS = 8


def _at_once(work: Callable[[int], Any], times: int = CLIENTS) -> list[Any]:
    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(work, range(times)))


def test_one_of_many_equal_keys_acts(api: ApiCaller) -> None:
    task = api.task()["id"]
    path, headers = f"/tasks/{task}/logs", {"Idempotency-Key": "same"}
    statuses = _at_once(
        lambda _: api.call("POST", path, json=[{"message": "m"}], headers=headers).status_code
    )
    assert statuses == [201] * CLIENTS
    assert api.get(f"{path}/count") == {"count": 1}


def test_one_of_many_terminal_states_wins(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "PROCESSING")
    states = ["COMPLETED", "FAILED", "CANCELLED"]

    def end(number: int) -> tuple[int, str]:
        state = states[number % 3]
        body = {"status": state}
        return api.call("PUT", f"/tasks/{task}/status", json=body).status_code, state

    answers = _at_once(end)
    stored = api.get(f"/tasks/{task}")["status"]
    assert {state for status, state in answers if status == 200} == {stored}
    assert {status for status, _ in answers} == {200, 409}


def test_auto_fix_limit_holds_for_many_at_once(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "FAILED")
    statuses = _at_once(lambda _: api.call("POST", f"/tasks/{task}/auto-fix", json={}).status_code)
    assert Counter(statuses) == {201: 3, 200: CLIENTS - 3}


def test_input_is_taken_by_one_of_many(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/input-request", {"prompt": "?"}, status=201)
    api.send("POST", f"/tasks/{task}/input", {"input": "x"})
    statuses = _at_once(lambda _: api.call("GET", f"/tasks/{task}/input").status_code)
    assert Counter(statuses) == {200: 1, 204: CLIENTS - 1}


def test_log_batches_of_many_clients_stay_whole(api: ApiCaller) -> None:
    task = api.task()["id"]

    def send(client: int) -> None:
        batch = [{"message": f"{client}"} for _ in range(50)]
        api.send("POST", f"/tasks/{task}/logs", batch, status=201)

    _at_once(send, 40)
    logs = api.get(f"/tasks/{task}/logs?order=asc&size=10000")
    messages = [entry["message"] for entry in logs]
    assert len(messages) == 2000
    assert all(len(set(messages[at : at + 50])) == 1 for at in range(0, 2000, 50))
