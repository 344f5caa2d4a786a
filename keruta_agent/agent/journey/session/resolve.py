"""The resolution of which session this workspace serves.

What was configured comes first. Else the workspace's name gives a session's id or a part of it,
and only then the workspace's id. An id that fits several sessions is refused: to run another
session's tasks would be worse than to run none.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Final

from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import errors
from keruta_agent.core.model import Session
from keruta_agent.core.settings.schema import Settings

_UUID: Final = re.compile(
    r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?=-|$)"
)
_EIGHT_HEX: Final = re.compile(r"[0-9a-fA-F]{8}")
_EIGHT_OR_MORE_HEX: Final = re.compile(r"[0-9a-fA-F]{8,}")
#: Shortest part of an id that servers search by.
SHORTEST_PARTIAL_ID: Final = 4

_ADVICE: Final = "Set KERUTA_SESSION_ID (or --session-id) to the id of the session to serve"


def session_id_in(workspace_name: str) -> str | None:
    """Return the session id, or the part of one, that a workspace's name holds."""
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
    """Return the workspace's name: configured, else the host's, else the directory's."""
    if settings.workspace_name:
        return settings.workspace_name
    host = socket.gethostname()
    if host and host != "localhost":
        return host
    directory = PurePosixPath(environment.get("PWD", "")).name
    return directory if directory.startswith("session-") else None


def find_session(api: KerutaApi, settings: Settings, environment: Mapping[str, str]) -> Session:
    """Ask the API for the session that this workspace serves.

    Raises:
        SettingsError: nothing says which session it is, or it fits none or several.
        ApiError: the API cannot be asked, or has no way of looking for a session.
    """
    search = _Search(api)
    if settings.session_id:
        found = search.by_id(settings.session_id)
        problem = f"the API knows no session {settings.session_id}"
    else:
        name = workspace_name(settings, environment)
        found = search.by_name(name) if name else None
        if found is None and settings.workspace_id:
            found = search.by_workspace(settings.workspace_id)
        problem = "it is not known which session to serve"
    if found is None:
        raise search.failed(problem)
    return found


class _Search:
    """A search for one session by every way that the server has, with a note of each result."""

    def __init__(self, api: KerutaApi) -> None:
        self._api = api
        self._tried: list[str] = []
        #: Whether the server has shown which sessions it has.
        self._was_answered = False
        self._lacks_a_way = False

    def by_id(self, session_id: str) -> Session | None:
        """Return the session of this id, of an id that begins so, or of this name."""
        try:
            return self._api.session(session_id)
        except errors.ApiNotFound:
            self._note(f"the id {session_id}", "none has it")
            self._was_answered = True
        except errors.ApiRefused as exc:
            if exc.status != 400 or _UUID.fullmatch(session_id):
                raise
            self._note(f"the id {session_id}", "not a whole one")
        return (
            self._by_partial_id(session_id)
            or self._by_exact_name(session_id)
            or self._in_the_list(lambda one: _begins(one, session_id) or one.name == session_id)
        )

    def by_name(self, name: str) -> Session | None:
        """Return the session of a workspace's name, or of the id that the name holds."""
        # Servers rename a session to its workspace's name, so an exact match needs no guessing.
        partial = session_id_in(name)
        return (
            self._by_exact_name(name)
            or (self._by_partial_id(partial) if partial else None)
            or self._in_the_list(lambda one: one.name == name)
            or (self._in_the_list(lambda one: _begins(one, partial)) if partial else None)
        )

    def by_workspace(self, workspace_id: str) -> Session | None:
        """Return the session that names this workspace."""
        what = f"the workspace {workspace_id}"
        try:
            return self._api.session_by_workspace(workspace_id)
        except errors.ApiNotFound:
            self._note(what, "none serves it")
            self._was_answered = True
            return None
        except errors.ApiUnsupported:
            self._lacking(what)
        return self._in_the_list(lambda one: one.workspace_id == workspace_id)

    def failed(self, problem: str) -> errors.ApiFailed | errors.SettingsError:
        """Return the error for a session that was not found; it says what was tried."""
        tried = f" (tried {'; '.join(self._tried)})" if self._tried else ""
        if self._tried and not self._was_answered:
            return errors.ApiFailed(f"{problem}: the API answers no search{tried}", advice=_ADVICE)
        return errors.SettingsError(f"{problem}{tried}", advice=_ADVICE)

    def _by_exact_name(self, name: str) -> Session | None:
        return self._searched(f"the name {name}", lambda: self._api.sessions_by_name(name))

    def _by_partial_id(self, partial_id: str) -> Session | None:
        if len(partial_id) < SHORTEST_PARTIAL_ID:
            return None
        return self._searched(
            f"the partial id {partial_id}", lambda: self._api.sessions_by_partial_id(partial_id)
        )

    def _in_the_list(self, fits: Callable[[Session], bool]) -> Session | None:
        """Look through all sessions, where the server lacks a way of searching."""
        if not self._lacks_a_way:
            return None
        what = "the list of all sessions"
        found = self._searched(what, lambda: [one for one in self._api.all_sessions() if fits(one)])
        # Lists name states in words of their own.
        return None if found is None else self._api.session(found.id)

    def _searched(self, what: str, ask: Callable[[], list[Session]]) -> Session | None:
        try:
            sessions = ask()
        except errors.ApiUnsupported:
            self._lacking(what)
            return None
        except errors.ApiRefused as exc:
            if exc.status not in (400, 404):
                raise
            self._lacking(what, f"refused ({exc.status})")
            return None
        self._was_answered = True
        if len(sessions) > 1:
            ids = ", ".join(sorted(session.id for session in sessions)[:3])
            raise errors.SettingsError(
                f"{what} fits {len(sessions)} sessions ({ids}, ...)", advice=_ADVICE
            )
        if not sessions:
            self._note(what, "fits none")
        return sessions[0] if sessions else None

    def _lacking(self, what: str, result: str = "the API has no such search") -> None:
        self._note(what, result)
        self._lacks_a_way = True

    def _note(self, what: str, result: str) -> None:
        note = f"{what}: {result}"
        if note not in self._tried:
            self._tried.append(note)


def _begins(session: Session, partial_id: str) -> bool:
    is_long_enough = len(partial_id) >= SHORTEST_PARTIAL_ID
    return is_long_enough and session.id.lower().startswith(partial_id.lower())
