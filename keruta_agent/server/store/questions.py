"""Questions of scripts as rows, and where answers wait until the script has taken them.

An answer belongs to one question: to the newest of its task, for as long as that is open. The
answer to a secret question never stands here; it waits among the ``secret_answers``, and is asked
for again when it is lost before the script has read it.
"""

from __future__ import annotations

from typing import Any

from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Change, Store


def newest(store: Store, task_number: int) -> dict[str, Any] | None:
    """Return a task's newest question with the answer that it has, None when it never asked."""
    requests = store.tables.input_requests
    mine = requests.select().where(requests.task == task_number)
    row: dict[str, Any] | None = mine.order_by(requests.number.desc()).limit(1).dicts().get()
    if row is not None and row["secret"]:
        row["answer"] = store.secret_answers.find(task_number, row["number"])
    return row


def ask(change: Change, task_number: int, prompt: str, *, secret: bool) -> dict[str, Any]:
    """Store a question and return it; older ones of the task are over."""
    close(change, task_number)
    row = {
        "task": task_number,
        "prompt": prompt,
        "created_at": t.now(),
        "secret": int(secret),
    }
    number = change.tables.input_requests.insert(**row).execute()
    return row | {"number": number, "answer": None, "delivered_at": None}


def answer(change: Change, row: dict[str, Any], text: str) -> dict[str, Any]:
    """Keep the answer to a question and return the question with it."""
    if row["secret"]:
        change.store.secret_answers.keep(change, row["task"], row["number"], text)
    else:
        _update(change, row["number"], answer=text, answered_at=t.now())
    return row | {"answer": text}


def deliver(change: Change, row: dict[str, Any]) -> None:
    """Note that an answer was handed out to a client that cannot say which question it means."""
    _update(change, row["number"], delivered_at=t.now())
    change.store.secret_answers.forget(change, row["task"])


def close(change: Change, task_number: int) -> None:
    """End the open question of a task: the script has gone on."""
    requests = change.tables.input_requests
    requests.update(delivered_at=t.now()).where(
        (requests.task == task_number) & (requests.delivered_at.is_null())
    ).execute()
    change.store.secret_answers.forget(change, task_number)


def _update(change: Change, number: int, **values: Any) -> None:
    requests = change.tables.input_requests
    requests.update(**values).where(requests.number == number).execute()
