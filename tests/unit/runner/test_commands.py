from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from keruta_agent.core.coding.model import TaskContext, Workspace
from keruta_agent.core.process_tree.proc import process_state
from keruta_agent.runner.checks.commands import CommandExecutor
from keruta_agent.runner.checks.detection import detect
from keruta_agent.runner.checks.testing import TestRunner
from keruta_agent.runner.credentials import CredentialManager, SecretMasker
from keruta_agent.runner.deadline import Deadline
from tests.helpers.waiting import wait_until

KEY = "sk-test-0123456789abcdefghij"


def test_command_returns_what_it_printed(tmp_path: Path) -> None:
    heard: list[str] = []

    result = CommandExecutor(on_line=heard.append).execute(
        "echo 出力; echo bad >&2; printf '\\377\\n'; exit 3", tmp_path
    )

    assert (result.success, result.exit_code) == (False, 3)
    assert (result.stdout, result.stderr) == ("出力\n\ufffd\n", "bad\n")
    assert sorted(heard) == sorted(["出力", "\ufffd", "bad"])


def test_command_without_a_place_is_a_result(tmp_path: Path) -> None:
    result = CommandExecutor().execute("true", tmp_path / "none")

    assert (result.success, result.exit_code) == (False, -1)
    assert "cannot be started" in result.stderr


@pytest.mark.parametrize(
    "how", ["{} &", "setsid {} &", "(setsid {} &)", "env -i setsid -f {}", "env -i nohup {} &"]
)
def test_everything_that_a_command_started_ends_with_it(tmp_path: Path, how: str) -> None:
    started = how.format("sh -c 'echo $$ > pid; exec sleep 1000'")

    result = CommandExecutor().execute(f"{started}\nwhile [ ! -s pid ]; do :; done", tmp_path)

    assert result.success, result
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: (state := process_state(pid)) is None or state[0] in "ZX", "its end")


def test_everything_ends_when_the_runner_is_killed(tmp_path: Path) -> None:
    command = "echo $$ > new; mv new pid; exec sleep 1000"
    code = (
        "from pathlib import Path; from keruta_agent.runner.checks.commands import CommandExecutor;"
        f"CommandExecutor().execute({command!r}, Path({str(tmp_path)!r}))"
    )
    runner = subprocess.Popen([sys.executable, "-c", code])
    wait_until((tmp_path / "pid").exists, "the command")

    runner.kill()
    runner.wait()

    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: (state := process_state(pid)) is None or state[0] in "ZX", "its end")


def test_command_ends_with_its_own_signal(tmp_path: Path) -> None:
    for name, number in (("KILL", 9), ("TERM", 15), ("SEGV", 11)):
        assert CommandExecutor().execute(f"kill -{name} $$", tmp_path).exit_code == -number


def test_time_limit_interrupts(tmp_path: Path) -> None:
    result = CommandExecutor().execute("trap '' TERM; sleep 1000", tmp_path, timeout_seconds=0.3)

    assert (result.success, result.exit_code) == (False, -1)
    assert "timed out" in result.stderr


def test_end_of_the_run_interrupts(tmp_path: Path) -> None:
    deadline = Deadline(1000)
    deadline.stop("the slot is lost")

    result = CommandExecutor().execute("sleep 1000", tmp_path, deadline=deadline)

    assert "the slot is lost" in result.stderr


def test_large_output_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    result = CommandExecutor().execute("echo first; yes | head -c 3000000; echo last", tmp_path)

    assert result.stdout.startswith("first\n")
    assert result.stdout.endswith("last\n")
    assert "left out" in result.stdout
    assert len(result.stdout) < 1_000_000


def test_memory_is_limited(tmp_path: Path) -> None:
    command = "python3 -c 'print(len(bytearray(600_000_000)))'"

    assert CommandExecutor().execute(command, tmp_path).success
    assert not CommandExecutor(max_memory_mb=300).execute(command, tmp_path).success


def test_keys_reach_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "GIT_TOKEN", "MY_OWN", "HARMLESS_COPY", "KERUTA_RUN_TOKEN"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("SSH_AUTH_SOCK", "/run/agent")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter22secret@db/x")
    monkeypatch.setenv("KEPT", "yes")

    result = CommandExecutor(secrets=(KEY,), hidden=("MY_OWN",)).execute("env", tmp_path)

    assert KEY not in result.stdout
    assert "hunter22secret" not in result.stdout
    assert "SSH_AUTH_SOCK" not in result.stdout
    assert "KEPT=yes" in result.stdout


def test_key_that_is_printed_is_masked(tmp_path: Path) -> None:
    heard: list[str] = []

    result = CommandExecutor(secrets=(KEY,), on_line=heard.append).execute(
        f"echo {KEY}; echo {KEY} >&2", tmp_path
    )

    assert KEY not in f"{result}{heard}"
    assert "***" in result.stdout


def _context(**fields: object) -> TaskContext:
    return TaskContext.from_dict(
        {"task_id": "1", "spec_name": "s", "title": "t", "description": "d", **fields}
    )


@pytest.mark.parametrize(("fail_fast", "count"), [(True, 1), (False, 2)])
def test_first_failure_is_the_last_command_when_it_may_be(
    tmp_path: Path, fail_fast: bool, count: int
) -> None:
    context = _context(test_commands=["false", "true"], fail_fast=fail_fast)

    result = TestRunner().run_tests(context, Workspace(tmp_path, "feature/x"))

    assert (result.success, len(result.test_results)) == (False, count)


def test_tests_have_the_time_of_the_task_and_no_more(tmp_path: Path) -> None:
    context = _context(test_commands=["sleep 1000", "true"], timeout_seconds=1, fail_fast=False)
    began = time.monotonic()

    result = TestRunner().run_tests(context, Workspace(tmp_path, "feature/x"))

    assert not result.success
    assert time.monotonic() - began < 500


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, []),
        ({"package.json": '{"scripts": {"test": "x"}}'}, ["npm test"]),
        ({"package.json": '{"devDependencies": {"vitest": "1"}}'}, ["npx vitest run"]),
        ({"package.json": "no json"}, []),
        ({"requirements.txt": "", "tests/test_x.py": ""}, ["python3 -m pytest -q"]),
        ({"pyproject.toml": "[tool.pytest.ini_options]"}, ["python3 -m pytest -q"]),
        ({"setup.py": "", "test/test_x.py": ""}, ["python3 -m unittest discover -s test"]),
        ({"pyproject.toml": "not [toml"}, []),
        ({"Gemfile": "", "spec/x": ""}, ["bundle exec rspec"]),
        ({"go.mod": ""}, ["go test ./..."]),
        ({"Cargo.toml": ""}, ["cargo test"]),
        ({"pom.xml": ""}, ["mvn -q test"]),
        ({"build.gradle": "", "gradlew": ""}, ["./gradlew test"]),
    ],
)
def test_tests_of_a_project_are_found(
    tmp_path: Path, files: dict[str, str], expected: list[str]
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    assert detect(tmp_path) == expected


def test_credentials_come_from_variables_first_then_from_files(tmp_path: Path) -> None:
    mounted = tmp_path / "token"
    mounted.write_text(" from-the-file\n")
    manager = CredentialManager({"OPENAI_API_KEY": KEY})
    manager.configure_secret_mount("git_token", mounted)

    assert manager.get_llm_api_key() == KEY
    assert manager.get_git_token() == "from-the-file"
    assert manager.get_api_key("store") is None
    assert KEY not in repr(manager)
    manager.validate_credentials({"git_token"})
    manager.clear_credentials()
    with pytest.raises(Exception, match="Missing required credentials: git_token"):
        manager.validate_credentials({"git_token"})


def test_masker_masks_texts_lists_and_what_is_below() -> None:
    masker = SecretMasker()
    masker.add_secret("geheimnis-eins")
    masker.add_secret("short")

    assert masker.mask("a geheimnis-eins, short") == "a ***, short"
    assert masker.mask("") == ""
    masked = masker.mask_dict(
        {"a": [{"b": "geheimnis-eins"}], "monkey": "x", "password": "hunter2-hunter2"}
    )
    assert masked == {"a": [{"b": "***"}], "monkey": "x", "password": "***"}


#: Writes a report of success wherever the runner has a channel open, and kills the supervisor.
FORGE = """
import os, signal, sys
runner, supervisor = map(int, sys.argv[1:])
for name in os.listdir(f"/proc/{runner}/fd"):
    path = f"/proc/{runner}/fd/{name}"
    try:
        if int(name) > 2 and os.readlink(path).startswith(("pipe:", "socket:")):
            os.write(os.open(path, os.O_WRONLY | os.O_NONBLOCK), b"0\\n")
    except OSError:
        pass
os.kill(supervisor, signal.SIGKILL)
"""
#: A runner of its own: what is forged must not reach what runs the tests.
RUNNER = """
import os, pathlib, sys
from keruta_agent.runner.checks.commands import CommandExecutor

command = f"{sys.executable} forge.py {os.getpid()} $PPID; sleep 60"
print(CommandExecutor().execute(command, pathlib.Path.cwd(), timeout_seconds=30))
"""


def test_command_that_kills_its_supervisor_cannot_report_in_its_stead(tmp_path: Path) -> None:
    (tmp_path / "forge.py").write_text(FORGE, encoding="utf-8")

    done = subprocess.run(
        [sys.executable, "-c", RUNNER], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert "what looked after the command was killed" in done.stdout
    assert "success=False" in done.stdout
