from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.records.database import Database
from keruta_agent.records.jobs import Jobs
from keruta_agent.records.outbox import Outbox
from keruta_agent.records.runs import Runs


@dataclasses.dataclass(frozen=True)
class Records:
    database: Database
    jobs: Jobs
    runs: Runs
    outbox: Outbox


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    database = Database(tmp_path)
    jobs, outbox = Jobs(database), Outbox(database)
    yield Records(database, jobs, Runs(database, jobs, outbox), outbox)
    database.close()
