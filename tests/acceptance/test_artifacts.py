"""What scripts leave in the artifacts directory is stored with their task."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.gate import Passage, gate_before
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def _paths(api: Api, task_id: str) -> list[str]:
    return sorted(artifact["path"] for artifact in api.artifacts(task_id))


def test_each_task_has_the_files_that_it_made_or_changed(workplace: Workplace, api: Api) -> None:
    first = api.file_task(
        'cd "$KERUTA_ARTIFACTS_DIR" && mkdir -p 報告/2026 && echo 一 > 報告/2026/結果.txt\n'
        "echo same > same.txt; echo old > changed.txt; : > empty; cp /bin/true binary\n",
        priority=2,
    )
    second = api.file_task('cd "$KERUTA_ARTIFACTS_DIR" && echo newer > changed.txt', priority=1)
    third = api.file_task("true")
    workplace.daemon()
    api.wait_for_all([first, second, third])

    everything = ["binary", "changed.txt", "empty", "same.txt", "報告/2026/結果.txt"]
    assert _paths(api, first) == everything
    assert _paths(api, second) == ["changed.txt"]
    assert _paths(api, third) == []
    sizes = {artifact["path"]: artifact["size"] for artifact in api.artifacts(first)}
    assert (sizes["報告/2026/結果.txt"], sizes["empty"]) == (4, 0)


def test_failed_task_keeps_its_artifacts(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task('echo why > "$KERUTA_ARTIFACTS_DIR/reason"; exit 1')
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "FAILED"
    assert _paths(api, task_id) == ["reason"]


def test_link_that_leads_out_of_the_directory_is_not_taken(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    secret = tmp_path / "secrets"
    secret.mkdir()
    (secret / "key").write_text("secret", encoding="utf-8")
    task_id = api.file_task(
        f'cd "$KERUTA_ARTIFACTS_DIR" && echo x > good; ln -s {secret}/key file; '
        f"ln -s {secret} folder; mkfifo pipe"
    )
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert _paths(api, task_id) == ["good"]


def test_file_that_is_too_large_is_left_out_with_a_warning(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task(
        'cd "$KERUTA_ARTIFACTS_DIR" && truncate -s 1048577 huge && truncate -s 1048576 large'
    )
    daemon = workplace.daemon(KERUTA_MAX_FILE_SIZE="1")

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert _paths(api, task_id) == ["large"]
    assert "huge is too large" in daemon.err


def test_only_the_endings_that_are_wanted_are_taken(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task('cd "$KERUTA_ARTIFACTS_DIR" && touch a.PDF b.csv c.txt')
    workplace.daemon(KERUTA_ARTIFACTS_EXTENSIONS=".pdf,csv")

    api.wait_for(task_id)

    assert _paths(api, task_id) == ["a.PDF", "b.csv"]


def test_script_names_another_directory_for_its_artifacts(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(
        f"mkdir -p {tmp_path}/mine && echo x > {tmp_path}/mine/result && cd {tmp_path} &&\n"
        "keruta success --artifacts-dir mine"
    )
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert _paths(api, task_id) == ["result"]


def test_file_whose_name_is_no_utf_8_is_taken_under_a_name_that_is(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task("""cd "$KERUTA_ARTIFACTS_DIR" && echo x > $'\\x82\\xa0.txt'""")
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert _paths(api, task_id) == ["%82%A0.txt"]


def test_upload_that_takes_long_delays_no_line_and_no_answer_also_through_a_kill(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task(
        "head -c 3000000 /dev/zero > big; keruta artifact add big; echo first\n"
        'printf "Name: "; read -r name; echo "hello $name"',
    )
    uploads: list[str] = []
    may_end = threading.Event()

    def hold_uploads(passage: Passage) -> bool:
        if passage.path.endswith("/artifacts"):
            uploads.append(passage.path)
            may_end.wait(60)
        return False

    with gate_before(api.url) as gate:
        gate.trouble = hold_uploads
        settings = {"KERUTA_USE_HTTP_INPUT": "true", "KERUTA_DAEMON_PORT": "0"}
        first = workplace.daemon(KERUTA_API_URL=gate.url, **settings)
        wait_until(lambda: uploads, "the upload has begun")
        wait_until(lambda: "first" in api.lines(task_id), "the line behind the file is there")
        first.kill()
        workplace.daemon(KERUTA_API_URL=gate.url, **settings)
        wait_until(lambda: len(uploads) == 2, "the upload has begun again")
        api.wait_for_question(task_id)
        api.answer(task_id, "Alice")
        wait_until(lambda: "hello Alice" in api.lines(task_id)[-1], "it goes on")
        assert api.wait_for(task_id, "PROCESSING")
        assert api.artifacts(task_id) == []

        may_end.set()
        assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert [(each["path"], each["size"]) for each in api.artifacts(task_id)] == [("big", 3000000)]
    assert api.lines(task_id) == ["first", "Name: hello Alice"]
