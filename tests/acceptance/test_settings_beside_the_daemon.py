"""Settings are changed while a daemon works in the directory of the config file."""

from __future__ import annotations

import signal

import pytest

from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


@pytest.fixture
def at_home(workplace: Workplace) -> Workplace:
    """A person's machine with everything in ~/.keruta, as it comes."""
    workplace.base_dir = workplace.path / "home" / ".keruta"
    workplace.environment["KERUTA_BASE_DIR"] = str(workplace.base_dir)
    return workplace


def test_settings_change_while_the_daemon_runs_and_count_from_its_hangup_on(
    at_home: Workplace,
) -> None:
    daemon = at_home.daemon()
    hint = f"until: kill -HUP {daemon.pid}"

    made = at_home.run("init", "--yes", "--api-url", "http://127.0.0.1:9", "--no-check")
    changed = at_home.run("config", "set", "logging.format", "json")
    absent = at_home.run("config", "unset", "api.timeout")
    unset = at_home.run("config", "unset", "api.url")

    assert [each.returncode for each in (made, changed, absent, unset)] == [0, 0, 0, 0]
    assert [hint in each.stderr for each in (made, changed, absent, unset)] == [
        True,
        True,
        False,
        True,
    ]
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.err.count("is ready") == 2, "it is ready again")
    assert '"agent_ready"' in daemon.err


def test_settings_change_beside_a_job_in_the_foreground_without_advice_that_would_end_it(
    at_home: Workplace,
) -> None:
    script = at_home.write_script("wait", "#!/bin/sh\necho begun\nexec sleep 1000\n")
    here = at_home.start("execute", str(script))
    here.wait_for("begun")
    changed = at_home.run("config", "set", "logging.format", "json")
    assert (changed.returncode, changed.stderr) == (0, "")
    here.signal(signal.SIGINT)
    here.wait()
