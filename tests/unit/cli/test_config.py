"""``keruta config`` changes and checks the file, and says what it did."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from tests.helpers.command_line import CommandLine


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("api.url", "http://keruta-api:8080/api/v1/", "url: http://keruta-api:8080"),
        ("api.timeout", "45", "timeout: 45"),
        ("api.timeout", " 1m30s", "timeout: 1m30s"),
        ("api.events", "NO", "events: false"),
        ("error_handling.retry_count", "7", "retry_count: 7"),
        ("artifacts.extensions", ".pdf,CSV", "extensions: [.pdf, .csv]"),
        ("artifacts.extensions", "[]", "extensions: []"),
        ("artifacts.directory", "~/out", "directory: ~/out"),
        ("logging.level", "warning", "level: WARN"),
        ("session.id", "12345", "id: '12345'"),
        ("session.id", "セッション 1: a #b", "id: 'セッション 1: a #b'"),
    ],
)
def test_set_writes_a_value_that_is_then_in_force(
    keruta: CommandLine, key: str, value: str, line: str
) -> None:
    called = keruta("config", "set", key, value)

    assert called.code == 0, called.err
    assert called.out.startswith(f"{key} = ")
    assert keruta.config.read_text().splitlines() == [f"{key.partition('.')[0]}:", f"  {line}"]
    shown = json.loads(keruta("config", "show", "--json").out)["settings"][key]
    assert shown["source"] == "file"


def test_set_writes_a_relative_path_from_where_it_was_typed(
    keruta: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    keruta("config", "set", "workspace.directory", "work")

    assert f"directory: {tmp_path}/work" in keruta.config.read_text()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("api.ulr", "x", "there is no setting 'api.ulr'. Did you mean api.url?"),
        ("retry_cuont", "3", "Did you mean error_handling.retry_count?"),
        ("KERUTA_API_ULR", "x", "Did you mean api.url?"),
        ("kiro_url", "x", "a setting of the old runner. Set llm.model, llm.endpoint"),
        ("zzz", "x", "See all of them: keruta config show"),
        ("KERUTA_TASK_ID", "x", "has no place in the config file"),
        ("api.timeout", "soon", "Cannot set api.timeout ('soon'). It must be a duration"),
        ("daemon.max_concurrent_tasks", "2", "start more sessions"),
        ("api.url", "", "It must not be empty"),
        ("session.id", "a\nb", "without control characters"),
    ],
)
def test_set_refuses_what_is_no_setting_or_no_value(
    keruta: CommandLine, key: str, value: str, message: str
) -> None:
    called = keruta("config", "set", key, value)

    assert called.code == 2
    assert message in called.err
    assert len(called.err.splitlines()) == 1
    assert not keruta.config.exists()


def test_set_takes_the_name_of_a_variable_and_says_the_key(keruta: CommandLine) -> None:
    called = keruta("config", "set", "KERUTA_MAX_FILE_SIZE", "20")

    assert called.code == 0
    assert "KERUTA_MAX_FILE_SIZE is artifacts.max_size" in called.err
    # A bare number means megabytes in the variable, and bytes in the file.
    assert "max_size: 20MB" in keruta.config.read_text()


def test_secret_is_read_from_standard_input(keruta: CommandLine) -> None:
    keruta("config", "set", "api.url", "http://a")
    keruta.config.chmod(0o644)

    called = keruta("config", "set", "api.token", "-", stdin="s3cret-token\n")

    assert called.code == 0
    assert "s3cret" not in called.out + called.err
    assert "  token: s3cret-token\n" in keruta.config.read_text()
    assert stat.S_IMODE(keruta.config.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("key", "value"), [("api.token", "s3cret"), ("api.url", "http://me:s3cret@host")]
)
def test_secret_on_the_command_line_is_refused(keruta: CommandLine, key: str, value: str) -> None:
    called = keruta("config", "set", key, value)

    assert called.code == 2
    assert f"Give it to: keruta config set {key} -" in called.err
    assert "s3cret" not in called.out + called.err
    assert not keruta.config.exists()


def test_value_that_is_no_text_is_refused(keruta: CommandLine) -> None:
    called = keruta("config", "set", "api.token", "-", stdin="t\udcff")

    assert called.code == 2
    assert "It must be one line of UTF-8 text" in called.err


def test_wrong_secret_is_not_repeated(keruta: CommandLine) -> None:
    called = keruta("config", "set", "api.token", "-", stdin="two w0rds")

    assert called.code == 2
    assert "w0rds" not in called.err
    assert keruta("config", "set", "api.token", "-", stdin="x" * 70_000).code == 2


def test_set_and_unset_say_when_a_variable_wins(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERUTA_API_URL", "http://other")

    for called in (
        keruta("config", "set", "api.url", "http://a"),
        keruta("config", "unset", "api.url"),
    ):
        assert called.code == 0
        assert "the variable KERUTA_API_URL is set here, and wins over the file" in called.err


def test_unset_says_whether_it_was_set(keruta: CommandLine) -> None:
    assert "was not set" in keruta("config", "unset", "api.url").out
    assert not keruta.config.exists()
    keruta("config", "set", "api.url", "http://a")

    assert "is no longer set" in keruta("config", "unset", "api.url").out
    assert "was not set" in keruta("config", "unset", "api.url").out
    assert keruta("config", "unset", "api.ulr").code == 2


def test_file_that_is_named_is_the_one_that_is_changed(
    keruta: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERUTA_CONFIG", str(tmp_path / "by-variable.yaml"))

    keruta("config", "set", "api.url", "http://a")
    keruta("--config", str(tmp_path / "by-flag.yaml"), "config", "set", "api.url", "http://b")

    assert "http://a" in (tmp_path / "by-variable.yaml").read_text()
    assert "http://b" in (tmp_path / "by-flag.yaml").read_text()
    assert not keruta.config.exists()


def test_path_names_the_files_and_the_one_in_use(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = keruta("config", "path").out.splitlines()
    keruta("config", "set", "api.url", "http://a")

    assert first[0] == f"{keruta.config}  not there"
    assert first[1].startswith("/etc/keruta/config.yaml  ")
    assert keruta("config", "path").out.splitlines()[0] == f"{keruta.config}  used"
    monkeypatch.setenv("KERUTA_CONFIG", "~/other.yaml")
    assert json.loads(keruta("config", "path", "--json").out) == [
        {
            "path": f"{keruta.home}/other.yaml",
            "state": "not there",
            "named_by": "KERUTA_CONFIG",
        }
    ]


def test_check_names_every_problem_with_its_line(keruta: CommandLine) -> None:
    keruta.config.parent.mkdir()
    keruta.config.write_text(
        "api:\n  ulr: http://a\n  timeout: soon\n  token: two w0rds\n"
        "deamon:\n  port: 1\nlogging: DEBUG\nruns:\n  keep_age: 7d\n"
    )

    called = keruta("config", "check")

    assert called.code == 2
    lines = called.out.splitlines()
    assert [line.partition(", line ")[2][0] for line in lines] == ["2", "3", "4", "5", "7"]
    assert "Did you mean api.url?" in lines[0]
    assert "It must be a duration" in lines[1]
    assert "w0rds" not in called.out
    assert called.err == f"keruta: {keruta.config}: 5 problems\n"


def test_check_finds_wrong_variables_too(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERUTA_POLL_INTERVAL", "never")

    called = keruta("config", "check")

    assert called.code == 2
    assert called.out.startswith("Cannot use KERUTA_POLL_INTERVAL ('never'). It must be")


def test_check_of_a_good_file_warns_of_a_token_that_others_can_read(
    keruta: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("api:\n  token: abc\n")
    file.chmod(0o644)

    called = keruta("config", "check", str(file))

    assert called.code == 0
    assert called.out == f"{file}: all settings can be used\n"
    assert "chmod 600" in called.err


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"api: {", b"a: 1\na: 2\n"])
def test_check_of_what_is_no_config_file_is_one_line(
    keruta: CommandLine, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(content)

    assert keruta("config", "check", str(file)).code == 2
    assert keruta("config", "check", str(tmp_path / "missing.yaml")).code == 2
    assert keruta("config", "check").code == 0
