"""Guards that the program has all that the specification's tables name, and that it is proved."""

from __future__ import annotations

import click
import pytest

from keruta_agent.cli import main
from keruta_agent.core.settings import schema
from tests.guards import spec_table

ROWS = list(spec_table.rows())


def of_kind(kind: str) -> list[spec_table.Row]:
    return [row for row in ROWS if row.kind == kind]


def command(path: str) -> click.Command:
    """Return a command of the program."""
    found: click.Command = main.cli
    for name in path.split():
        assert isinstance(found, click.Group), f"there is no command keruta {path}"
        below = found.get_command(click.Context(found), name)
        assert below is not None, f"there is no command keruta {path}"
        found = below
    return found


@pytest.mark.parametrize("row", of_kind("command"), ids=lambda row: row.name)
def test_command_of_the_specification_is_there_with_its_arguments(row: spec_table.Row) -> None:
    params = command(row.name).params
    arguments = [each.name for each in params if isinstance(each, click.Argument)]

    assert [each for each in row.details["arguments"] if each not in arguments] == []


@pytest.mark.parametrize("row", of_kind("option"), ids=lambda row: row.name)
def test_option_of_the_specification_is_there(row: spec_table.Row) -> None:
    path, _, option = row.name.rpartition(" ")

    assert option in {name for each in command(path.lstrip("+")).params for name in each.opts}


@pytest.mark.parametrize("row", of_kind("variable"), ids=lambda row: row.name)
def test_variable_of_the_specification_sets_its_key_and_has_its_default(
    row: spec_table.Row,
) -> None:
    info = next(info for info in schema.SETTINGS if row.name in info.environment)

    assert info.key == row.details.get("key")
    assert info.default == row.details.get("default")


@pytest.mark.parametrize("row", of_kind("key"), ids=lambda row: row.name)
def test_key_of_the_specification_is_there(row: spec_table.Row) -> None:
    assert row.name in {info.key for info in schema.SETTINGS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind} {row.name}")
def test_row_of_the_specification_is_proved_by_tests_that_exist(row: spec_table.Row) -> None:
    assert row.proof
    assert [proof for proof in row.proof if not spec_table.is_there(proof)] == []


def test_table_has_every_row_of_the_specification() -> None:
    # As many as the specification's own tables have: a row that is deleted here is missed.
    counts = dict.fromkeys(("command", "option", "variable", "key", "feature"), 0)
    for row in ROWS:
        counts[row.kind] += row.is_in_spec

    assert counts == {"command": 14, "option": 18, "variable": 17, "key": 8, "feature": 28}
