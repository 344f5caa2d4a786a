"""``keruta queue list`` of a long queue: what comes first, and how much more there is."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from keruta_agent.agent.store.store import Records
from keruta_agent.cli.queue import MOST_OPEN
from keruta_agent.core.model import Task
from tests.helpers.command_line import CommandLine

MANY = MOST_OPEN + 5


@pytest.fixture
def records(keruta: CommandLine) -> Iterator[Records]:
    records = Records.open(keruta.home / ".keruta")
    numbers = range(1, MANY + 1)
    records.jobs.record_tasks([Task(id=f"t-{n}", name=f"name-{n}", priority=n) for n in numbers])
    yield records
    records.close()


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize(
    ("flags", "shown", "more"),
    [((), MOST_OPEN, 5), (("--limit", "3"), 3, MANY - 3), (("--all",), MANY, 0)],
)
def test_list_for_people_shows_the_first_and_says_how_many_more(
    keruta: CommandLine, flags: tuple[str, ...], shown: int, more: int
) -> None:
    out = keruta("queue", "list", *flags).out
    names = [word for word in out.split() if word.startswith("name-")]
    assert names == [f"name-{MANY - n}" for n in range(shown)], "the highest priority first"
    assert (f"and {more} more that have not ended" in out) is bool(more)


@pytest.mark.usefixtures("records")
def test_list_for_programs_is_whole_unless_they_ask_for_less(keruta: CommandLine) -> None:
    assert len(json.loads(keruta("queue", "list", "--json").out)) == MANY
    assert len(json.loads(keruta("queue", "list", "--json", "--limit", "3").out)) == 3


@pytest.mark.usefixtures("records")
def test_place_of_a_job_is_counted(keruta: CommandLine) -> None:
    assert f"and {MANY - 1} others come before it" in keruta("explain", "1").out
    moved = json.loads(keruta("queue", "move", "1", str(MANY - 1), "--json").out)
    assert moved["place"] == 2, "its twin in priority is younger"


def test_ended_jobs_do_not_count_as_more(keruta: CommandLine, records: Records) -> None:
    with records.database.transaction() as connection:
        connection.execute("UPDATE jobs SET state = 'finished', finished_at = id WHERE id > 90")
    out = keruta("queue", "list").out
    assert "more that have not ended" not in out
    assert out.count("name-") == 90 + 10
