"""Artifacts: what this run made, under its own path, as it was when the run ended."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.agent.delivery import select_artifacts
from keruta_agent.agent.journey import run
from keruta_agent.agent.run.artifacts import copies
from keruta_agent.agent.store.artifacts import Owner
from keruta_agent.agent.store.jobs import Work
from keruta_agent.core import bounded_json, errors
from keruta_agent.core.model import LogLevel, TaskStatus
from tests.helpers.agents import SESSION, agent_in
from tests.integration.agent.journey.conftest import deliver

#: Puts what was noted into the form that it once had.
NOTE_THREE_NUMBERS = """
import json, os
path = os.environ["KERUTA_RUN_DIR"] + "/artifacts-before.json"
with open(path) as file:
    note = json.load(file)
note["files"] = {name: [int(n) for n in text.split()] for name, text in note["files"].items()}
with open(path, "w") as file:
    json.dump(note, file)
"""
KEEP = 'mkdir -p "$KERUTA_ARTIFACTS_DIR"; cd "$KERUTA_ARTIFACTS_DIR"; '


def stored(api, task_id: str) -> dict[str, bytes]:
    return {a.relative_path: a.content for a in api.artifacts if a.task_id == task_id}


def test_files_keep_their_paths_and_hashes(api, file_task, run_all):
    task = file_task(KEEP + "mkdir -p a b; echo 1 > a/x.txt; echo 2 > b/x.txt; echo 3 > 報告.md")
    run_all()
    assert stored(api, task.id) == {"a/x.txt": b"1\n", "b/x.txt": b"2\n", "報告.md": b"3\n"}
    for artifact in api.artifacts:
        assert artifact.sha256 == hashlib.sha256(artifact.content).hexdigest()


def test_artifacts_are_collected_after_a_failure_too(api, file_task, run_all):
    task = file_task(KEEP + "echo evidence > dump; exit 1")
    run_all()
    assert stored(api, task.id) == {"dump": b"evidence\n"}


def test_next_task_does_not_send_what_the_last_one_left(api, file_task, run_all):
    first = file_task(KEEP + "echo 1 > old; echo 1 > changed")
    second = file_task(KEEP + "echo 22 > changed; echo 2 > new")
    run_all()
    assert set(stored(api, first.id)) == {"old", "changed"}
    assert stored(api, second.id) == {"changed": b"22\n", "new": b"2\n"}


def test_directory_that_the_last_task_left_unreadable_is_not_reported_for_the_next(
    api, file_task, run_all
):
    deep = "/".join(["d"] * 120)  # deeper than is entered, which holds for root too
    first = file_task(f'mkdir -p "$KERUTA_ARTIFACTS_DIR"/{deep}')
    run_all()
    second = file_task("true")
    run_all()
    reported = [
        [line.message for line in api.logs(task.id) if "cannot be entered" in line.message]
        for task in (first, second)
    ]
    assert [len(lines) for lines in reported] == [1, 0]


def test_artifact_is_sent_as_its_own_run_left_it(api, agent, poll, file_task):
    first = file_task(KEEP + "echo first > result")
    file_task(KEEP + "echo second > result")
    api.fail_next("write_status", errors.ApiUnreachable("away"))
    poll.poll()
    run.run_next(agent)
    run.run_next(agent)
    agent.outbox_sender._words._not_before = 0.0
    deliver(agent)
    assert stored(api, first.id) == {"result": b"first\n"}


def test_link_that_leads_out_is_not_followed(api, file_task, run_all, tmp_path):
    (tmp_path / "secret").write_text("private")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner").write_text("private")
    task = file_task(
        KEEP + f"ln -s {tmp_path}/secret link; ln -s {tmp_path}/folder dir; echo ok > real"
    )
    run_all()
    assert set(stored(api, task.id)) == {"real"}


def test_file_over_the_limit_is_left_out_before_it_is_read(tmp_path, api, file_task, caplog):
    task = file_task(KEEP + "head -c 2000 /dev/zero > big; echo ok > small")
    with agent_in(tmp_path, api, session_id=SESSION, artifacts_max_size="1KB") as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
    assert set(stored(api, task.id)) == {"small"}
    assert "big is too large" in caplog.text
    assert "KERUTA_MAX_FILE_SIZE" in caplog.text


def test_task_log_says_once_what_was_left_out_and_why(api, file_task, run_all, tmp_path):
    first = file_task(KEEP + f"ln -s {tmp_path} out; ln -s /etc/hostname $'na\nme'; echo ok > real")
    second = file_task(KEEP + "echo ok > new")
    run_all()

    reported = {
        task.id: [e.message for e in api.logs(task.id) if e.message.startswith("artifacts: ")]
        for task in (first, second)
    }
    assert reported == {
        first.id: [
            "artifacts: na%0Ame is a link that leads out of the artifacts directory",
            "artifacts: out is a link that leads out of the artifacts directory",
        ],
        second.id: [],
    }


def test_task_log_names_no_thousands_of_files(api, file_task, run_all):
    task = file_task(KEEP + "for i in $(seq 60); do ln -s / $i; done")
    run_all()

    reported = [entry for entry in api.logs(task.id) if entry.message.startswith("artifacts: ")]
    assert len(reported) == 51
    assert reported[-1].message == "artifacts: 10 more files were left out"
    assert {entry.level for entry in reported} == {LogLevel.WARN}


def test_only_wanted_extensions_are_taken_when_some_are_named(tmp_path, api, file_task):
    task = file_task(KEEP + "echo 1 > a.txt; echo 2 > b.bin; echo 3 > C.TXT")
    with agent_in(tmp_path, api, session_id=SESSION, artifacts_extensions="txt") as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
    assert set(stored(api, task.id)) == {"a.txt", "C.TXT"}


def test_script_may_name_another_directory(api, file_task, run_all, tmp_path):
    task = file_task(
        f"mkdir {tmp_path}/mine; echo 1 > {tmp_path}/mine/f; "
        f"keruta success --artifacts-dir {tmp_path}/mine"
    )
    run_all()
    assert stored(api, task.id) == {"f": b"1\n"}


def test_artifact_is_sent_from_where_it_is_if_the_disk_has_no_space_for_a_copy(
    api, file_task, run_all, monkeypatch, caplog
):
    monkeypatch.setattr(copies, "RESERVE_BYTES", 2**60)
    task = file_task(KEEP + "echo whole > result")
    run_all()
    assert stored(api, task.id) == {"result": b"whole\n"}
    assert "no room for a copy" in caplog.text


def test_unchanged_file_of_a_retry_is_sent_once_and_a_changed_one_again(
    tmp_path, api, poll, file_task
):
    task = file_task(
        KEEP + "echo same > same; echo $KERUTA_RUN_NUMBER > changed; exit 1",
        parameters={"retry": {"count": 2, "delay": "0s"}},
    )
    for _ in range(3):  # each run by another agent
        with agent_in(tmp_path, api, session_id=SESSION, auto_fix="false") as agent:
            agent.records.jobs.record_task(task)
            agent.records.jobs.wake_due()
            run.run_next(agent)
            deliver(agent)
    sent = [(a.relative_path, a.content) for a in api.artifacts]
    assert sent.count(("same", b"same\n")) == 1
    assert [content for path, content in sent if path == "changed"] == [b"1\n", b"2\n", b"3\n"]


def test_link_that_stays_inside_is_taken_with_what_it_leads_to(api, file_task, run_all, caplog):
    task = file_task(
        KEEP + "mkdir d; echo 3 > d/report-3; ln -s d/report-3 latest; ln -s d dir; ln -s no none;"
        "ln -s /etc/hostname out; mkfifo pipe"
    )
    run_all()
    assert stored(api, task.id) == {"d/report-3": b"3\n", "latest": b"3\n"}
    assert "out is a link that leads out" in caplog.text


def test_hidden_file_is_left_out_and_file_in_a_hidden_directory_is_not(api, file_task, run_all):
    task = file_task(KEEP + "mkdir .dir; echo x > .hidden; echo x > .dir/file; echo x > .dir/.no")
    run_all()
    assert set(stored(api, task.id)) == {".dir/file"}


def test_names_that_servers_refuse_arrive_as_percent_codes(api, file_task, run_all):
    task = file_task(
        KEEP + r"""echo 1 > $'a\nb'; echo 2 > 'a\b'; echo 3 > $'\x82.txt'; : > 'a b%'"""
    )
    run_all()
    assert set(stored(api, task.id)) == {"a%0Ab", "a%5Cb", "%82.txt", "a b%"}


@given(st.text(st.sampled_from("%025CAx\n\\\udc82 "), max_size=6))
def test_no_two_names_become_the_same(name: str) -> None:
    codes = re.compile("%([01][0-9A-F]|25|5C|7F|[89A-F][0-9A-F])")
    sent = select_artifacts.wire_path(name)
    assert codes.sub(lambda code: os.fsdecode(bytes.fromhex(code[1])), sent) == name


def test_path_longer_than_any_system_call_takes_is_cut_and_sent(api, file_task, run_all):
    step = "d" * 200
    task = file_task(
        KEEP + f"for i in $(seq 25); do mkdir {step}; cd {step}; done; echo deep > one; : > two"
    )
    run_all()
    found = stored(api, task.id)
    assert sorted(path[-3:] for path in found) == ["one", "two"]
    assert {len(path) for path in found} == {1024}
    assert b"deep\n" in found.values()


def test_file_that_cannot_be_read_does_not_cost_the_others(api, file_task, run_all, monkeypatch):
    take = select_artifacts.take

    def unreadable(entry, *rest):
        if entry.name == "bad":
            raise OSError(errno.EIO, "Input/output error")
        return take(entry, *rest)

    monkeypatch.setattr(select_artifacts, "take", unreadable)
    task = file_task(KEEP + "echo 1 > a; echo 2 > bad; echo 3 > c")
    run_all()
    assert set(stored(api, task.id)) == {"a", "c"}


def test_copy_is_removed_when_the_api_has_it(agent, api, file_task, run_all, tmp_path):
    file_task(KEEP + "echo 1 > a")
    run_all()
    assert len(api.artifacts) == 1
    assert not list((tmp_path / "base" / "runs").glob("*/artifacts/*"))


def test_file_too_large_for_the_server_stays_here_and_the_task_goes_on(
    agent, api, file_task, run_all, caplog
):
    task = file_task(KEEP + "echo 1 > a; echo 2 > b")
    api.fail_next("upload_artifact", errors.ApiRefused("too large for this server", status=413))
    run_all()
    found = {each.path: each for each in agent.records.artifacts.of(Owner(task_id=task.id))}
    assert (found["a"].state, found["b"].state) == ("stays here", "sent")
    assert Path(found["a"].file).read_text() == "1\n"
    assert api.task(task.id).status is TaskStatus.COMPLETED
    assert "stays on this machine: too large" in caplog.text


def test_refused_file_is_listed_with_its_reason(agent, api, file_task, run_all):
    task = file_task(KEEP + "echo 1 > a")
    api.fail_next("upload_artifact", errors.ApiRefused("no such colour", status=422))
    run_all()
    (found,) = agent.records.artifacts.of(Owner(task_id=task.id))
    assert (found.state, found.reason) == ("refused", "no such colour")


def test_artifacts_of_an_adhoc_job_stay_here(tmp_path):
    with agent_in(tmp_path) as agent:
        job_id = agent.records.jobs.record_script("x", Work(script=KEEP + "echo 1 > a"))
        run.run_next(agent)
        (found,) = agent.records.artifacts.of(Owner(task_id=None, job_id=job_id))
        assert (found.path, found.state) == ("a", "stays here")
        assert Path(found.file).read_text() == "1\n"


def test_artifacts_in_a_work_tree_are_not_for_commits_where_the_root_is_not_writable(
    tmp_path, api, file_task
):
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    (tmp_path / "no-directory").touch()
    task = file_task(f"echo x > $KERUTA_ARTIFACTS_DIR/a; git -C {work} status --porcelain")
    with agent_in(
        tmp_path,
        api,
        session_id=SESSION,
        working_dir=str(work),
        artifacts_dir=str(tmp_path / "no-directory" / "doc"),
    ) as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
    assert stored(api, task.id) == {"a": b"x\n"}
    assert (work / ".keruta" / "doc" / "a").exists()
    assert api.log_text(task.id) == ""


def test_new_files_of_a_large_directory_are_distinguished_from_old_ones(api, file_task, run_all):
    many = 3_000
    first = file_task(KEEP + f"seq -f .old-%g {many} | xargs touch; echo 1 > old")
    run_all()
    second = file_task(KEEP + "echo 2 > new")
    with pytest.MonkeyPatch.context() as patch:
        # What one document may hold otherwise, in small: such a directory is no attack.
        patch.setattr(bounded_json, "MOST_VALUES", many // 10)
        run_all()
    assert set(stored(api, first.id)) == {"old"}
    assert set(stored(api, second.id)) == {"new"}


def test_script_that_spoils_the_list_of_old_files_gets_no_artifacts_and_a_message(
    api, file_task, run_all
):
    spoil = "truncate -s 4T $KERUTA_RUN_DIR/artifacts-before.json"
    task = file_task(KEEP + f"echo 1 > made; {spoil}")
    run_all()
    assert api.task(task.id).status is TaskStatus.COMPLETED
    assert not stored(api, task.id)
    assert any("yields no artifacts" in entry.message for entry in api.logs(task.id))


def test_note_of_an_agent_before_an_upgrade_is_understood(api, file_task, run_all):
    first = file_task(KEEP + "echo 1 > old")
    run_all()
    script = KEEP + f"echo 2 > new; {sys.executable} -c '{NOTE_THREE_NUMBERS}'"
    second = file_task(script)
    run_all()
    assert set(stored(api, first.id)) == {"old"}
    assert set(stored(api, second.id)) == {"new"}
