"""The single settings: what their values may look like and what they become."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.settings import schema
from keruta_agent.core.settings.sources import load_settings

HOME = {"HOME": "/home/hanako"}


def from_environment(**variables: str) -> schema.Settings:
    return load_settings({}, HOME | variables).settings


def refusal(**variables: str) -> str:
    with pytest.raises(errors.SettingsError) as caught:
        from_environment(**variables)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.advice
    for variable in variables:
        assert variable in text
    return text


def test_settings_need_no_environment_at_all() -> None:
    settings = load_settings({}, {}).settings
    assert settings.api_url is None
    assert settings.base_dir == Path("/tmp/keruta")


def test_default_of_each_kind_is_read_as_if_it_were_given() -> None:
    # Which they are, etc/config.yaml says of all, and spec_table of those in the specification.
    settings = from_environment()
    assert (settings.api_url, settings.log_level, settings.auto_fix) == (None, "INFO", True)
    assert (settings.api_timeout_s, settings.retry_delay_s) == (30.0, 1.0)
    assert (settings.log_max_size, settings.artifacts_max_size) == (10 * 2**20, 100 * 2**20)
    assert (settings.daemon_port, settings.pass_environment) == (8080, ())
    assert settings.base_dir == Path("/home/hanako/.keruta")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://keruta-api:8080", "http://keruta-api:8080"),
        ("http://keruta-api:8080/", "http://keruta-api:8080"),
        ("http://keruta-api:8080/api/v1//", "http://keruta-api:8080"),
        ("https://example.org/keruta/api", "https://example.org/keruta"),
        ("https://example.org/api/v1/api/v1", "https://example.org/api/v1"),
        ("http://api", "http://api"),
        ("http://api/api/v1", "http://api"),
        ("http://api/v1", "http://api/v1"),
        ("http://keruta_api:8080", "http://keruta_api:8080"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
        ("http://user:pass@host/", "http://user:pass@host"),
    ],
)
def test_api_url_loses_slashes_and_the_api_suffix(given: str, kept: str) -> None:
    assert from_environment(KERUTA_API_URL=given).api_url == kept


@pytest.mark.parametrize(
    "url",
    [
        *("keruta-api:8080", "ftp://host", "http://", "http:///api", "http://host:99999", "/api"),
        *("http://host:port", "http://[::1", "http://host?x=1", "http://host/#a", "http://a b"),
    ],
)
def test_api_url_of_another_kind_is_refused(url: str) -> None:
    assert "http://keruta-api:8080" in refusal(KERUTA_API_URL=url)


def test_api_url_error_does_not_show_a_password() -> None:
    text = refusal(KERUTA_API_URL="ftp://hanako:geheim@host")
    assert "geheim" not in text


@pytest.mark.parametrize("token", ["two words", "tökén", "a\nb", "a\udcffb"])
def test_api_token_error_does_not_show_the_token(token: str) -> None:
    assert token not in refusal(KERUTA_API_TOKEN=token)


def test_secrets_are_neither_in_the_repr_nor_in_what_is_shown() -> None:
    loaded = load_settings(
        {}, HOME | {"KERUTA_API_TOKEN": "geheim1", "KERUTA_API_URL": "http://u:geheim2@h"}
    )
    shown = schema.shown(loaded.settings)
    assert "geheim" not in repr(loaded)
    assert shown["api_token"] == "********"
    assert shown["api_url"] == "http://u:********@h"
    assert loaded.settings.api_token == "geheim1"


def test_api_url_with_a_login_alone_is_shown_masked() -> None:
    settings = from_environment(KERUTA_API_URL="http://geheim@host:80/x")
    assert schema.shown(settings)["api_url"] == "http://********@host:80/x"


def test_shown_values_have_their_units_and_fit_into_json() -> None:
    shown = schema.shown(from_environment(KERUTA_PASS_ENVIRONMENT="A,B"))
    assert list(shown) == [info.name for info in schema.SETTINGS]
    assert shown["api_timeout_s"] == "30s"
    assert shown["runs_keep_size"] == "1GB"
    assert shown["base_dir"] == "/home/hanako/.keruta"
    assert shown["pass_environment"] == ["A", "B"]
    assert shown["working_dir"] is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("100", 104857600), ("0.5", 524288), ("2KB", 2048), ("300B", 300), ("1GiB", 1073741824)],
)
def test_max_file_size_without_unit_means_megabytes(text: str, size: int) -> None:
    assert from_environment(KERUTA_MAX_FILE_SIZE=text).artifacts_max_size == size


def test_other_sizes_without_unit_mean_bytes() -> None:
    assert from_environment(KERUTA_RUNS_KEEP_SIZE="4096").runs_keep_size == 4096


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "yes", "On"])
def test_switch_reads_yes(word: str) -> None:
    assert from_environment(KERUTA_KEEP_ALIVE=word).keep_alive is True


@pytest.mark.parametrize("word", ["0", "false", "No", "OFF"])
def test_switch_reads_no(word: str) -> None:
    assert from_environment(KERUTA_AUTO_FIX_ENABLED=word).auto_fix is False


@pytest.mark.parametrize("word", ["2", "maybe", "t", "はい", "none"])
def test_switch_refuses_other_words(word: str) -> None:
    assert f"KERUTA_AUTO_FIX_ENABLED ('{word}')" in refusal(KERUTA_AUTO_FIX_ENABLED=word)


@pytest.mark.parametrize(
    ("word", "level"),
    [
        ("debug", "DEBUG"),
        ("Info", "INFO"),
        ("WARNING", "WARN"),
        ("warn", "WARN"),
        ("ERROR", "ERROR"),
    ],
)
def test_log_level_is_read_in_any_case(word: str, level: str) -> None:
    assert from_environment(KERUTA_LOG_LEVEL=word).log_level == level


def test_log_level_refuses_others_and_names_the_known_ones() -> None:
    assert "one of DEBUG, INFO, WARN, ERROR" in refusal(KERUTA_LOG_LEVEL="LOUD")


def test_words_are_kept_in_the_form_of_the_schema() -> None:
    settings = from_environment(
        KERUTA_LOG_FORMAT="JSON", KERUTA_API_PROCESSING_STATUS="in_progress"
    )
    assert settings.log_format == "json"
    assert settings.api_processing_status == "IN_PROGRESS"


@pytest.mark.parametrize(
    ("variable", "text", "bounds"),
    [
        ("KERUTA_RETRY_COUNT", "101", "from 0 to 100"),
        ("KERUTA_RETRY_COUNT", "-1", "from 0 to 100"),
        ("KERUTA_RETRY_COUNT", "1.5", "from 0 to 100"),
        ("KERUTA_RETRY_COUNT", "9" * 5000, "from 0 to 100"),
        ("KERUTA_DAEMON_PORT", "-1", "from 0 to 65535"),
        ("KERUTA_DAEMON_PORT", "65536", "from 0 to 65535"),
        ("KERUTA_POLL_INTERVAL", "50ms", "from 100ms to 1d"),
        ("KERUTA_TIMEOUT", "0", "from 100ms to 1d"),
    ],
)
def test_numbers_out_of_bounds_are_refused(variable: str, text: str, bounds: str) -> None:
    assert bounds in refusal(**{variable: text})


def test_more_than_one_task_at_once_is_refused_with_the_reason() -> None:
    text = refusal(KERUTA_MAX_CONCURRENT_TASKS="4")
    assert "one at a time by design" in text
    assert "start more sessions" in text


def test_paths_of_the_home_are_expanded_and_others_made_absolute() -> None:
    settings = from_environment(
        KERUTA_BASE_DIR="~/状態", KERUTA_LOG_FILE="agent.log", KERUTA_WORKING_DIR="~"
    )
    assert settings.base_dir == Path("/home/hanako/状態")
    assert settings.log_file == Path.cwd() / "agent.log"
    assert settings.working_dir == Path("/home/hanako")


def test_path_of_the_home_without_a_home_is_refused() -> None:
    with pytest.raises(errors.SettingsError, match="KERUTA_LOG_FILE: HOME is not set"):
        load_settings({}, {"KERUTA_LOG_FILE": "~/agent.log"})


def test_path_of_another_persons_home_is_refused() -> None:
    assert "in full" in refusal(KERUTA_LOG_FILE="~taro/agent.log")


def test_lists_are_separated_by_commas() -> None:
    settings = from_environment(
        KERUTA_PASS_ENVIRONMENT="AWS_*, HTTP_PROXY,,AWS_*",
        KERUTA_ARTIFACTS_EXTENSIONS="pdf,.CSV,*.tar.gz",
    )
    assert settings.pass_environment == ("AWS_*", "HTTP_PROXY")
    assert settings.artifacts_extensions == (".pdf", ".csv", ".tar.gz")


def test_workspace_id_of_keruta_wins_over_that_of_coder() -> None:
    both = {"CODER_WORKSPACE_ID": "coder", "KERUTA_WORKSPACE_ID": "keruta"}
    assert from_environment(**both).workspace_id == "keruta"
    loaded = load_settings({}, {"CODER_WORKSPACE_ID": "coder", "KERUTA_WORKSPACE_ID": ""})
    assert loaded.settings.workspace_id == "coder"
    assert loaded.sources["workspace_id"].detail == "CODER_WORKSPACE_ID"


def test_table_is_read_from_json_and_its_secret_values_are_masked() -> None:
    settings = from_environment(
        KERUTA_LLM_HEADERS='{"X-Key": "hdr-4f9aD03kq8"}',
        KERUTA_LLM_EXTRA_BODY='{"reasoning": {"effort": "low"}, "n": 1}',
    )
    assert settings.llm_headers == {"X-Key": "hdr-4f9aD03kq8"}
    assert settings.llm_extra_body == {"reasoning": {"effort": "low"}, "n": 1}
    assert "hdr-4f9" not in repr(settings)


@pytest.mark.parametrize("value", ["X-Key: a", "[1]", '{"X": 1}', '{"X": ""}', '{"": "a"}'])
def test_table_that_is_none_is_refused_without_its_values(value: str) -> None:
    assert value not in refusal(KERUTA_LLM_HEADERS=value)
