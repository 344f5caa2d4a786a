"""What becomes of a script's output: lines, progress bars, structured entries, groups."""

from __future__ import annotations

import base64

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.run.output import LONGEST_LINE
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in
from tests.integration.agent.journey.conftest import deliver


def printing(data: bytes, stream: int = 1) -> str:
    """Return a script line that prints just these bytes."""
    return f"echo {base64.b64encode(data).decode()} | base64 -d >&{stream}\n"


def entries(api, task, source="stdout"):
    return [entry for entry in api.logs(task.id) if entry.source == source]


def messages(api, task, source="stdout"):
    return [entry.message for entry in entries(api, task, source)]


def test_progress_bar_becomes_one_line(api, file_task, run_all):
    task = file_task("for n in $(seq 1000); do printf '\\r%d of 1000' $n; done; echo; echo next")
    run_all()
    assert messages(api, task) == ["1000 of 1000", "next"]


def test_progress_bar_longer_than_any_line_becomes_one_line(api, file_task, run_all):
    bar = b"".join(b"%06d of 300000 %s\r" % (n, b"#" * 60) for n in range(4000))
    assert len(bar) > 4 * LONGEST_LINE
    task = file_task(printing(bar + b"done\x1b[K\n") + printing(bar, stream=2))
    run_all()
    assert messages(api, task) == ["done"]
    assert messages(api, task, "stderr") == ["003999 of 300000 " + "#" * 60]


def test_progress_bar_of_a_run_that_ends_in_it_shows_its_last_state(api, file_task, run_all):
    task = file_task("printf ' 1%%\\r 2%%\\r 3%%\\r'; exit 1")
    run_all()
    assert messages(api, task) == [" 3%"]
    assert api.task(task.id).message == "The script exited with code 1:  3%"


def test_rewritten_line_is_not_sent_before_it_is_finished(api, agent, poll, file_task, tmp_path):
    task = file_task(f"printf '10%%\\r'; sleep .3; ls {tmp_path}/sent; printf '20%%\\n'")
    poll.poll()
    run.run_next(agent)
    deliver(agent)
    assert messages(api, task) == ["20%"]


def test_colours_and_other_sequences_are_taken_out(api, file_task, run_all):
    task = file_task(printing(b"\x1b]0;pwned\x07\x1b[1;31mred\x1b[0m\r\n\x00bytes \xff\xfe\n"))
    run_all()
    assert messages(api, task) == ["red", "\u2400bytes \ufffd\ufffd"]


def test_colours_are_kept_when_asked_for(tmp_path, api, file_task):
    task = file_task(printing(b"\x1b]0;pwned\x07\x1b[1;31mred\x1b[0m plain\n"))
    with agent_in(tmp_path, api, session_id=SESSION, log_ansi="keep") as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
    assert messages(api, task) == ["\x1b[1;31mred\x1b[0m plain"]


@pytest.mark.parametrize("ansi", ["strip", "keep"])
def test_secret_that_colours_or_corrections_hide_is_masked(tmp_path, api, file_task, ansi):
    task = file_task(
        printing(b"a s3cr3t-\x1b[31mPass\x1b[0mword b\nxx s3cr3t-Pazz\b\bssword\n"),
        parameters={"env": {"DB_PASSWORD": "s3cr3t-Password"}},
    )
    with agent_in(tmp_path, api, session_id=SESSION, log_ansi=ansi) as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
    assert messages(api, task) == ["a *** b", "xx ***"]


def test_json_lines_become_structured_entries(api, file_task, run_all):
    task = file_task(
        printing(
            b'{"level":"error","message":"no answer","host":"db1","tries":3}\n'
            b'{"just":"data"}\n'
            b'{"level":"info","msg":"named","a":[{"password":"with blanks"}],"n":"A-s3cr3t"}\n'
            b'{"level":"info","message":"key","password":"hunter2hunter2","t":"\\u0041-s3cr3t"}\n'
        ),
        parameters={"env": {"A_TOKEN": "A-s3cr3t"}},
    )
    run_all()
    first, second, named, third = entries(api, task)
    assert named.metadata == {"a": [{"password": "***"}], "n": "***"}
    assert (first.level, first.message) == ("ERROR", "no answer")
    assert first.metadata == {"host": "db1", "tries": 3}
    assert (second.level, second.message, second.metadata) == ("INFO", '{"just":"data"}', {})
    assert third.metadata == {"password": "***", "t": "***"}


def test_entries_carry_the_group_that_they_stand_in(api, file_task, run_all):
    task = file_task(
        "echo before; echo '::group::Build it'; echo inside; keruta log INFO told; sleep .3;"
        "echo inside too; sleep .3; echo oops >&2; sleep .3; echo ::endgroup::; echo after;"
        "echo ::group::A; echo in A; echo ::group::B; echo in B"
    )
    run_all()
    groups = {
        entry.message: entry.metadata.get("keruta", {}).get("group") for entry in api.logs(task.id)
    }
    assert groups == {
        "before": None,
        "::group::Build it": "Build it",
        "inside": "Build it",
        "told": "Build it",
        "inside too": "Build it",
        "oops": "Build it",
        "::endgroup::": "Build it",
        "after": None,
        "::group::A": "A",
        "in A": "A",
        "::group::B": "B",
        "in B": "B",
    }


def test_group_is_known_to_an_agent_that_comes_later(tmp_path, file_task):
    api = InMemoryKerutaApi()
    api.add_session(SESSION)
    task = api.add_task(SESSION, "echo ::group::G; sleep .3; echo one; sleep .3; echo two")
    with agent_in(tmp_path, api, session_id=SESSION) as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        ranges = agent.records.runs.ranges(1)
    with agent_in(tmp_path, api, session_id=SESSION) as later:
        reader = later.outbox_sender._log_reader
        last = reader.read(1, [ranges[-1]])
    assert [(entry.message, entry.metadata) for entry in last] == [
        ("two", {"keruta": {"group": "G"}})
    ]


def test_line_that_is_too_long_is_cut_with_a_mark(api, file_task, run_all):
    task = file_task(
        f"head -c {2 * LONGEST_LINE + 5} /dev/zero | tr '\\0' x; echo; echo short;"
        f"head -c {LONGEST_LINE} /dev/zero | tr '\\0' y; echo"
    )
    run_all()
    found = [
        (entry.message[:1], len(entry.message), dict(entry.metadata))
        for entry in entries(api, task)
    ]
    goes_on = {"keruta": {"continues": True}}
    assert found == [
        ("x", LONGEST_LINE, goes_on),
        ("x", LONGEST_LINE, goes_on),
        ("x", 5, {}),
        ("s", 5, {}),
        ("y", LONGEST_LINE, {}),
    ]
