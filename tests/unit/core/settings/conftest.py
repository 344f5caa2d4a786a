"""Keep the settings tests away from the machine's own config file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.core.settings import config_file


# For a module, not for a test: property tests run many examples in one test.
@pytest.fixture(autouse=True, scope="module")
def system_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("etc") / "keruta" / "config.yaml"
    path.parent.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config_file, "SYSTEM_FILE", path)
        yield path
