"""The whole check-up, in the order in which one thing needs the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

from keruta_agent.agent.checkup.api import check_api
from keruta_agent.agent.checkup.finding import Finding, attempt, ok, problem
from keruta_agent.agent.checkup.machine import check_machine
from keruta_agent.agent.checkup.state import check_state
from keruta_agent.agent.control.socket import client
from keruta_agent.agent.daemon.wiring import configured_api
from keruta_agent.core import errors
from keruta_agent.core.settings.sources import LoadedSettings


def check_everything(
    load: Callable[[], LoadedSettings], environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield one finding after the other; change nothing, here or at the API."""
    yield from attempt("machine", check_machine)
    try:
        loaded = load()
        api = configured_api(loaded.settings)
    except errors.SettingsError as exc:
        yield problem("settings", exc.message, exc.advice)
        return
    except OSError as exc:
        yield problem(
            "settings", f"cannot be read: {exc}", "Give this user access, or set KERUTA_CONFIG"
        )
        return
    yield ok("settings", _where_from(loaded))
    yield from check_state(loaded.settings)
    settings = loaded.settings
    if settings.session_id is None:  # only the daemon may have been given it
        served = client.served_session(settings.base_dir)
        settings = dataclasses.replace(settings, session_id=served)
    yield from attempt("api", lambda: check_api(settings, api, environment))


def _where_from(loaded: LoadedSettings) -> str:
    kinds = [source.kind for source in loaded.sources.values()]
    file = loaded.config_file or "no config file"
    parts = [
        f"{kinds.count(kind)} from {name}"
        for kind, name in (("flag", "flags"), ("environment", "variables"), ("file", "the file"))
        if kind in kinds
    ]
    return f"{file}; {', '.join(parts) or 'all by default'}; see: keruta config show"
