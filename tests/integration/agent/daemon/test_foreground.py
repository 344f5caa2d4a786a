"""A job in the foreground: the agent is this very process."""

from __future__ import annotations

import pytest

from keruta_agent.agent.daemon.foreground import agent_here, start_job
from keruta_agent.agent.journey import finish, run
from keruta_agent.agent.store.jobs import Work
from keruta_agent.cli.following import follow
from keruta_agent.core import errors
from tests.helpers.agents import settings_in


def test_agent_that_breaks_at_its_job_says_so_and_loses_nothing(tmp_path, monkeypatch):
    def breaks(*arguments):
        raise ValueError("a bug")

    store = finish.store
    monkeypatch.setattr(finish, "store", breaks)
    settings = settings_in(tmp_path)
    with agent_here(settings) as agent:
        work = Work(script=f"echo ran >> {tmp_path}/runs")
        job_id = agent.records.jobs.record_script("x", work)
        thread = start_job(agent, job_id)
        with pytest.raises(errors.RunError, match=f"the agent broke at job {job_id}"):
            follow(settings, job_id, is_served=thread.is_alive)
        thread.join()
        monkeypatch.setattr(finish, "store", store)
        assert run.run_next(agent).outcome == "succeeded"
    assert (tmp_path / "runs").read_text() == "ran\n"
