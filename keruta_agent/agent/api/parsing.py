"""Answers of the API made into the model, forgiving about one bad element in a list."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath
from typing import Any, TypeVar

import requests
from marshmallow import Schema, ValidationError

from keruta_agent.core import errors, wire
from keruta_agent.core.model import Session, Task
from keruta_agent.http.client import answers

logger = logging.getLogger(__name__)

_TASK = wire.TaskSchema()
_SESSION = wire.SessionSchema()

_Entity = TypeVar("_Entity")


def task_of(response: requests.Response, action: str) -> Task:
    """Return the task that an answer holds.

    Raises:
        ApiFailed: it holds none.
    """
    return _entity(_TASK, answers.json_of(response, action), Task, action)


def session_of(response: requests.Response, action: str) -> Session:
    """Return the session that an answer holds.

    Raises:
        ApiFailed: it holds none.
    """
    return _entity(_SESSION, answers.json_of(response, action), Session, action)


def tasks_of(response: requests.Response, action: str) -> list[Task]:
    """Return the tasks of a list, in its order, without those that cannot be read.

    Raises:
        ApiFailed: it is no list.
    """
    return _entities(_TASK, response, Task, action)


def sessions_of(response: requests.Response, action: str) -> list[Session]:
    """Return the sessions of a list, in its order, without those that cannot be read.

    Raises:
        ApiFailed: it is no list.
    """
    return _entities(_SESSION, response, Session, action)


def list_of(response: requests.Response, action: str) -> list[Any]:
    """Return the elements of a list as they are; null means none.

    Raises:
        ApiFailed: it is no list.
    """
    body = answers.json_of(response, action)
    if body is None:
        return []
    if not isinstance(body, list):
        raise errors.ApiFailed(f"{action} failed: the answer is not a list")
    return body


def task_in_list(element: Any) -> Task | None:
    """Return the task that an element of a list is; None, and a warning, if it cannot be read."""
    return _element(_TASK, element, Task)


def _entity(schema: Schema, body: Any, kind: type[_Entity], action: str) -> _Entity:
    try:
        return wire.load(schema, body, kind)
    except ValidationError as exc:
        raise errors.ApiFailed(
            f"{action} failed: the answer is not a {kind.__name__.lower()} "
            f"({_complaint(exc)}): is KERUTA_API_URL the API?"
        ) from exc


def _entities(
    schema: Schema, response: requests.Response, kind: type[_Entity], action: str
) -> list[_Entity]:
    read = (_element(schema, element, kind) for element in list_of(response, action))
    return [entity for entity in read if entity is not None]


def _element(schema: Schema, element: Any, kind: type[_Entity]) -> _Entity | None:
    try:
        return wire.load(schema, element, kind)
    except ValidationError as exc:
        logger.warning(
            "a %s in the server's list cannot be read and is left out: %s",
            kind.__name__.lower(),
            _complaint(exc),
            extra={"action": "answer_skipped"},
        )
        return None


def _complaint(exc: ValidationError) -> str:
    """Name the fields that are wrong, without their values."""
    messages = exc.messages
    if not isinstance(messages, dict):
        return "; ".join(str(message) for message in messages)
    return "; ".join(f"{field}: {' '.join(map(str, texts))}" for field, texts in messages.items())


def base_name(filename: str, *, default: str) -> str:
    """Return the last part of a path that a server gave, safe to be joined to a directory."""
    name = PurePosixPath(filename.replace("\\", "/")).name
    name = "".join(character for character in name if character.isprintable()).strip()
    return default if name in ("", ".", "..") else name
