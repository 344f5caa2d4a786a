from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.store.store import Records


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records.open(tmp_path)
    yield records
    records.close()
