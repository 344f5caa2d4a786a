"""The config file: which one is read, and what is said of a wrong one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import traceback
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core import errors
from keruta_agent.core.settings import config_file
from keruta_agent.core.settings.sources import LoadedSettings, Source, load_settings


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".keruta").mkdir()
    return tmp_path


def load(home: Path, text: str) -> LoadedSettings:
    (home / ".keruta" / "config.yaml").write_text(text, encoding="utf-8")
    return load_settings({}, {"HOME": str(home)})


def refusal(home: Path, text: str) -> str:
    with pytest.raises(errors.SettingsError) as caught:
        load(home, text)
    message = str(caught.value)
    assert "\n" not in message
    assert str(home / ".keruta" / "config.yaml") in message
    assert caught.value.advice
    return message


def test_file_of_the_specification_is_read(home: Path) -> None:
    loaded = load(
        home,
        """\
api:
  url: http://keruta-api:8080
  timeout: 30s
logging:
  level: INFO
  format: json
artifacts:
  max_size: 100MB
  directory: /.keruta/doc
error_handling:
  auto_fix: true
  retry_count: 3
""",
    )
    file = home / ".keruta" / "config.yaml"
    assert loaded.config_file == file
    assert loaded.settings.api_url == "http://keruta-api:8080"
    assert loaded.settings.log_format == "json"
    assert loaded.sources["api_url"] == Source(kind="file", detail=f"{file}: api.url")


def test_bare_numbers_in_the_file_are_bytes_and_seconds(home: Path) -> None:
    loaded = load(home, "artifacts: {max_size: 104857600}\napi: {timeout: 15}")
    assert loaded.settings.artifacts_max_size == 104857600
    assert loaded.settings.api_timeout_s == 15.0


def test_switches_and_lists_are_read_as_yaml_has_them(home: Path) -> None:
    loaded = load(
        home,
        "error_handling: {auto_fix: no}\ninput: {http: on}\nartifacts: {extensions: [pdf, .Csv]}",
    )
    assert loaded.settings.auto_fix is False
    assert loaded.settings.http_input is True
    assert loaded.settings.artifacts_extensions == (".pdf", ".csv")


@pytest.mark.parametrize("text", ["", "# nothing", "api:", "api:\n  url:\n  #timeout: 3s", "---"])
def test_empty_file_section_or_key_changes_nothing(home: Path, text: str) -> None:
    loaded = load(home, text)
    assert {source.kind for source in loaded.sources.values()} == {"default"}


def test_relative_path_in_the_file_counts_from_the_file(home: Path) -> None:
    loaded = load(home, "daemon: {base_dir: 状態, pid_file: ~/a.pid}\nlogging: {file: /var/a.log}")
    assert loaded.settings.base_dir == home / ".keruta" / "状態"
    assert loaded.settings.pid_file == home / "a.pid"
    assert loaded.settings.log_file == Path("/var/a.log")


def test_file_with_a_byte_order_mark_is_read(home: Path) -> None:
    assert load(home, "\ufeffapi: {timeout: 9s}").settings.api_timeout_s == 9.0


def write(path: Path, timeout: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"api: {{timeout: {timeout}}}", encoding="utf-8")
    return path


def test_flag_wins_over_variable_over_home_over_machine(home: Path, system_file: Path) -> None:
    machine = write(system_file, "4s")
    environment = {"HOME": str(home)}
    try:
        assert load_settings({}, environment).config_file == machine
        assert load_settings({}, {}).config_file == machine
        own = write(home / ".keruta" / "config.yaml", "3s")
        assert load_settings({}, environment).config_file == own
        named = write(home / "named.yaml", "2s")
        environment["KERUTA_CONFIG"] = "~/named.yaml"
        assert load_settings({}, environment).config_file == named
        flag = write(home / "flag.yaml", "1s")
        loaded = load_settings({}, environment, config_path=flag)
        assert (loaded.config_file, loaded.settings.api_timeout_s) == (flag, 1.0)
    finally:
        machine.unlink()


def test_file_of_the_working_directory_is_not_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(home / "config.yaml", "1s")
    monkeypatch.chdir(home)
    assert load_settings({}, {"HOME": str(home)}).config_file is None


def test_named_file_that_is_missing_is_an_error(home: Path) -> None:
    missing = home / "無い.yaml"
    with pytest.raises(errors.SettingsError, match=r"無い\.yaml that --config names.*no such file"):
        load_settings({}, {}, config_path=missing)
    with pytest.raises(errors.SettingsError, match=r"that KERUTA_CONFIG names.*no such file"):
        load_settings({}, {"KERUTA_CONFIG": str(missing)})


def test_directory_in_place_of_the_file_is_an_error(home: Path) -> None:
    with pytest.raises(errors.SettingsError, match=r"Cannot read the config file .*directory"):
        load_settings({}, {}, config_path=home)


def test_unreadable_file_is_an_error(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Not by chmod: root, as whom tests may run, reads everything.
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    write(home / ".keruta" / "config.yaml", "1s")
    monkeypatch.setattr(config_file, "read_content", refuse)
    with pytest.raises(errors.SettingsError, match=r"Permission denied\. Make it a file"):
        load_settings({}, {"HOME": str(home)})


def test_file_that_is_not_utf8_is_an_error(home: Path) -> None:
    file = home / "latin.yaml"
    file.write_bytes("session: {id: é}".encode("latin-1"))
    with pytest.raises(errors.SettingsError, match="not UTF-8"):
        load_settings({}, {}, config_path=file)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("api:\n  url: [", 2),
        ("api:\n\turl: x", 2),
        ("api:\n  url: x\n  token:geheim\n", 4),
        ("api:\n  token: *geheim", 2),
        ("api:\n  token: !geheim x", 2),
        ("api:\n  token: @geheim", 2),
        ("api: {}\n---\ngeheim: {}", 2),
    ],
)
def test_broken_yaml_is_refused_with_its_line_and_without_its_text(
    home: Path, text: str, line: int
) -> None:
    message = refusal(home, text)
    assert f"line {line}: this is not valid YAML" in message
    assert "geheim" not in message


@pytest.mark.parametrize(
    "text", ["api: {url: 2024-99-99}", "api: {url: !!int x}", "a: " + "[" * 500]
)
def test_yaml_that_breaks_the_library_is_refused(home: Path, text: str) -> None:
    assert "not valid YAML" in refusal(home, text)


def test_key_that_stands_twice_is_refused_without_its_values(home: Path) -> None:
    message = refusal(home, "api:\n  token: geheim1\n  token: geheim2\n")
    assert "line 3: a key stands there twice" in message
    assert "geheim" not in message


@pytest.mark.parametrize("text", ["- a", "words", "12"])
def test_file_that_is_no_mapping_is_refused(home: Path, text: str) -> None:
    assert "The file must hold keys" in refusal(home, text)


def test_section_that_is_no_mapping_is_refused_without_its_text(home: Path) -> None:
    message = refusal(home, "api:\n  token:geheim\n")
    assert "The section api must hold keys" in message
    assert "geheim" not in message


@pytest.mark.parametrize(
    ("text", "line", "name", "near"),
    [
        ("api:\n  uri: x", 2, "api.uri", "Did you mean api.url?"),
        ("log_level: x", 1, "log_level", "Did you mean logging.level?"),
        ("api:\n  token_: x", 2, "api.token_", "Did you mean api.token?"),
        ("apis:\n  url: x", 1, "apis", "Did you mean api?"),
        ("# x\nsession_id: x", 2, "session_id", "Did you mean session.id?"),
        ("api.url: x", 1, "api.url", "Write api: and below it, indented, url:"),
        ("api: {}\n5: x", 2, "5", "Known are: api, artifact_store_api_key_env_var,"),
        ("api: {token:geheim}", 1, "api.token", "Write api: and below it, indented, token:"),
    ],
)
def test_unknown_key_is_refused_with_the_nearest_known(
    home: Path, text: str, line: int, name: str, near: str
) -> None:
    message = refusal(home, text)
    assert f"line {line}: there is no setting '{name}'. {near}" in message
    assert "geheim" not in message


@pytest.mark.parametrize(
    ("text", "replacement"),
    [
        ("execution_mode: local-process\nmessage_bus_url: http://localhost:5000", "task_registry"),
        ("kiro_url: http://localhost:6000", "llm.endpoint"),
        ("docker_image: x", "TASK_CONTEXT"),
    ],
)
def test_key_of_the_old_runner_is_refused_with_its_replacement(
    home: Path, text: str, replacement: str
) -> None:
    message = refusal(home, text)
    assert "is a setting of the old runner" in message
    assert replacement in message


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("# x\napi:\n  timeout: soon", "api.timeout ('soon') in {file}, line 3. It must be a dur"),
        ("session: {id: 12}", "session.id (12) in {file}, line 1. It must be text: put it in q"),
        ("daemon: {port: true}", "daemon.port (True) in {file}, line 1. It must be a whole"),
        ("daemon: {port: 80.0}", "daemon.port (80.0) in {file}, line 1. It must be a whole"),
        ("workspace: {directory: 5}", "workspace.directory (5) in {file}, line 1. It must be te"),
        ("artifacts: {extensions: {a: b}}", "It must be a list"),
        ("artifacts: {extensions: [5]}", "It must be text"),
        ("artifacts: {max_size: .inf}", "It must be a size"),
        ("api: {token: 12345}", "api.token (********) in {file}, line 1. It must be text"),
    ],
)
def test_wrong_value_is_refused_with_file_key_and_line(home: Path, text: str, subject: str) -> None:
    file = home / ".keruta" / "config.yaml"
    assert subject.format(file=file) in refusal(home, text)


def test_token_in_the_file_stays_out_of_the_traceback(home: Path) -> None:
    token = str(uuid.uuid4())  # made up here, so that no source line in the traceback has it
    for text in (f"api:\n  token: {token}\n  token: {token}\n", f"api:\n  token: @{token}"):
        with pytest.raises(errors.SettingsError) as caught:
            load(home, text)
        assert token not in "".join(traceback.format_exception(caught.value))


def test_anchor_used_twice_prints_no_warning(home: Path) -> None:
    loaded = load(home, "api: {token: &a geheim}\nsession: {id: &a other}")
    assert loaded.settings.session_id == "other"


@given(
    text=st.text(st.sampled_from("api:ul \n-[]{}&*!|>'\"%@#,?0~\t"), max_size=40)
    | st.recursive(
        st.sampled_from(["api", "url", "token", "1", "x"]),
        lambda inner: st.lists(inner, max_size=3).map(str),
    ).map(lambda value: f"api: {{url: {value}}}")
)
def test_any_text_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_text(text, encoding="utf-8")
    try:
        loaded = load_settings({}, {}, config_path=file)
    except errors.SettingsError as error:
        assert "\n" not in str(error)
        assert str(file) in str(error)
    else:
        assert loaded.config_file == file


def test_without_a_file_the_yaml_library_is_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from keruta_agent.core.settings.sources import load_settings\n"
        "loaded = load_settings({}, {'HOME': sys.argv[1]})\n"
        "wrong = {'ruamel.yaml', 'click', 'requests', 'flask', 'huey'} & set(sys.modules)\n"
        "sys.exit(str(wrong) if loaded.config_file is None and wrong else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"api: {timeout: 7}\n")
    os.close(writer)
    try:
        loaded = load_settings({}, {}, config_path=Path(f"/dev/fd/{reader}"))
    finally:
        os.close(reader)
    assert loaded.settings.api_timeout_s == 7


@pytest.mark.parametrize(
    ("make", "reason"),
    [(os.mkfifo, "a pipe whose end"), (lambda path: path.symlink_to("/dev/zero"), "has no end")],
)
def test_what_has_no_end_is_not_waited_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Path], object],
    reason: str,
) -> None:
    monkeypatch.setattr(config_file, "PIPE_TIMEOUT_S", 0.1)
    path = tmp_path / "config.yaml"
    make(path)
    with pytest.raises(errors.SettingsError, match=reason):
        load_settings({}, {}, config_path=path)
