"""Which source wins, and that it is remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core import errors, units
from keruta_agent.core.settings import declaration, schema
from keruta_agent.core.settings.fields import Choice, Hosts, HttpUrl, Table, Whole, YesNo
from keruta_agent.core.settings.sources import Source, load_settings

FIELDS = schema.SettingsSchema().fields


def values_for(info: declaration.SettingInfo) -> st.SearchStrategy[str]:
    """Valid texts for a setting, the same for flag, variable and file."""
    match FIELDS[info.name]:
        case units.Duration():
            return st.integers(1, 86_400).map(lambda seconds: f"{seconds}s")
        case units.Size():
            return st.integers(0, 4096).map(lambda count: f"{count}KB")
        case Whole() as field:
            return st.integers(field.minimum, field.maximum).map(str)
        case YesNo():
            return st.sampled_from(["true", "no"])
        case Choice() as field:
            return st.sampled_from(field.words)
        case Table():
            return st.integers(0, 9).map(lambda number: json.dumps({"name": f"value {number}"}))
        case Hosts():
            return st.integers(1, 65_535).map(lambda port: f"host:{port},http://other")
        case HttpUrl():
            return st.integers(1, 65_535).map(lambda port: f"http://host:{port}")
        case _:
            return st.integers(0, 10**6).map(lambda number: f"/x{number}")


@st.composite
def given_values(draw: st.DrawFn) -> dict[str, dict[str, str]]:
    """For some settings, texts from some of the sources: flag, environment, file."""
    chosen = draw(st.sets(st.sampled_from(schema.SETTINGS), max_size=12))
    return {
        info.name: {
            kind: draw(values_for(info))
            for kind in draw(st.sets(st.sampled_from(["flag", "environment", "file"])))
            if kind != "file" or info.key is not None
        }
        for info in sorted(chosen, key=lambda info: info.name)
    }


def document(values: dict[str, dict[str, str]]) -> str:
    sections: dict[str, Any] = {}
    for info in schema.SETTINGS:
        text = values.get(info.name, {}).get("file")
        section, _, key = str(info.key).partition(".")
        if text is not None and key:
            sections.setdefault(section, {})[key] = text
        elif text is not None:
            sections[section] = text
    return json.dumps(sections)  # JSON is YAML


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    (home / ".keruta").mkdir()
    return home


def parsed(info: declaration.SettingInfo, text: str) -> Any:
    return FIELDS[info.name].deserialize(text)


@given(values=given_values(), chosen_variable=st.randoms(use_true_random=False))
def test_the_strongest_source_wins_and_is_remembered(
    home: Path, values: dict[str, dict[str, str]], chosen_variable: Any
) -> None:
    file = home / ".keruta" / "config.yaml"
    file.write_text(document(values), encoding="utf-8")
    environment, flags, variables = {"HOME": str(home)}, {}, {}
    for info in schema.SETTINGS:
        texts = values.get(info.name, {})
        flags[info.name] = texts.get("flag")
        if "environment" in texts:
            variables[info.name] = chosen_variable.choice(info.environment)
            environment[variables[info.name]] = texts["environment"]

    loaded = load_settings(flags, environment)

    defaults = load_settings({}, {"HOME": str(home)}, config_path=empty_file(home)).settings
    assert loaded.config_file == file
    for info in schema.SETTINGS:
        texts = values.get(info.name, {})
        winner = next((kind for kind in ("flag", "environment", "file") if kind in texts), None)
        value = getattr(loaded.settings, info.name)
        if winner is None:
            assert value == getattr(defaults, info.name)
            assert loaded.sources[info.name] == Source(kind="default")
            continue
        details = {
            "flag": info.flag,
            "environment": variables.get(info.name),
            "file": f"{file}: {info.key}",
        }
        assert value == parsed(info, texts[winner])
        assert loaded.sources[info.name] == Source(kind=winner, detail=details[winner])


def empty_file(directory: Path) -> Path:
    file = directory / "empty.yaml"
    file.touch()
    return file


def test_empty_variables_and_missing_flags_count_as_not_given() -> None:
    loaded = load_settings(
        {"session_id": None, "pass_environment": ()},
        {"KERUTA_SESSION_ID": "", "KERUTA_TIMEOUT": " ", "KERUTA_PASS_ENVIRONMENT": "A"},
    )
    assert loaded.sources["session_id"].kind == "default"
    assert loaded.sources["api_timeout_s"].kind == "default"
    assert loaded.sources["pass_environment"].kind == "environment"


def test_flags_may_hold_values_that_are_already_converted() -> None:
    loaded = load_settings(
        {"poll_interval_s": 2.5, "daemon_port": 9, "keep_alive": False, "log_file": Path("/x.log")},
        {"KERUTA_KEEP_ALIVE": "true"},
    )
    assert loaded.settings.poll_interval_s == 2.5
    assert loaded.settings.daemon_port == 9
    assert loaded.settings.keep_alive is False
    assert loaded.settings.log_file == Path("/x.log")
    assert loaded.sources["daemon_port"] == Source(kind="flag", detail="--port")


def test_wrong_flag_is_named_by_its_option() -> None:
    with pytest.raises(errors.SettingsError, match=r"Cannot use --poll-interval \('soon'\)\. "):
        load_settings({"poll_interval_s": "soon"}, {})


def test_empty_flag_is_refused() -> None:
    with pytest.raises(errors.SettingsError, match=r"--session-id \(''\). It must not be empty"):
        load_settings({"session_id": ""}, {"KERUTA_SESSION_ID": "other"})


def test_wrong_value_that_a_stronger_source_hides_is_not_checked() -> None:
    loaded = load_settings({"poll_interval_s": "3s"}, {"KERUTA_POLL_INTERVAL": "soon"})
    assert loaded.settings.poll_interval_s == 3.0


def test_first_problem_in_the_order_of_the_schema_is_reported() -> None:
    environment = {"KERUTA_STOP_GRACE": "x", "KERUTA_TIMEOUT": "x", "KERUTA_LOG_LEVEL": "x"}
    with pytest.raises(errors.SettingsError, match="KERUTA_TIMEOUT"):
        load_settings({}, environment)


def test_flag_that_is_no_setting_is_a_mistake_of_the_program() -> None:
    with pytest.raises(ValueError, match="no settings of this name: api_uri"):
        load_settings({"api_uri": "http://x"}, {})
