"""The quick check behind ``keruta health``: a few of the doctor's questions, for scripts to ask."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from typing import Final

from keruta_agent.agent.checkup.finding import Finding, Level, problem
from keruta_agent.agent.checkup.machine import check_git
from keruta_agent.agent.checkup.memory import check_memory
from keruta_agent.agent.checkup.queue import check_queue
from keruta_agent.agent.checkup.state import check_room
from keruta_agent.core import errors
from keruta_agent.core.settings.schema import Settings

#: What can be asked, the quick questions first.
CHECKS: Final = ("disk", "memory", "git", "queue", "api")


def check_health(load: Callable[[], Settings], wanted: Collection[str]) -> Iterator[Finding]:
    """Yield one finding after the other, of these checks or, with none named, of all.

    What was asked for by name must be there: without git or an API that is a problem then.
    """
    try:
        settings = load()
    except errors.SettingsError as exc:
        yield problem("settings", exc.message, exc.advice)
        return
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "disk": lambda: iter([check_room("disk", settings.base_dir, settings)]),
        "memory": lambda: iter([check_memory(settings.health_memory_free_min)]),
        "git": lambda: (_needed(found, "git" in wanted) for found in [check_git()]),
        "queue": lambda: check_queue(settings),
        "api": lambda: _api(settings, "api" in wanted),
    }
    for name in CHECKS:
        if name in wanted or not wanted:
            yield from checks[name]()


def _api(settings: Settings, by_name: bool) -> Iterator[Finding]:
    # Here, because a probe of the disk each few seconds should not load the HTTP client.
    from keruta_agent.agent.checkup.api import check_answer
    from keruta_agent.agent.daemon.wiring import configured_api

    limit_s = min(settings.api_timeout_s, settings.health_api_timeout_s)
    quick = dataclasses.replace(settings, api_timeout_s=limit_s)
    try:
        api = configured_api(quick)
    except errors.SettingsError as exc:
        yield problem("api", exc.message, exc.advice)
        return
    finding = check_answer(quick, api)
    # One that cannot tell whether it takes reports is served all the same.
    yield finding if api is not None else _needed(finding, by_name)


def _needed(finding: Finding, by_name: bool) -> Finding:
    is_missing = by_name and finding.level is Level.WARNING
    return dataclasses.replace(finding, level=Level.PROBLEM) if is_missing else finding
