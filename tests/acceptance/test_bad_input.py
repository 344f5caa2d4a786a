"""Bad input is answered with one line that says what to do, and nothing is lost by it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.helpers.api import Api
from tests.helpers.processes import Process, Workplace
from tests.helpers.strange_api import forward, strange_server


def _assert_one_line(done: Any, code: int, *parts: str) -> None:
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("keruta: ")
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("api: [", "config.yaml"),
        ("api:\n  url: ftp://x\n", "api.url"),
        ("no_such_section:\n  x: 1\n", "no_such_section"),
        ("api:\n  timeout: soon\n", "api.timeout"),
        (b"\xff\xfe\0binary", "config.yaml"),
        (None, "config.yaml"),
    ],
)
def test_config_file_that_cannot_be_used_is_named(
    workplace: Workplace, content: str | bytes | None, complaint: str
) -> None:
    file = workplace.path / "config.yaml"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    _assert_one_line(workplace.run("daemon", KERUTA_CONFIG=str(file)), 2, complaint)


def test_config_file_that_is_not_there_is_named(workplace: Workplace) -> None:
    _assert_one_line(workplace.run("--config", "/no/such/file", "daemon"), 2, "/no/such/file")


@pytest.mark.parametrize(
    ("name", "value", "parts"),
    [
        ("KERUTA_MAX_CONCURRENT_TASKS", "2", ("one at a time", "more sessions")),
        ("KERUTA_API_URL", "not an address", ("KERUTA_API_URL",)),
        ("KERUTA_POLL_INTERVAL", "often", ("KERUTA_POLL_INTERVAL", "often")),
        ("KERUTA_LOG_FILE", "/dev/null/daemon.log", ("/dev/null/daemon.log",)),
        ("KERUTA_BASE_DIR", "/dev/null/base", ("/dev/null/base", "KERUTA_BASE_DIR")),
        ("KERUTA_PID_FILE", "/dev/null/x.pid", ("/dev/null/x.pid",)),
    ],
)
def test_setting_that_cannot_be_used_is_named(
    workplace: Workplace, name: str, value: str, parts: tuple[str, ...]
) -> None:
    done = workplace.run("daemon", **{name: value})

    _assert_one_line(done, 1 if "DIR" in name or "PID" in name else 2, *parts)


def test_base_directory_that_cannot_be_made_is_named_by_every_command(
    workplace: Workplace,
) -> None:
    file = workplace.path / "file"
    file.touch()
    base_dir = str(file / "base")

    for command in (("execute", "true"), ("execute", "--detach", "true")):
        done = workplace.run(*command, KERUTA_BASE_DIR=base_dir)
        _assert_one_line(done, 1, base_dir, "KERUTA_BASE_DIR")
    assert workplace.run("config", "show", KERUTA_BASE_DIR=base_dir).returncode == 0


def test_option_that_does_not_exist_is_answered_with_one_line(workplace: Workplace) -> None:
    _assert_one_line(workplace.run("daemon", "--no-such-option"), 2, "daemon --help")
    _assert_one_line(workplace.run("no-such-command"), 2, "--help")


def test_server_on_a_port_in_use_says_so(workplace: Workplace, api: Api) -> None:
    port = api.url.rpartition(":")[2]

    done = workplace.run("server", "--port", port, "--data", str(workplace.path / "other"))

    _assert_one_line(done, 1, port, "in use", "--port")


def test_api_that_answers_html_is_named_and_asked_again(workplace: Workplace) -> None:
    def page(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        return 200, "text/html", "<html><body>ようこそ</body></html>".encode()

    with strange_server(page) as url:
        daemon = workplace.daemon(KERUTA_API_URL=url, KERUTA_SESSION_ID="s")
        daemon.wait_for("goes on trying")
        assert workplace.run("execute", "echo works").stdout == "works\n"
        assert daemon.stop() == 0
        report = workplace.run("progress", "5", "--task-id", "t", KERUTA_API_URL=url)

    assert "KERUTA_API_URL" in daemon.err
    assert "Traceback" not in daemon.err + report.stderr
    assert (report.returncode, len(report.stderr.splitlines())) == (0, 1)
    assert "kept" in report.stderr


def test_tasks_that_cannot_be_read_are_left_out_and_the_others_run(
    workplace: Workplace, api: Api
) -> None:
    good = api.file_task("echo good")
    strange = [
        {"name": "without id", "status": "PENDING", "script": "true"},
        {"id": "x", "status": "SLEEPING", "script": "true"},
        {"id": "y", "status": None, "priority": "very"},
        "no object",
        None,
    ]

    def tampered(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        status, content_type, content = forward(api.url, method, path, body)
        if path.partition("?")[0].endswith("/tasks") and method == "GET":
            content = json.dumps([*strange, *json.loads(content)]).encode()
        return status, content_type, content

    with strange_server(tampered) as url:
        daemon = workplace.daemon(KERUTA_API_URL=url)
        assert api.wait_for(good)["status"] == "COMPLETED"
        assert daemon.stop() == 0

    assert "cannot be read and is left out" in daemon.err
    assert "Traceback" not in daemon.err
    assert api.lines(good) == ["good"]


def test_database_that_is_damaged_is_named_and_left_as_it_is(workplace: Workplace) -> None:
    workplace.base_dir.mkdir()
    database = workplace.base_dir / "agent.db"
    database.write_bytes(b"garbage " * 4096)

    for command in (("daemon",), ("queue", "list"), ("execute", "true")):
        _assert_one_line(workplace.run(*command), 1, str(database))
    assert database.read_bytes() == b"garbage " * 4096


def test_session_that_does_not_exist_is_named_and_asked_for_again(
    workplace: Workplace, api: Api
) -> None:
    daemon = workplace.start("daemon", KERUTA_SESSION_ID="no-such-session")

    assert daemon.wait() == 2
    assert "no-such-session" in daemon.err
    assert "--session-id" in daemon.err


def test_wrong_token_is_named(workplace: Workplace) -> None:
    server = workplace.start(
        *("server", "--port", "0", "--data", str(workplace.path / "server")),
        KERUTA_SERVER_TOKEN="right",
    )
    server.wait_for("listening on ")
    url = server.out.split()[-1]

    report = workplace.run(
        "log", "INFO", "x", "--task-id", "t", KERUTA_API_URL=url, KERUTA_API_TOKEN="wrong-token"
    )

    assert "wrong-token" not in report.stderr
    assert len(report.stderr.splitlines()) == 1
    daemon: Process = workplace.daemon(KERUTA_API_URL=url, KERUTA_API_TOKEN="wrong-token")
    daemon.wait_for("KERUTA_API_TOKEN")
    assert "wrong-token" not in daemon.err


@pytest.mark.parametrize(
    "options", [("--root-path", "no/slash"), ("--trusted-proxy", "10.0.0.0/33")]
)
def test_proxy_that_cannot_be_is_named(workplace: Workplace, options: tuple[str, str]) -> None:
    _assert_one_line(workplace.run("server", "--port", "0", *options), 2, options[1])
