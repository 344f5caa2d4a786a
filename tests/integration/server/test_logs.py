"""Logs of tasks over the API."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from keruta_agent.http.bodies import LARGE_BODY
from keruta_agent.server import paging
from tests.helpers.api_caller import ApiCaller


def _messages(api: ApiCaller, task: str, query: str = "?order=asc") -> list[str]:
    return [entry["message"] for entry in api.get(f"/tasks/{task}/logs{query}")]


def test_log_entry_is_answered_as_it_is_stored(api: ApiCaller) -> None:
    task = api.task()
    draft = {
        "level": "ERROR",
        "message": "日本語 \t x",
        "source": "stderr",
        "metadata": {"line": 3},
        "timestamp": "2026-11-20T10:00:00.123456+09:00",
    }
    stored = api.send("POST", f"/tasks/{task['id']}/logs", draft, status=201)
    assert (stored["taskId"], stored["sessionId"]) == (task["id"], task["sessionId"])
    assert stored["timestamp"] == "2026-11-20T01:00:00.123456Z"
    del draft["timestamp"]
    assert draft.items() <= stored.items()
    assert api.get(f"/tasks/{task['id']}/logs") == [stored]


def test_log_entry_needs_a_message_only(api: ApiCaller) -> None:
    task = api.task()["id"]
    stored = api.send("POST", f"/tasks/{task}/logs", {"message": ""}, status=201)
    assert (stored["level"], stored["source"], stored["metadata"]) == ("INFO", "task", {})
    assert stored["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("sent", "stored"),
    [("warning", "WARN"), ("Critical", "FATAL"), ("panic", "FATAL"), ("trace", "DEBUG")],
)
def test_log_level_is_known_by_other_names(api: ApiCaller, sent: str, stored: str) -> None:
    task = api.task()["id"]
    draft = {"level": sent, "message": "m"}
    assert api.send("POST", f"/tasks/{task}/logs", draft, status=201)["level"] == stored


def test_log_list_is_stored_in_its_order_after_what_was_there(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/logs", {"message": "first"}, status=201)
    batch = [{"message": f"{n}", "timestamp": "2026-01-01T00:00:00Z"} for n in range(1000)]
    assert api.send("POST", f"/tasks/{task}/logs", batch, status=201) == {"stored": 1000}
    wanted = ["first", *(str(n) for n in range(1000))]
    assert _messages(api, task, "?order=asc&size=10000") == wanted
    assert _messages(api, task, "?size=10000") == wanted[::-1]
    assert api.get(f"/tasks/{task}/logs/count") == {"count": 1001}


@pytest.mark.parametrize("length", [0, 1])
def test_log_list_of_hardly_anything_is_answered_as_a_list(api: ApiCaller, length: int) -> None:
    task = api.task()["id"]
    batch = [{"message": "m"}] * length
    assert api.send("POST", f"/tasks/{task}/logs", batch, status=201) == {"stored": length}


def test_log_list_too_long_is_refused_whole(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.error("POST", f"/tasks/{task}/logs", [{"message": "m"}] * 10_001, 400)
    assert api.get(f"/tasks/{task}/logs/count") == {"count": 0}


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({"message": "m", "level": "LOUD"}, "level"),
        ({"message": "m", "level": 5}, "level"),
        ({"message": "m", "level": []}, "level"),
        ({"message": None}, "message"),
        ({"message": 5}, "message"),
        ({}, "message"),
        ({"message": "m", "source": 5}, "source"),
        ({"message": "m", "metadata": [1]}, "metadata"),
        ("text", "body"),
        (None, "body"),
    ],
)
def test_log_entry_with_a_wrong_field_is_refused_naming_it(
    api: ApiCaller, entry: object, field: str
) -> None:
    task = api.task()["id"]
    assert api.error("POST", f"/tasks/{task}/logs", entry, 400)["field"] == field
    batch = [{"message": "good"}, entry]
    assert api.error("POST", f"/tasks/{task}/logs", batch, 400)["field"] == f"1.{field}"
    assert api.get(f"/tasks/{task}/logs/count") == {"count": 0}


def test_log_message_that_no_database_stores_is_repaired(api: ApiCaller) -> None:
    task = api.task()["id"]
    body = '[{"message":"a\\u0000b"},{"message":"c\\ud800d"},{"message":"\\ud83d\\ude00"}]'
    response = api.call("POST", f"/tasks/{task}/logs", data=body, content_type="application/json")
    assert response.status_code == 201
    assert _messages(api, task) == ["a\ufffdb", "c\ufffdd", "😀"]


@pytest.mark.parametrize(
    "date", ["nonsense", 10**30, [1, 2], {"a": 1}, "0001-01-01T00:00:00+14:00"]
)
def test_log_date_that_makes_no_sense_counts_as_missing(api: ApiCaller, date: object) -> None:
    task = api.task()["id"]
    draft = {"message": "m", "timestamp": date}
    stored = api.send("POST", f"/tasks/{task}/logs", draft, status=201)
    assert stored["timestamp"] > "2026"


def test_log_is_read_in_pages(api: ApiCaller) -> None:
    task = api.task()["id"]
    batch = [{"message": str(n)} for n in range(7)]
    api.send("POST", f"/tasks/{task}/logs", batch, status=201)
    pages = [_messages(api, task, f"?order=asc&size=3&page={page}") for page in range(4)]
    assert pages == [["0", "1", "2"], ["3", "4", "5"], ["6"], []]
    assert _messages(api, task, "?size=3&page=0") == ["6", "5", "4"]


def test_log_is_read_behind_an_entry(api: ApiCaller) -> None:
    task = api.task()["id"]
    first = api.send("POST", f"/tasks/{task}/logs", {"message": "0"}, status=201)["id"]
    api.send("POST", f"/tasks/{api.task()['id']}/logs", {"message": "another's"}, status=201)
    batch = [{"message": str(n)} for n in range(1, 4)]
    api.send("POST", f"/tasks/{task}/logs", batch, status=201)
    assert _messages(api, task, f"?order=asc&after={first}&size=2") == ["1", "2"]
    assert _messages(api, task, f"?after={2**63 - 1}") == []


def test_log_is_narrowed_by_level_source_and_time(api: ApiCaller) -> None:
    task = api.task()["id"]
    batch = [
        {
            "message": str(n),
            "level": level,
            "source": source,
            "timestamp": f"2026-01-0{n}T00:00:00Z",
        }
        for n, level, source in [(1, "INFO", "stdout"), (2, "WARN", "stderr"), (3, "INFO", "agent")]
    ]
    api.send("POST", f"/tasks/{task}/logs", batch, status=201)
    assert _messages(api, task, "?level=warning") == ["2"]
    assert _messages(api, task, "?source=agent") == ["3"]
    assert _messages(api, task, "?startTime=2026-01-02T00:00:00") == ["3", "2"]
    between = "?startTime=2026-01-01T12:00:00Z&endTime=2026-01-02T12:00:00Z"
    assert _messages(api, task, between) == ["2"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("level=loud", "level"),
        ("order=random", "order"),
        ("page=-1", "page"),
        ("page=99999999999999999999", "page"),
        ("size=0", "size"),
        ("size=10001", "size"),
        ("startTime=yesterday", "startTime"),
        ("endTime=soon", "endTime"),
        ("after=-1", "after"),
        ("after=x", "after"),
    ],
)
def test_log_query_that_makes_no_sense_is_refused(api: ApiCaller, query: str, field: str) -> None:
    task = api.task()["id"]
    assert api.error("GET", f"/tasks/{task}/logs?{query}", None, 400)["field"] == field


def test_log_is_deleted(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/logs", {"message": "m"}, status=201)
    assert api.call("DELETE", f"/tasks/{task}/logs").status_code == 204
    assert api.get(f"/tasks/{task}/logs") == []


@pytest.mark.parametrize("path", ["", "/count"])
def test_log_of_unknown_task_is_missing(api: ApiCaller, path: str) -> None:
    assert api.error("GET", f"/tasks/unknown/logs{path}", None, 404)["code"] == "TASK_NOT_FOUND"
    assert api.error("POST", "/tasks/unknown/logs", {"message": "m"}, 404)


def test_log_body_over_the_limit_is_refused(api: ApiCaller) -> None:
    task = api.task()["id"]
    huge = json.dumps({"message": "x" * (LARGE_BODY + 1)})
    response = api.call("POST", f"/tasks/{task}/logs", data=huge, content_type="application/json")
    assert response.status_code == 413
    assert response.json()["error"]["code"] == "BODY_TOO_LARGE"


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_page_of_long_entries_is_whole_though_read_in_parts(
    api: ApiCaller, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PART_CHARACTERS", 1000)
    task = api.task()["id"]
    sizes = [3, 2000, 400, 400, 400, 1, 0, 999, 2, 1001]
    batch = [
        {"message": f"{n}" + "x" * size, "metadata": {"size": size}, "level": "WARN"}
        for n, size in enumerate(sizes)
    ]
    api.send("POST", f"/tasks/{task}/logs", batch, status=201)
    whole = [entry["message"] for entry in batch]
    whole = whole if order == "asc" else whole[::-1]
    narrowed = f"?order={order}&level=WARN&size=4&page="
    assert [_messages(api, task, f"{narrowed}{page}") for page in range(4)] == [
        *(whole[0:4], whole[4:8], whole[8:10], [])
    ]
    answer = api.call("GET", f"/tasks/{task}/logs?order={order}")
    assert [entry["message"] for entry in answer.json()] == whole
    assert answer.content_type == "application/json" and answer.content.endswith(b"]\n")


def test_page_of_long_entries_takes_little_memory(api: ApiCaller) -> None:
    task = api.task()["id"]
    line = "x" * 64 * 1024
    for _ in range(10):
        batch = [{"message": line}] * 50
        api.send("POST", f"/tasks/{task}/logs", batch, status=201)
    lengths: list[int] = []
    tracemalloc.start()
    try:
        path = f"/tasks/{task}/logs?size=500"
        api.call("GET", path, on_piece=lambda piece: lengths.append(len(piece)))
        length = sum(lengths)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert length > 500 * len(line)
    assert peak < length / 3


def test_log_that_is_deleted_while_it_is_read_ends_as_a_list(
    api: ApiCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PART_CHARACTERS", 10)
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/logs", [{"message": "x" * 20}] * 3, status=201)
    pieces: list[bytes] = []

    def delete_after_the_first(piece: bytes) -> None:
        if not pieces:
            api.call("DELETE", f"/tasks/{task}/logs")
        pieces.append(piece)

    api.call("GET", f"/tasks/{task}/logs", on_piece=delete_after_the_first)
    assert len(json.loads(b"".join(pieces))) == 1
