"""Checks of the keruta API: whether it answers, takes the token, knows the session, and has what.

Nothing is written: the questions about optional routes name a task that does not exist.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping

from keruta_agent.agent.api.probe import Probe
from keruta_agent.agent.checkup.finding import Finding, Level, ok, problem, warning
from keruta_agent.agent.journey.session import resolve
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import errors
from keruta_agent.core.settings.schema import Settings

#: What is done without a route; the others are simply not reported to the server.
INSTEAD: Mapping[str, str] = {
    "progress": "progress goes into the log",
    "artifacts": "artifacts stay on this machine",
    "auto-fix": "the agent files auto-fix tasks itself",
    "input": "scripts cannot ask a person through the API",
    "events": "new tasks are seen at the next poll",
    "metrics": "measurements are not kept",
}


def check_api(
    settings: Settings, api: KerutaApi | None, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield what is found at the configured API."""
    answer = _answer(settings, api)
    yield answer
    if api is not None and answer.level is Level.OK:
        yield from _session(settings, api, environment)


def check_answer(settings: Settings, api: KerutaApi | None) -> Finding:
    """Return whether the API answers that it is well, and take reports."""
    answer = _answer(settings, api)
    if api is None or answer.level is not Level.OK:
        return answer
    writes = _writes(api)
    return answer if writes.level is Level.OK else dataclasses.replace(writes, subject="api")


def _writes(api: KerutaApi) -> Finding:
    try:
        api.check_writes()
    except (errors.ApiBlocked, errors.ApiUnauthorized, errors.ApiUnreachable) as exc:
        return problem("writes", exc.message, exc.advice)
    except errors.ApiError as exc:
        return warning("writes", exc.message, exc.advice or "Look at the log of the API")
    return ok("writes", "reports reach the API")


def _answer(settings: Settings, api: KerutaApi | None) -> Finding:
    if settings.api_url is None or api is None:
        return warning(
            "api",
            "none is configured: only what `keruta execute` submits runs here",
            "Set KERUTA_API_URL, or start one with: keruta server",
        )
    try:
        health = api.health()
    except errors.ApiError as exc:
        return problem("api", exc.message, exc.advice)
    if not health.healthy:
        return problem("api", health.detail, "Check KERUTA_API_URL and KERUTA_API_TOKEN")
    return ok("api", f"answers ({health.detail or 'it is well'})")


def _session(
    settings: Settings, api: KerutaApi, environment: Mapping[str, str]
) -> Iterator[Finding]:
    try:
        session = resolve.find_session(api, settings, environment)
    except errors.ApiUnauthorized as exc:
        yield problem("token", exc.message, exc.advice)
        return
    except errors.SettingsError as exc:
        yield ok("token", "accepted")
        yield problem("session", exc.message, exc.advice)
    except errors.ApiError as exc:
        yield problem("session", exc.message, exc.advice)
        return
    else:
        yield ok("token", "accepted" if settings.api_token else "none is set, none is asked for")
        yield ok("session", f"{session.id} ({session.name}), {session.status}")
    yield _writes(api)
    yield from _dialect(settings)


def _dialect(settings: Settings) -> Iterator[Finding]:
    if settings.api_url is None:
        return
    with Probe(
        settings.api_url, settings.api_token, settings.api_timeout_s, settings.api_ca_file
    ) as probe:
        try:
            routes = probe.routes()
            running = probe.running_name()
        except errors.ApiError as exc:
            yield warning("dialect", exc.message, exc.advice or "Try again")
            return
    present = [name for name, there in routes.items() if there]
    missing = [name for name, there in routes.items() if not there]
    has = ", ".join(present) or "no optional route"
    yield ok("dialect", f"a running task is {running}; has {has}")
    if missing:
        consequences = "; ".join(INSTEAD[name] for name in missing)
        yield warning(
            "missing routes",
            f"the server has no {', '.join(missing)}",
            f"Nothing to do, unless you miss it: {consequences}",
        )
