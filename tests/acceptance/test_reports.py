"""Reports of scripts and people: start, progress, log, success, fail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.api import Api
from tests.helpers.processes import Process, Workplace
from tests.helpers.waiting import wait_until


def test_script_reports_its_progress_its_log_and_its_end(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task(
        "keruta start && keruta start --log-level INFO\n"
        "keruta progress 40 --message '四割' && keruta progress 55%\n"
        "keruta log INFO 開始 && keruta log warning careful\n"
        "keruta log ERROR bad --field host=db1\n"
        "keruta success --message 完了\n"
    )
    daemon = workplace.daemon()

    task = api.wait_for(task_id)

    assert (task["status"], task["message"], task["progress"]) == ("COMPLETED", "完了", 100)
    reported = [
        (entry["level"], entry["message"])
        for entry in api.logs(task_id)
        if entry["source"] == "agent"
    ]
    assert reported == [("INFO", "開始"), ("WARN", "careful"), ("ERROR", "bad")]
    assert "Traceback" not in daemon.err
    assert api.lines(task_id, "stderr") == []


def test_progress_is_seen_at_the_api_while_the_script_runs(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(
        f"keruta progress 40 --message '四割'; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    )
    workplace.daemon()

    wait_until(lambda: api.task(task_id)["progress"] == 40, "the progress is stored")
    assert api.task(task_id)["status"] in ("PROCESSING", "IN_PROGRESS")
    (tmp_path / "go").touch()
    assert api.wait_for(task_id)["progress"] == 100


def test_reports_made_while_no_daemon_runs_are_delivered_by_the_next_one(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(
        f"echo begun; while [ ! -e {tmp_path}/killed ]; do sleep 0.02; done\n"
        "keruta log INFO alone && keruta progress 70 &&\n"
        "keruta fail --message 駄目 --error-code NO\n"
        f"echo $? > {tmp_path}/reported; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done\n"
    )
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")
    daemon.kill()
    (tmp_path / "killed").touch()
    wait_until(lambda: (tmp_path / "reported").exists(), "the script has reported")

    workplace.daemon()
    (tmp_path / "go").touch()

    task = api.wait_for(task_id)
    assert (tmp_path / "reported").read_text(encoding="ascii") == "0\n"
    assert (task["status"], task["message"], task["errorCode"]) == ("FAILED", "駄目", "NO")
    assert api.lines(task_id, "agent") == ["alone"]
    assert task["progress"] == 70


def test_wrong_reports_are_refused_with_one_line_and_hurt_nothing(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task(
        "for wrong in 'progress 101' 'progress x' 'log LOUD hi' 'log INFO' 'nonsense'; do\n"
        "    keruta $wrong; echo code $?\n"
        "done\n"
        "KERUTA_RUN_TOKEN=stolen keruta log INFO forged; echo code $?\n"
    )
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert api.lines(task_id) == ["code 2"] * 6
    assert len(api.lines(task_id, "stderr")) == 6
    assert api.lines(task_id, "agent") == []


def test_script_sees_its_own_variables_and_none_of_the_agents_secrets(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task("env; command -v keruta", parameters={"env": {"COLOUR": "青", "N": 3}})
    workplace.daemon(
        KERUTA_API_TOKEN="very-secret",
        SECRET_OF_MINE="1",
        AWS_REGION="x",
        KERUTA_PASS_ENVIRONMENT="AWS_*",
    )
    api.wait_for(task_id)

    *variables, command = api.lines(task_id)
    found = dict(line.split("=", 1) for line in variables)
    assert found["KERUTA_TASK_ID"] == task_id
    assert found["KERUTA_SESSION_ID"] == api.session_id
    assert found["KERUTA_ARTIFACTS_DIR"] == str(workplace.path / "artifacts")
    assert (found["COLOUR"], found["N"], found["AWS_REGION"]) == ("青", "3", "x")
    assert found["HOME"] == workplace.environment["HOME"]
    assert command == str(workplace.base_dir / "bin" / "keruta")
    assert not {"KERUTA_API_TOKEN", "SECRET_OF_MINE"} & set(found)
    assert "very-secret" not in "".join(api.lines(task_id))


def test_person_reports_on_a_task_from_outside_of_a_run(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    (tmp_path / "results" / "図").mkdir(parents=True)
    (tmp_path / "results" / "図" / "一.txt").write_text("data", encoding="utf-8")
    task_id = api.file_task("true")
    about = ("--task-id", task_id)

    codes = [
        workplace.run(*command, *about).returncode
        for command in (
            ("start",),
            ("start",),
            ("progress", "40", "--message", "近く"),
            ("log", "ERROR", "見て", "--field", "host=db1"),
            ("success", "--message", "done", "--artifacts-dir", str(tmp_path / "results")),
        )
    ]

    assert codes == [0] * 5
    task = api.task(task_id)
    assert (task["status"], task["message"], task["progress"]) == ("COMPLETED", "done", 100)
    assert api.lines(task_id, "agent") == ["見て"]
    assert [artifact["path"] for artifact in api.artifacts(task_id)] == ["図/一.txt"]
    late = workplace.run("start", *about)
    assert (late.returncode, len(late.stderr.splitlines())) == (5, 1)
    assert api.task(task_id)["status"] == "COMPLETED"


def test_person_reports_a_failure_and_its_code(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task("true")

    done = workplace.run("fail", "--message", "no db", "--error-code", "DB", KERUTA_TASK_ID=task_id)

    task = api.task(task_id)
    assert done.returncode == 0
    assert (task["status"], task["message"], task["errorCode"]) == ("FAILED", "no db", "DB")


@pytest.mark.parametrize(
    "command", [("start",), ("progress", "5"), ("log", "INFO", "x"), ("success",), ("fail",)]
)
def test_report_that_names_no_task_is_refused_with_one_line(
    workplace: Workplace, command: tuple[str, ...]
) -> None:
    done = workplace.run(*command, KERUTA_API_URL="http://127.0.0.1:9")

    assert done.returncode == 2
    assert "--task-id" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_reports_made_while_the_api_is_down_are_kept_for_the_next_daemon(
    workplace: Workplace, mortal_api: tuple[Process, Api]
) -> None:
    server, api = mortal_api
    task_id = api.file_task("true")
    server.stop()

    for command in (("progress", "40"), ("log", "INFO", "kept"), ("success", "--message", "yes")):
        done = workplace.run(*command, "--task-id", task_id)
        assert (done.returncode, len(done.stderr.splitlines())) == (0, 1)
        assert "is kept and sent later" in done.stderr
    shown = json.loads(workplace.run("config", "show", "--json").stdout)
    assert shown["queue"]["outbox"]["pending"] == 3
    workplace.server(api.port)
    workplace.daemon()

    task = api.wait_for(task_id)
    assert (task["status"], task["message"]) == ("COMPLETED", "yes")
    assert api.lines(task_id, "agent") == ["kept"]


def test_report_on_a_task_that_does_not_exist_is_refused_by_the_api(
    workplace: Workplace, api: Api
) -> None:
    done = workplace.run("progress", "40", "--task-id", "no-such-task")

    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1
    assert '"pending": 0' in workplace.run("config", "show", "--json").stdout
