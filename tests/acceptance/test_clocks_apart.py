"""Leases and ages where clocks are apart: only the server's counts, or the database's it shares."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import requests

from tests.helpers.api import Api
from tests.helpers.processes import Workplace

_PROGRAM: Final = """\
#!{python}
import datetime, sys, time_machine
there = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours={hours})
time_machine.travel(there, tick=True).start()
from keruta_agent.cli.entry import main
sys.exit(main())
"""

YEAR_H: Final = 365 * 24


def _with_clock(workplace: Workplace, hours: int) -> str:
    """Return a ``keruta`` whose clock is so many hours ahead."""
    program = _PROGRAM.format(python=sys.executable, hours=hours)
    return str(workplace.write_script(f"ahead-{hours}/keruta", program))


def _made_at(url: str, session: str) -> datetime:
    found = requests.get(f"{url}/api/v1/sessions/{session}", timeout=30).json()
    return datetime.fromisoformat(found["createdAt"])


def _beat(url: str, agent: str, session: str) -> dict[str, Any]:
    answer = requests.put(
        f"{url}/api/v1/agents/{agent}",
        json={"instance": f"at-{agent}", "sessionId": session, "leaseSeconds": 600},
        timeout=30,
    )
    assert answer.status_code in (200, 201), answer.text
    return dict(answer.json())


def test_servers_whose_clocks_are_apart_agree_who_is_alive(
    workplace: Workplace, postgresql_url: str
) -> None:
    workplace.environment["KERUTA_SERVER_DATABASE_URL"] = postgresql_url
    _, url = workplace.server(name="right")
    workplace.programs["server"] = _with_clock(workplace, 30 * 24)
    _, ahead = workplace.server(name="ahead")
    session = Api(url).session_id
    assert _made_at(ahead, Api(ahead).session_id) - _made_at(url, session) > timedelta(days=29)

    for first, second in ((url, ahead), (ahead, url)):
        assert _beat(first, "one", session)["active"] is None
        assert _beat(second, "other", session)["active"]["id"] == "one"
        [listed] = [
            agent
            for agent in requests.get(f"{second}/api/v1/agents", timeout=30).json()
            if agent["id"] == "one"
        ]
        assert listed["alive"]


def test_server_that_is_ahead_forgets_no_key_before_its_time(
    workplace: Workplace, postgresql_url: str
) -> None:
    workplace.environment["KERUTA_SERVER_DATABASE_URL"] = postgresql_url
    _, url = workplace.server(name="right")
    draft = {"sessionId": Api(url).session_id, "name": "once", "script": "true"}

    def file_task(at: str) -> str:
        answer = requests.post(
            f"{at}/api/v1/tasks", json=draft, headers={"Idempotency-Key": "k"}, timeout=30
        )
        assert answer.status_code == 201
        return str(answer.json()["id"])

    task = file_task(url)
    # It forgets what is older than a week when it starts.
    workplace.programs["server"] = _with_clock(workplace, YEAR_H)
    server, ahead = workplace.server(name="ahead")
    assert server.stop() == 0
    server, ahead = workplace.server(name="ahead")

    assert file_task(ahead) == task


def test_agent_whose_clock_is_a_year_ahead_keeps_its_lease(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    workplace.programs["daemon"] = _with_clock(workplace, YEAR_H)
    go = tmp_path / "go"
    task = api.file_task(f"while [ ! -e {go} ]; do sleep 0.05; done; echo through")
    workplace.daemon()
    api.wait_for(task, "PROCESSING")

    other = _beat(api.url, "other", api.session_id)

    assert other["agent"]["role"] == "STANDBY"
    assert other["active"]["alive"]
    go.touch()
    assert api.wait_for(task)["status"] == "COMPLETED"
    assert api.lines(task) == ["through"]
