"""The keep-awake hook: the workspace is reported as in use while a script runs."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.daemon import awake
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Job, Work
from keruta_agent.agent.store.run import Run
from tests.helpers.agents import agent_in
from tests.helpers.waiting import wait_until

CODER_HOOK = Path(__file__).parents[4] / "etc" / "coder" / "keep-awake.sh"


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "LOOK_S", 0.01)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Where the hook notes each of its runs."""
    return tmp_path / "calls"


class KeepsAwake:
    """An agent and its hook."""

    def __init__(self, agent: Agent, calls: Path) -> None:
        self.agent = agent
        self._calls = calls
        self._awake: awake.KeepAwake | None = None

    def by(self, text: str = "") -> None:
        """Begin, with a hook of this text, or with one that notes each of its runs."""
        hook = self.agent.settings.keep_awake_hook
        assert hook is not None
        hook.write_text(text or f"echo called >> '{self._calls}'\n", encoding="utf-8")
        self._awake = awake.keep_awake(self.agent)
        assert self._awake is not None
        self._awake.start()

    def stop(self) -> None:
        assert self._awake is not None
        self._awake.stop()

    def claim(self) -> tuple[Job, Run]:
        """Make a script of this agent the one that runs."""
        self.agent.records.jobs.record_script("work", Work(script="sleep 60"))
        claimed = self.agent.records.runs.claim_next()
        assert claimed is not None
        return claimed


@pytest.fixture
def keeps_awake(tmp_path: Path, calls: Path) -> Iterator[KeepsAwake]:
    hook = tmp_path / "hook.sh"
    with agent_in(tmp_path, keep_awake_hook=hook, keep_awake_interval_s="1s") as agent:
        found = KeepsAwake(agent, calls)
        yield found
        found.stop()


@pytest.fixture
def looks(keeps_awake: KeepsAwake, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What each look has found to run."""
    found: list[object] = []
    active = keeps_awake.agent.records.runs.active

    def look() -> tuple[Job, Run] | None:
        found.append(active())
        return found[-1]

    monkeypatch.setattr(keeps_awake.agent.records.runs, "active", look)
    return found


def test_hook_runs_now_and_again_while_a_script_is_at_work(keeps_awake, calls):
    keeps_awake.claim()
    keeps_awake.by()
    wait_until(calls.exists, "the hook has run")
    began = time.monotonic()
    wait_until(lambda: calls.read_text().count("called") > 1, "it has run again")
    assert time.monotonic() - began > 0.5  # the interval is a second


def test_hook_does_not_run_while_nothing_runs(keeps_awake, calls, looks):
    keeps_awake.by()
    wait_until(lambda: len(looks) > 3, "it was looked for a script that runs")
    assert not calls.exists()


def test_hook_does_not_run_while_the_script_waits_for_a_person(keeps_awake, calls, looks):
    job, run = keeps_awake.claim()
    questions = keeps_awake.agent.records.questions
    questions.ask(job, run, prompt="go on?", secret=False, pid=1, sleeps=1)
    keeps_awake.by()
    wait_until(lambda: len(looks) > 3, "it was looked for a script that runs")
    assert not calls.exists()
    questions.close(job, run, questions.current(run.id), "it went on")
    wait_until(calls.exists, "the hook runs when the script goes on")


@pytest.mark.parametrize(
    ("text", "trouble"),
    [
        ("echo 'not allowed to extend' >&2; exit 3", "exited with code 3 and said: not allowed"),
        ("#!/no/such/interpreter\n", "cannot be started: No such file or directory"),
    ],
)
def test_hook_that_fails_is_logged(keeps_awake, caplog, text, trouble):
    with caplog.at_level(logging.WARNING):
        keeps_awake.claim()
        keeps_awake.by(text)
        reported = wait_until(lambda: list(caplog.records), "the failure is logged")[0]
    assert reported.action == "keep_awake_failed"
    assert trouble in reported.getMessage()


def test_hook_that_hangs_ends_with_the_daemon(keeps_awake, tmp_path, caplog):
    pid_file = tmp_path / "pid"
    keeps_awake.claim()
    keeps_awake.by(f"echo $$ > '{pid_file}'; exec sleep 300")
    pid = wait_until(lambda: pid_file.exists() and pid_file.read_text().strip(), "it runs")
    keeps_awake.stop()
    assert not Path("/proc", pid).exists()
    assert not caplog.records


def test_hook_gets_what_the_agent_has_but_not_its_tokens(keeps_awake, calls, monkeypatch):
    monkeypatch.setenv("CODER_SESSION_TOKEN", "for the hook")
    monkeypatch.setenv("KERUTA_API_TOKEN", "for the agent")
    keeps_awake.claim()
    keeps_awake.by(f"env > '{calls}.new'; mv '{calls}.new' '{calls}'")
    wait_until(calls.exists, "the hook has run")
    reported = calls.read_text()
    assert "CODER_SESSION_TOKEN=for the hook" in reported
    assert "for the agent" not in reported


def test_hook_for_coder_extends_the_time_of_this_workspace(tmp_path):
    program = tmp_path / "coder"
    program.write_text('#!/bin/sh\necho "$@"\n', encoding="ascii")
    program.chmod(0o700)
    done = subprocess.run(
        ["sh", str(CODER_HOOK)],
        env={
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "CODER_URL": "https://coder.example",
            "CODER_WORKSPACE_OWNER_NAME": "hanako",
            "CODER_WORKSPACE_NAME": "ws-1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "--url https://coder.example schedule extend hanako/ws-1 1h\n"
