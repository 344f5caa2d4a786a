"""Every way in which a script ends is reported as it was, and nothing of a task outlives it."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import Workplace, is_alive
from tests.helpers.waiting import wait_until

#: Scripts with what the API is to hold in the end: state, code, and a part of the message.
_ENDINGS = (
    ("echo fine", "COMPLETED", "", ""),
    ("keruta success --message 'all of it'", "COMPLETED", "", "all of it"),
    ("echo gone wrong >&2; exit 3", "FAILED", "EXIT_3", "exited with code 3: gone wrong"),
    ("kill -9 $$", "FAILED", "SIGNAL_9", "SIGKILL"),
    ("keruta fail --message 壊れた --error-code DB_DOWN", "FAILED", "DB_DOWN", "壊れた"),
    ("keruta success; exit 3", "FAILED", "EXIT_3", "reported success, then exited with code 3"),
    ("keruta fail --message first; keruta success", "FAILED", "REPORTED", "first"),
    ("   ", "FAILED", "NOT_STARTED", "has no script"),
    ("#!/no/such/program\n", "FAILED", "NOT_STARTED", "/no/such/program"),
)


def test_end_of_each_script_is_reported_as_it_was(workplace: Workplace, api: Api) -> None:
    tasks = [api.file_task(script) for script, *_ in _ENDINGS]
    workplace.daemon()
    api.wait_for_all(tasks)

    for task_id, (script, status, error_code, message) in zip(tasks, _ENDINGS, strict=True):
        task = api.task(task_id)
        assert (task["status"], task["errorCode"]) == (status, error_code), script
        assert message in task["message"], script


def test_process_that_left_its_session_does_not_outlive_the_task(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    task_id = api.file_task(
        f"(setsid sh -c 'echo $$ > {child}.new; mv {child}.new {child}; exec sleep 300' &)\n"
        f"while [ ! -e {child} ]; do sleep 0.02; done"
    )
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert not is_alive(int(child.read_text(encoding="ascii")))
    assert workplace.run_processes() == []


def test_process_that_ignores_sigterm_is_killed_after_the_grace_period(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    child = tmp_path / "child"
    task_id = api.file_task(
        f"(trap '' TERM; echo $BASHPID > {child}; while :; do sleep 1; done) &\n"
        f"while [ ! -s {child} ]; do sleep 0.02; done"
    )
    workplace.daemon(KERUTA_STOP_GRACE="100ms")

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert not is_alive(int(child.read_text(encoding="ascii")))


def test_failed_task_gets_an_auto_fix_task_that_runs_too(workplace: Workplace, api: Api) -> None:
    failed = api.file_task('echo "$KERUTA_FIX_ERROR_CODE"; [ -n "$KERUTA_AUTO_FIX" ] || exit 7')
    workplace.daemon(KERUTA_AUTO_FIX_ENABLED="true")
    api.wait_for(failed)

    [fix] = wait_until(lambda: api.fixes(failed), "the auto-fix task is filed")
    assert api.wait_for(fix)["status"] == "COMPLETED"
    assert api.lines(fix) == ["EXIT_7"]
    assert api.task(failed)["status"] == "FAILED"


def test_finished_task_is_not_reported_before_all_of_its_log_is_there(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task("seq 3000; printf 'no newline'")
    workplace.daemon()

    api.wait_for(task_id)

    assert api.lines(task_id) == [*(str(number) for number in range(1, 3001)), "no newline"]


def test_output_of_any_form_is_kept_in_its_order(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task(
        "printf 'windows\\r\\n\\n'; printf '\\377\\000 bytes\\n'\n"
        "head -c 150000 /dev/zero | tr '\\0' x; echo; echo 最後"
    )
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    windows, empty, strange, *long, last = api.lines(task_id)
    assert (windows.rstrip("\r"), empty, last) == ("windows", "", "最後")
    assert strange.startswith("\N{REPLACEMENT CHARACTER}") and strange.endswith(" bytes")
    assert "".join(long) == "x" * 150000
