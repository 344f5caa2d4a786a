"""Artifacts: what this run made, under its own path, as it was when the run ended."""

from __future__ import annotations

import errno
import hashlib

from keruta_agent import errors
from keruta_agent.journey import artifacts, run
from tests.helpers.agents import agent_in
from tests.integration.journey.conftest import SESSION, deliver

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


def test_artifact_is_sent_as_its_own_run_left_it(api, agent, poll, file_task):
    first = file_task(KEEP + "echo first > result")
    file_task(KEEP + "echo second > result")
    api.fail_next("write_status", errors.ApiUnreachable("away"))
    poll.poll()
    run.run_next(agent)
    run.run_next(agent)
    agent.courier._not_before = 0.0
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
        agent.jobs.record_task(task)
        run.run_next(agent)
        deliver(agent)
    assert set(stored(api, task.id)) == {"small"}
    assert "big is too large" in caplog.text
    assert "KERUTA_MAX_FILE_SIZE" in caplog.text


def test_only_wanted_extensions_are_taken_when_some_are_named(tmp_path, api, file_task):
    task = file_task(KEEP + "echo 1 > a.txt; echo 2 > b.bin; echo 3 > C.TXT")
    with agent_in(tmp_path, api, session_id=SESSION, artifacts_extensions="txt") as agent:
        agent.jobs.record_task(task)
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


def test_artifact_for_whose_copy_there_is_no_room_is_sent_from_where_it_is(
    api, file_task, run_all, monkeypatch
):
    def no_room(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(artifacts.shutil, "copyfile", no_room)
    task = file_task(KEEP + "echo whole > result")
    run_all()
    assert stored(api, task.id) == {"result": b"whole\n"}
