"""The daemon's HTTP API, where it is on; where it is off, nothing of it is even imported."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from keruta_agent.agent.control.http import address
from keruta_agent.core.settings.schema import Settings

if TYPE_CHECKING:
    from keruta_agent.agent.control.http.serve import HttpApi


@contextlib.contextmanager
def http_api(settings: Settings, *, is_on: bool) -> Iterator[HttpApi | None]:
    """Take the port of the HTTP API for the length of the block, if the API is on.

    Raises:
        SettingsError: it must not listen there.
        AgentStateError: it cannot listen there.
    """
    address.withdraw(settings.base_dir)  # of an agent that was killed
    if not is_on:
        yield None
        return
    from keruta_agent.agent.control.http.serve import HttpApi

    api = HttpApi(settings)
    try:
        yield api
    finally:
        api.stop()
