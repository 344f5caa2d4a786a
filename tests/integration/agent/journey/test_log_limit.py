"""A limit to a run's output keeps its head and its tail, and says exactly what is missing."""

from __future__ import annotations

import re

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe import ingest
from tests.helpers.agents import SESSION, agent_in
from tests.integration.agent.journey.conftest import deliver

LIMIT = 16 * 1024


def lines_at_api(api, task) -> list[str]:
    return [entry.message for entry in api.logs(task.id) if entry.source == "stdout"]


def omission(api, task) -> tuple[int, int]:
    """Return the bytes and lines that the log says are missing, and check where it says so."""
    found = [entry for entry in api.logs(task.id) if "omittedBytes" in str(entry.metadata)]
    assert len(found) == 1
    said = re.match(r"(\d+) bytes in (\d+) lines are left out here", found[0].message)
    assert said
    about = found[0].metadata["keruta"]
    assert (about["omittedBytes"], about["omittedLines"]) == (int(said[1]), int(said[2]))
    return int(said[1]), int(said[2])


def check_head_and_tail(api, task, written: list[str]) -> None:
    got = lines_at_api(api, task)
    size, lines = omission(api, task)
    assert len(got) + lines == len(written)
    assert sum(len(line.encode()) + 1 for line in got) + size == sum(
        len(line.encode()) + 1 for line in written
    )
    place = next(
        index for index, entry in enumerate(api.logs(task.id)) if "omitted" in str(entry.metadata)
    )
    head = [entry.message for entry in api.logs(task.id)[:place] if entry.source == "stdout"]
    assert got == written[: len(head)] + written[len(head) + lines :]
    for kept in (sum(map(len, head)), sum(map(len, got[len(head) :]))):
        assert LIMIT // 2 - 2048 < kept + len(got) <= LIMIT // 2 + len(got)


def test_head_and_tail_arrive_and_what_is_missing_is_said(tmp_path, api, file_task):
    task = file_task("seq -f 'line %06.0f 日本' 10000; keruta log INFO always")
    with agent_in(tmp_path, api, session_id=SESSION, log_run_limit=LIMIT) as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
        local = agent.records.runs.ranges(1)
    check_head_and_tail(api, task, [f"line {number:06d} 日本" for number in range(1, 10001)])
    said = [entry.message for entry in api.logs(task.id) if entry.source == "agent"]
    assert said[0].startswith("The output reaches its limit, 16KB (logging.run_limit)")
    assert "always" in said
    assert sum(piece.stop - piece.start for piece in local if piece.stream == "stdout") == 190_000
    assert [call for call in api.calls if call.startswith("write_")][-1] == "write_status"


@pytest.mark.parametrize("numbers", [1, 900])
def test_output_within_the_limit_arrives_whole(tmp_path, api, file_task, numbers):
    task = file_task(f"seq -f 'line %010.0f' {numbers}; printf end")
    with agent_in(tmp_path, api, session_id=SESSION, log_run_limit=LIMIT) as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
    assert lines_at_api(api, task) == [f"line {n:010d}" for n in range(1, numbers + 1)] + ["end"]
    assert "left out" not in str(api.logs(task.id))


class Killed(BaseException):
    """Stands for kill -9."""


def test_limit_holds_when_agents_are_killed_in_the_middle(
    tmp_path, api, file_task, monkeypatch: pytest.MonkeyPatch
):
    """Three agents follow the run: the first two die at any look, before or after storing it."""
    task = file_task(
        'for n in 1 2 3 4 5 6; do seq -f "line $n.%06.0f" 300; echo $n >&2; sleep .25; done'
    )
    look = ingest.Ingester.store_new

    for kills_after in (2, 3, None):
        looks = []

        def dying_look(self, *, final=False, looks=looks, kills_after=kills_after):
            found = look(self, final=final)
            looks.append(found)
            if looks.count(True) == kills_after:
                raise Killed
            return found

        monkeypatch.setattr(ingest.Ingester, "store_new", dying_look)
        with agent_in(tmp_path, api, session_id=SESSION, log_run_limit=LIMIT) as agent:
            agent.records.jobs.record_task(task)
            try:
                run.run_next(agent)
            except Killed:
                assert kills_after
            deliver(agent)
    written = [f"line {n}.{number:06d}" for n in range(1, 7) for number in range(1, 301)]
    stderr = [entry for entry in api.logs(task.id) if entry.source == "stderr"]
    got = lines_at_api(api, task)
    _, lines = omission(api, task)
    assert len(got) + len(stderr) + lines == len(written) + 6
    assert len(set(got)) == len(got)
    assert got == [line for line in written if line in set(got)]
    assert got[0] == written[0] and got[-1] == written[-1]


def test_end_that_is_stored_twice_says_once_what_is_missing(tmp_path, api, file_task):
    from keruta_agent.agent.journey.observe import loglimit

    task = file_task("seq -f 'line %06.0f' 10000")
    with agent_in(tmp_path, api, session_id=SESSION, log_run_limit=LIMIT) as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
        before = len(api.logs(task.id))
        loglimit.release(RunContext(agent, *agent.records.runs.with_job(1)))
        deliver(agent)
    assert len(api.logs(task.id)) == before
    omission(api, task)
