"""``keruta artifact`` in a script and outside of one, with a real daemon and server."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
import requests

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def stored(api: Api, task_id: str) -> dict[str, bytes]:
    root = f"{api.url}/api/v1/tasks/{task_id}/artifacts"
    return {
        each["path"]: requests.get(f"{root}/{each['id']}/content", timeout=30).content
        for each in api.artifacts(task_id)
    }


def listed(workplace: Workplace, *arguments: str) -> dict[str, dict[str, object]]:
    result = workplace.run("artifact", "list", "--json", *arguments)
    assert result.returncode == 0, result.stderr
    return {each["path"]: each for each in json.loads(result.stdout)}


def test_file_is_sent_while_the_script_runs_and_may_be_deleted(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    go_on = tmp_path / "go-on"
    task_id = api.file_task(
        "mkdir -p 出力 && echo 月次 > 出力/報告.csv\n"
        "keruta artifact add 出力/報告.csv --description 月次レポート && rm 出力/報告.csv\n"
        "echo abs > /tmp/$KERUTA_TASK_ID && keruta artifact add /tmp/$KERUTA_TASK_ID --name a/b\n"
        f"rm /tmp/$KERUTA_TASK_ID; until [ -e {go_on} ]; do sleep 0.05; done"
    )
    workplace.daemon()
    wait_until(lambda: len(api.artifacts(task_id)) == 2, "both files are stored")
    assert api.task(task_id)["status"] == "PROCESSING"
    assert stored(api, task_id) == {"出力/報告.csv": "月次\n".encode(), "a/b": b"abs\n"}
    first = api.artifacts(task_id)[0]
    assert (first["description"], first["contentType"]) == ("月次レポート", "text/csv")
    assert first["sha256"] == hashlib.sha256("月次\n".encode()).hexdigest()
    go_on.touch()
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert {each["state"] for each in listed(workplace, "1").values()} == {"sent"}


def test_file_that_was_added_is_not_collected_again_unless_it_changed(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task(
        'cd "$KERUTA_ARTIFACTS_DIR" && echo 1 > same && echo 1 > changed\n'
        "keruta artifact add same && keruta artifact add same changed && echo 2 > changed"
    )
    workplace.daemon()
    api.wait_for(task_id)
    paths = [each["path"] for each in api.artifacts(task_id)]
    assert sorted(paths) == ["changed", "changed", "same"]
    assert stored(api, task_id)["changed"] == b"2\n"


def test_script_lists_and_takes_back_what_it_added(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task(
        'cd "$KERUTA_ARTIFACTS_DIR" && echo 1 > kept && echo 1 > dropped\n'
        "keruta artifact add kept dropped && keruta artifact remove dropped\n"
        "keruta artifact list | sed 's/^/list: /'; keruta artifact remove none; echo code=$?"
    )
    workplace.daemon()
    api.wait_for(task_id)
    lines = api.lines(task_id)
    assert any(line.startswith("dropped is ") for line in lines)
    table = [line for line in lines if line.startswith("list: ")]
    assert any("kept" in line for line in table)
    assert not any("dropped" in line for line in table)
    assert "code=2" in lines
    assert listed(workplace, "--task-id", task_id)["dropped"]["state"] == "removed"


#: What a script does that no artifact comes of, and what it is told.
BAD_FILES = (
    ("keruta artifact add none", "there is no file none"),
    ("keruta artifact add .", ". is a directory"),
    ("keruta artifact add /dev/null", "is no regular file"),
    ("truncate -s 2M big; keruta artifact add big", "big is too large"),
    ("touch x; keruta artifact add x --name ../x", "is no name for an artifact"),
    ("touch x; keruta artifact add x --name /x", "is no name for an artifact"),
    ("keruta artifact add", "Missing argument"),
    ("touch x; KERUTA_MAX_FILE_SIZE=5TB; keruta artifact add x x --name y", "one by one"),
    ("truncate -s 2M x; KERUTA_MAX_FILE_SIZE=1GB keruta artifact add x", "too large"),
)


def test_bad_file_is_one_line_and_an_exit_code(workplace: Workplace, api: Api) -> None:
    tasks = [api.file_task(f"{command}; echo code=$?") for command, _ in BAD_FILES]
    workplace.daemon(KERUTA_MAX_FILE_SIZE="1")
    api.wait_for_all(tasks)
    for task_id, (command, complaint) in zip(tasks, BAD_FILES, strict=True):
        assert api.lines(task_id) == ["code=2"], command
        (said,) = api.lines(task_id, "stderr")
        assert said.startswith("keruta: ")
        assert complaint in said, command
        assert api.artifacts(task_id) == []


def test_added_file_arrives_although_daemon_and_server_were_killed_in_between(
    workplace: Workplace, mortal_api: tuple[object, Api], tmp_path: Path
) -> None:
    server, api = mortal_api
    added, go_on = tmp_path / "added", tmp_path / "go-on"
    task_id = api.file_task(
        f"until [ -e {go_on} ]; do sleep 0.05; done\n"
        "echo first > f && keruta artifact add f && echo second > g; rm f\n"
        f"touch {added}; until [ ! -e {go_on} ]; do sleep 0.05; done\n"
        'keruta artifact add g && rm g; echo third > "$KERUTA_ARTIFACTS_DIR/h"'
    )
    daemon = workplace.daemon()
    api.wait_for(task_id, "PROCESSING")
    server.kill()
    go_on.touch()
    wait_until(added.exists, "the file is added while the API is away")
    daemon.kill()
    go_on.unlink()  # the second one is added while no daemon runs
    (run,) = workplace.run_directories()
    wait_until((run / "exit").exists, "the script has ended")
    workplace.server(api.port)
    workplace.daemon()
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert stored(api, task_id) == {"f": b"first\n", "g": b"second\n", "h": b"third\n"}
    assert len(api.artifacts(task_id)) == 3


def test_upload_that_was_cut_off_by_kill_is_stored_once(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task('for i in $(seq 60); do echo $i > "$KERUTA_ARTIFACTS_DIR/f$i"; done')
    daemon = workplace.daemon()
    wait_until(lambda: len(api.artifacts(task_id)) > 5, "some are stored")
    daemon.kill()
    workplace.daemon()
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    paths = [each["path"] for each in api.artifacts(task_id)]
    assert paths == sorted(f"f{i}" for i in range(1, 61))


def test_stopped_and_timed_out_scripts_keep_their_artifacts(workplace: Workplace, api: Api) -> None:
    leave = 'echo x > "$KERUTA_ARTIFACTS_DIR/$KERUTA_TASK_ID"; '
    late = api.file_task(leave + "sleep 60", parameters={"timeout": "300ms"}, priority=2)
    stopped = api.file_task(leave + "sleep 60", priority=1)
    workplace.daemon()
    api.wait_for(stopped, "PROCESSING")
    wait_until((workplace.path / "artifacts" / stopped).exists, "it is there")
    workplace.run("queue", "cancel", stopped)
    api.wait_for(stopped)
    assert [each["path"] for each in api.artifacts(late)] == [late]
    assert [each["path"] for each in api.artifacts(stopped)] == [stopped]


def test_outside_of_a_run_a_file_goes_to_the_task_that_is_named(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task("true")
    (workplace.path / "out").mkdir()
    (workplace.path / "out" / "a.txt").write_text("x")
    result = workplace.run("artifact", "add", "out/a.txt", "--task-id", task_id)
    assert (result.returncode, result.stderr) == (0, "")
    again = workplace.run("artifact", "add", "out/a.txt", "--task-id", task_id)
    assert again.returncode == 0
    assert [each["path"] for each in api.artifacts(task_id)] == ["out/a.txt"]
    assert listed(workplace, "--task-id", task_id)["out/a.txt"]["state"] == "sent"
    assert "keeps it" in workplace.run("artifact", "remove", "a.txt", "--task-id", task_id).stdout


def test_outside_of_a_run_a_file_waits_for_an_api_that_is_away(
    workplace: Workplace, mortal_api: tuple[object, Api]
) -> None:
    server, api = mortal_api
    task_id = api.file_task("true")
    server.kill()
    (workplace.path / "a.txt").write_text("x")
    result = workplace.run("artifact", "add", "a.txt", "--task-id", task_id)
    assert result.returncode == 0
    assert "sent later" in result.stderr
    (workplace.path / "a.txt").unlink()
    assert listed(workplace, "--task-id", task_id)["a.txt"]["state"] == "waiting"
    workplace.server(api.port)
    workplace.daemon()
    wait_until(lambda: stored(api, task_id) == {"a.txt": b"x"}, "it is stored")
    assert list((workplace.base_dir / "kept-artifacts").iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_unreadable_file_is_named(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task("touch x; chmod 0 x; keruta artifact add x; echo code=$?")
    workplace.daemon()
    api.wait_for(task_id)
    assert "cannot read x: Permission denied" in api.lines(task_id, "stderr")[0]


def test_which_task_is_asked_for_when_it_is_not_known(workplace: Workplace, api: Api) -> None:
    result = workplace.run("artifact", "list")
    assert result.returncode == 2
    assert "--task-id" in result.stderr


def test_artifact_of_an_adhoc_script_stays_here_and_is_shown(workplace: Workplace) -> None:
    done = workplace.run("execute", 'echo x > "$KERUTA_ARTIFACTS_DIR/a"; keruta artifact list')
    assert done.returncode == 0, done.stderr
    shown = workplace.run("queue", "show", "1").stdout
    found = listed(workplace, "1")["a"]
    assert f"artifact  a, stays here: the job is no task of the API: {found['file']}" in shown
    assert Path(str(found["file"])).read_text() == "x\n"
    assert workplace.run("artifact", "remove", "a", "1").stdout == "a is removed\n"
    assert not Path(str(found["file"])).exists()


def test_daemon_takes_artifacts_from_the_directory_that_its_flag_names(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task('echo x > "$KERUTA_ARTIFACTS_DIR/a"; echo "$KERUTA_ARTIFACTS_DIR"')
    workplace.daemon("--artifacts-dir", str(tmp_path / "elsewhere"))
    api.wait_for(task_id)
    assert api.lines(task_id) == [str(tmp_path / "elsewhere")]
    assert stored(api, task_id) == {"a": b"x\n"}
