"""Guards that etc/config.yaml and the schema say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.core.settings import declaration, schema, template
from keruta_agent.core.settings.sources import load_settings

SAMPLE = Path(__file__).parents[2] / "etc" / "config.yaml"

_SECTION = re.compile(r"([a-z_]+):")
_DEFAULT = re.compile(r"(  )?#([a-z_]+):(.*)")
_PROSE = re.compile(r"(?:  )?# (.+)")

IN_FILE = [info for info in schema.SETTINGS if info.key is not None]


def documented_keys() -> Iterator[tuple[str, str]]:
    """Yield each commented out key of the sample with the prose above it."""
    section, prose = "", []
    for line in SAMPLE.read_text(encoding="utf-8").splitlines():
        if not line:
            prose = []
        elif match := _SECTION.fullmatch(line):
            section, prose = match[1], []
        elif match := _DEFAULT.fullmatch(line):
            yield f"{section}.{match[2]}" if match[1] else match[2], " ".join(prose)
            prose = []
        elif match := _PROSE.fullmatch(line):
            prose.append(match[1])


def uncommented_sample() -> str:
    return re.sub(r"(?m)^(  |)#([a-z_]+:)", r"\1\2", SAMPLE.read_text(encoding="utf-8"))


def test_sample_file_has_every_key_once_in_the_order_of_the_schema() -> None:
    assert [key for key, _ in documented_keys()] == [info.key for info in IN_FILE]


@pytest.mark.parametrize("info", IN_FILE, ids=lambda info: info.name)
def test_sample_file_explains_the_key_and_names_its_variables(
    info: declaration.SettingInfo,
) -> None:
    prose = dict(documented_keys())[str(info.key)]
    assert prose == f"{info.help} ({' or '.join(info.environment)})"


def test_sample_file_is_the_one_that_init_writes() -> None:
    assert SAMPLE.read_text(encoding="utf-8") == template.text(), (
        'write it anew: python -c "from keruta_agent.core.settings import template;'
        " print(template.text(), end='')\" > etc/config.yaml (sections have their titles there)"
    )


def test_sample_file_as_shipped_changes_nothing(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path)}
    shipped = load_settings({}, environment, config_path=SAMPLE)
    assert shipped.config_file == SAMPLE
    assert {source.kind for source in shipped.sources.values()} == {"default"}


def test_sample_file_uncommented_holds_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(uncommented_sample(), encoding="utf-8")
    environment = {"HOME": str(tmp_path)}

    loaded = load_settings({}, environment, config_path=file)

    assert loaded.settings == load_settings({}, environment, config_path=SAMPLE).settings
    from_file = {name for name, source in loaded.sources.items() if source.kind == "file"}
    assert from_file == {info.name for info in IN_FILE if info.default is not None}


def test_settings_share_no_key_variable_or_option() -> None:
    keys = [info.key for info in IN_FILE]
    variables = [variable for info in schema.SETTINGS for variable in info.environment]
    options = [info.flag for info in schema.SETTINGS]
    for names in (keys, variables, options):
        assert len(names) == len(set(names))
    assert "KERUTA_CONFIG" not in variables


def test_settings_explain_themselves_in_a_sentence() -> None:
    for info in schema.SETTINGS:
        assert info.help.endswith(".") and info.help[0].isupper(), info.name
        assert info.environment, info.name
