"""Resolves which session this workspace serves.

What was configured comes first. Else the workspace's name tells a session's id or a part of it,
and only then the workspace's id. An id that fits several sessions is refused: to run another
session's tasks would be worse than to run none.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

from keruta_agent import errors
from keruta_agent.model import Session
from keruta_agent.ports import KerutaApi
from keruta_agent.settings.schema import Settings

_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?=-|$)"
)
_EIGHT_HEX: Final = re.compile(r"[0-9a-fA-F]{8}")
_EIGHT_OR_MORE_HEX: Final = re.compile(r"[0-9a-fA-F]{8,}")
#: Shortest part of an id that servers search by.
SHORTEST_PARTIAL_ID: Final = 4

_ADVICE: Final = "Set KERUTA_SESSION_ID (or --session-id) to the id of the session to serve"


def session_id_in(workspace_name: str) -> str | None:
    """Returns the session id, or the part of one, that a workspace's name holds."""
    if workspace_name.startswith("ws-"):
        parts = workspace_name.removeprefix("ws-").split("-")
        if len(parts) >= 3 and _EIGHT_HEX.fullmatch(parts[0]):
            return parts[0]
        uuid = _UUID.match(workspace_name.removeprefix("ws-"))
        return uuid.group() if uuid else None
    if workspace_name.startswith("session-"):
        rest = workspace_name.removeprefix("session-")
        uuid = _UUID.match(rest)
        first = rest.split("-", 1)[0]
        return uuid.group() if uuid else first if len(first) >= 8 else None
    uuid = _UUID.match(workspace_name)
    if uuid:
        return uuid.group()
    parts = workspace_name.split("-")
    if len(parts) >= 2 and _EIGHT_OR_MORE_HEX.fullmatch(parts[0]):
        return parts[0]
    return None


def workspace_name(settings: Settings, environment: Mapping[str, str]) -> str | None:
    """Returns the workspace's name: configured, else the host's, else the directory's."""
    if settings.workspace_name:
        return settings.workspace_name
    host = socket.gethostname()
    if host and host != "localhost":
        return host
    directory = PurePosixPath(environment.get("PWD", "")).name
    return directory if directory.startswith("session-") else None


def find_session(api: KerutaApi, settings: Settings, environment: Mapping[str, str]) -> Session:
    """Asks the API for the session that this workspace serves.

    Raises:
        SettingsError: nothing says which session it is, or it fits none or several.
        ApiError: the API cannot be asked.
    """
    if settings.session_id:
        return _by_id(api, settings.session_id)
    name = workspace_name(settings, environment)
    if name:
        found = _by_name(api, name)
        if found is not None:
            return found
    if settings.workspace_id:
        try:
            return api.session_by_workspace(settings.workspace_id)
        except (errors.ApiNotFound, errors.ApiUnsupported) as exc:
            raise errors.SettingsError(
                f"no session is known for the workspace {settings.workspace_id}", advice=_ADVICE
            ) from exc
    raise errors.SettingsError(
        "it is not known which session to serve"
        + (f": the workspace name {name} fits no session" if name else ""),
        advice=_ADVICE,
    )


def _by_id(api: KerutaApi, session_id: str) -> Session:
    try:
        return api.session(session_id)
    except errors.ApiNotFound:
        found = _by_partial_id(api, session_id) or _only(
            api.sessions_by_name(session_id), session_id
        )
    if found is None:
        raise errors.SettingsError(f"the API knows no session {session_id}", advice=_ADVICE)
    return found


def _by_name(api: KerutaApi, name: str) -> Session | None:
    # Servers rename a session to its workspace's name, so an exact match needs no guessing.
    found = _only(api.sessions_by_name(name), name)
    partial = session_id_in(name)
    if found is not None or partial is None:
        return found
    return _by_partial_id(api, partial)


def _by_partial_id(api: KerutaApi, partial_id: str) -> Session | None:
    if len(partial_id) < SHORTEST_PARTIAL_ID:
        return None
    try:
        return _only(api.sessions_by_partial_id(partial_id), partial_id)
    except errors.ApiUnsupported:
        return None


def _only(sessions: list[Session], wanted: str) -> Session | None:
    if len(sessions) > 1:
        ids = ", ".join(sorted(session.id for session in sessions)[:3])
        raise errors.SettingsError(
            f"{wanted} fits {len(sessions)} sessions ({ids}, ...)", advice=_ADVICE
        )
    return sessions[0] if sessions else None
