"""What the tests of the client against a mocked wire share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

API = "http://keruta.test/api/v1"

#: Builds the JSON of a task.
TaskBody = Callable[..., dict[str, Any]]
#: Returns the requests that were sent, as method and path with query.
Sent = Callable[[], list[tuple[str, str]]]

#: What the Spring server answers for a route that it lacks.
SPRING_500 = {
    "status_code": 500,
    "json": {
        "error": {"code": "INTERNAL_SERVER_ERROR", "message": "unexpected", "status": 500},
        "meta": {"timestamp": "2025-09-30T13:46:20.123+09:00", "version": "1.0.0"},
    },
}
