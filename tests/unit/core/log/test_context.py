"""Events carry the ids of the run that they happen in."""

from __future__ import annotations

import logging
import threading

from keruta_agent.core.log.context import AddIds, about


def ids_of(**extra: object) -> dict[str, object]:
    record = logging.LogRecord("test", logging.INFO, "", 0, "text", None, None)
    vars(record).update(extra)
    assert AddIds().filter(record)
    return {name: vars(record)[name] for name in ("job", "task", "run") if name in vars(record)}


def test_event_carries_the_ids_that_hold_where_it_happens() -> None:
    with about(job=1, task=None, run="a"):
        assert ids_of() == {"job": 1, "run": "a"}
        with about(task="t"):
            assert ids_of() == {"job": 1, "run": "a", "task": "t"}
        assert ids_of(job=2) == {"job": 2, "run": "a"}
    assert ids_of() == {}


def test_ids_are_those_of_the_thread_that_does_the_work() -> None:
    seen = []
    with about(job=1):
        thread = threading.Thread(target=lambda: seen.append(ids_of()))
        thread.start()
        thread.join()
    assert seen == [{}]
