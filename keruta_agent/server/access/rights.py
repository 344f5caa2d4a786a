"""The table of rights: of every route, which roles may use it, and what keeps it within a scope.

A route without a row is refused to everybody, and a test finds it. ``python -m
keruta_agent.server.access.rights`` prints the table as the documentation shows it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from keruta_agent.server.access.principals import Role

#: A method and the template of a path.
RouteKey = tuple[str, str]


class Reach(enum.StrEnum):
    """By what a request is kept within the scope of its token."""

    #: It is about no session.
    NOTHING = "nothing"
    #: It is about more than a session: no token with a scope may ask.
    EVERYTHING = "everything"
    #: The answer leaves out what is not in the scope.
    LIST = "list"
    SESSION = "session"
    TASK = "task"
    #: The body names the session.
    BODY = "body"
    #: The body names the session or a parent, of a task that is filed.
    DRAFT = "draft"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Right:
    """One row."""

    roles: frozenset[Role]
    reach: Reach


_ALL: Final = frozenset(Role)
_ADMINS: Final = frozenset({Role.ADMIN})
_PEOPLE: Final = _ADMINS | {Role.OPERATOR}
_READERS: Final = _PEOPLE | {Role.VIEWER}
#: Those who do a session's work, and people in their place.
_WORKERS: Final = _PEOPLE | {Role.AGENT}
_ANY_OF_SESSION: Final = _READERS | {Role.AGENT}
_RUNNERS: Final = _PEOPLE | {Role.RUNNER}
_RUNNER_READERS: Final = _READERS | {Role.RUNNER}


def _rows(roles: frozenset[Role], reach: Reach, *routes: str) -> Iterable[tuple[RouteKey, Right]]:
    right = Right(roles=roles, reach=reach)
    for route in routes:
        method, _, path = route.partition(" ")
        yield (method, path), right


#: Of the keruta API.
API: Final[Mapping[RouteKey, Right]] = MappingProxyType(
    dict(
        [
            *_rows(_ALL, Reach.NOTHING, "GET /api/v1/health", "GET /health", "GET /health/ready"),
            *_rows(_PEOPLE, Reach.EVERYTHING, "POST /api/v1/sessions"),
            *_rows(_ADMINS, Reach.EVERYTHING, "GET /api/v1/audit"),
            *_rows(
                _ANY_OF_SESSION,
                Reach.LIST,
                "GET /api/v1/sessions",
                "GET /api/v1/sessions/search",
                "GET /api/v1/sessions/search/partial-id",
                "GET /api/v1/sessions/by-workspace/{workspace_id}",
                "GET /api/v1/sessions/realtime/events",
                "GET /api/v1/tasks",
                "GET /api/v1/agents",
                "GET /api/v1/workspaces/{workspace_id}/tasks/pending",
            ),
            *_rows(
                _ANY_OF_SESSION,
                Reach.SESSION,
                "GET /api/v1/sessions/{session_id}",
                "GET /api/v1/sessions/{session_id}/tasks",
                "GET /api/v1/tasks/session/{session_id}",
                "GET /api/v1/tasks/session/{session_id}/pending",
            ),
            *_rows(
                _PEOPLE,
                Reach.SESSION,
                "PUT /api/v1/sessions/{session_id}/status",
                "PUT /api/v1/sessions/{session_id}/pinned",
                "DELETE /api/v1/sessions/{session_id}",
            ),
            *_rows(_WORKERS, Reach.DRAFT, "POST /api/v1/tasks"),
            *_rows(_WORKERS, Reach.BODY, "PUT /api/v1/agents/{agent_id}"),
            *_rows(
                _ANY_OF_SESSION,
                Reach.TASK,
                "GET /api/v1/tasks/{task_id}",
                "GET /api/v1/tasks/{task_id}/subtasks",
                "GET /api/v1/tasks/{task_id}/claim",
                "GET /api/v1/tasks/{task_id}/script",
                "GET /api/v1/tasks/{task_id}/logs",
                "GET /api/v1/tasks/{task_id}/logs/count",
                "GET /api/v1/tasks/{task_id}/artifacts",
                "GET /api/v1/tasks/{task_id}/artifacts/{artifact_id}",
                "GET /api/v1/tasks/{task_id}/artifacts/{artifact_id}/content",
                "GET /api/v1/tasks/{task_id}/input-request",
                "GET /api/v1/tasks/{task_id}/metrics",
            ),
            *_rows(
                _WORKERS,
                Reach.TASK,
                "POST /api/v1/tasks/{task_id}/subtasks",
                "PUT /api/v1/tasks/{task_id}/status",
                "PATCH /api/v1/tasks/{task_id}/status",
                "PATCH /api/v1/tasks/{task_id}/progress",
                "POST /api/v1/tasks/{task_id}/claim",
                "POST /api/v1/tasks/{task_id}/logs",
                "POST /api/v1/tasks/{task_id}/artifacts",
                "POST /api/v1/tasks/{task_id}/input-request",
                # It takes the answer: no reading.
                "GET /api/v1/tasks/{task_id}/input",
                "POST /api/v1/tasks/{task_id}/auto-fix",
                "POST /api/v1/tasks/{task_id}/metrics",
            ),
            *_rows(
                _PEOPLE,
                Reach.TASK,
                "PUT /api/v1/tasks/{task_id}",
                "DELETE /api/v1/tasks/{task_id}",
                "DELETE /api/v1/tasks/{task_id}/claim",
                "DELETE /api/v1/tasks/{task_id}/logs",
                "DELETE /api/v1/tasks/{task_id}/artifacts/{artifact_id}",
                "POST /api/v1/tasks/{task_id}/input",
            ),
            *_rows(
                _RUNNER_READERS,
                Reach.EVERYTHING,
                "GET /api/v1/coding-tasks",
                "GET /api/v1/coding-tasks/{task_id}",
                "GET /api/v1/coding-pool",
            ),
            *_rows(
                _RUNNERS,
                Reach.EVERYTHING,
                "POST /api/v1/coding-tasks",
                "POST /api/v1/coding-tasks/{task_id}/cancel",
                "POST /api/v1/coding-tasks/{task_id}/retry",
            ),
            *_rows(
                _PEOPLE,
                Reach.EVERYTHING,
                "POST /api/v1/coding-pool/pause",
                "POST /api/v1/coding-pool/resume",
            ),
        ]
    )
)

#: Of its pages.
PAGES: Final[Mapping[RouteKey, Right]] = MappingProxyType(
    dict(
        [
            *_rows(
                _ALL,
                Reach.NOTHING,
                "GET /login",
                "POST /login",
                "POST /language",
                "POST /logout",
                "GET /static/{name}",
                "GET /static/pages/{name}",
            ),
            *_rows(_READERS, Reach.LIST, "GET /"),
            *_rows(_PEOPLE, Reach.EVERYTHING, "POST /sessions"),
            *_rows(
                _READERS,
                Reach.SESSION,
                "GET /sessions/{session_id}",
                "GET /sessions/{session_id}/cards",
            ),
            *_rows(
                _PEOPLE,
                Reach.SESSION,
                "GET /sessions/{session_id}/new",
                "POST /sessions/{session_id}/tasks",
                "POST /sessions/{session_id}/end",
                "POST /sessions/{session_id}/pause",
                "POST /sessions/{session_id}/resume",
                "POST /sessions/{session_id}/pin",
                "POST /sessions/{session_id}/unpin",
                "POST /sessions/{session_id}/delete",
            ),
            *_rows(
                _ADMINS,
                Reach.NOTHING,
                "GET /tokens",
                "POST /tokens",
                "POST /tokens/{token_id}/revoke",
                "GET /audit",
            ),
            *_rows(
                _READERS,
                Reach.TASK,
                "GET /tasks/{task_id}",
                "GET /tasks/{task_id}/artifacts/{artifact_id}",
                "GET /tasks/{task_id}/artifacts/{artifact_id}/content",
            ),
            *_rows(
                _PEOPLE,
                Reach.TASK,
                "POST /tasks/{task_id}/answer",
                "POST /tasks/{task_id}/cancel",
                "POST /tasks/{task_id}/release",
                "POST /tasks/{task_id}/again",
                "POST /tasks/{task_id}/priority",
                "POST /tasks/{task_id}/delete",
            ),
        ]
    )
)

#: Of the runner's services: Task Registry, Repo Pool Manager, Artifact Store.
RUNNER_SERVICES: Final[Mapping[RouteKey, Right]] = MappingProxyType(
    dict(
        [
            *_rows(_ALL, Reach.NOTHING, "GET /health", "GET /health/ready"),
            *_rows(
                _RUNNER_READERS,
                Reach.EVERYTHING,
                "GET /tasks",
                "GET /tasks/{task_id}",
                "GET /slots/{slot_id}",
                "GET /pools/status",
                "GET /artifacts",
                "GET /artifacts/metadata",
                "GET /artifacts/{artifact_id}",
            ),
            *_rows(
                _RUNNERS,
                Reach.EVERYTHING,
                "PUT /tasks/{task_id}/status",
                "POST /tasks/{task_id}/events",
                "POST /tasks/{task_id}/artifacts",
                "POST /slots/allocate",
                "POST /slots/{slot_id}/release",
                "POST /slots/{slot_id}/heartbeat",
                "POST /artifacts",
                "DELETE /artifacts/{artifact_id}",
            ),
        ]
    )
)

KERUTA: Final[Mapping[RouteKey, Right]] = MappingProxyType({**API, **PAGES})


def to_markdown(rights: Mapping[RouteKey, Right]) -> str:
    """Return a table as the documentation shows it."""
    lines = [
        f"| Route | {' | '.join(Role)} | Kept within a scope by |",
        f"|---|{'---|' * len(Role)}---|",
    ]
    for (method, path), right in rights.items():
        marks = " | ".join("yes" if role in right.roles else "" for role in Role)
        lines.append(f"| `{method} {path}` | {marks} | {right.reach} |")
    return "\n".join(lines) + "\n"


def documentation() -> str:
    """Return all tables as the documentation shows them."""
    parts = (
        ("The keruta API", API),
        ("Its pages", PAGES),
        ("The runner's services", RUNNER_SERVICES),
    )
    return "\n".join(f"### {title}\n\n{to_markdown(rights)}" for title, rights in parts)


if __name__ == "__main__":
    print(documentation(), end="")  # noqa: T201
