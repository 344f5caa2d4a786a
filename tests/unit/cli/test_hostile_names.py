"""What other people wrote into a name or a message does nothing to the terminal that shows it."""

from __future__ import annotations

import pytest

from keruta_agent.agent.store.jobs import JobState
from keruta_agent.agent.store.run import Outcome, RunResult
from keruta_agent.agent.store.store import Records
from keruta_agent.core.model import Task
from tests.helpers.command_line import CommandLine

NAME = "build\x1b]0;owned\x07\nJOB 2 \u202eend"


@pytest.mark.parametrize(
    "command", [("status",), ("queue", "list"), ("queue", "show", "1"), ("explain", "1")]
)
def test_hostile_name_and_message_are_shown_on_their_line(
    keruta: CommandLine, command: tuple[str, ...]
) -> None:
    records = Records.open(keruta.home / ".keruta")
    records.jobs.record_task(Task(id="t", session_id="s", name=NAME, script="true", priority=0))
    claimed = records.runs.claim_next()
    assert claimed is not None
    ending = RunResult(outcome=Outcome.FAILED, message=NAME, exit_code=1)
    records.runs.end(*claimed, ending, job_state=JobState.FINISHED)
    records.close()

    shown = keruta(*command).out

    assert "build" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert not any(line.startswith("JOB 2") for line in shown.splitlines())
