"""``keruta demo --runner`` as a person runs it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


@pytest.fixture
def temporary(workplace: Workplace) -> Path:
    directory = workplace.path / "t"
    directory.mkdir()
    workplace.environment.update(TMPDIR=str(directory), KIRO_URL="", OPENAI_BASE_URL="http://x")
    return directory


def test_demo_fixes_a_failing_test_and_leaves_nothing(
    workplace: Workplace, temporary: Path
) -> None:
    result = workplace.run("demo", "--runner", "--json")

    assert result.returncode == 0, f"{result.stdout}{result.stderr}"
    facts = {fact["what"]: fact for fact in json.loads(result.stdout)["facts"]}
    assert all(fact["is_well"] for fact in facts.values())
    assert facts["asked the model"]["found"] == "2 times"
    assert {"artifact diff", "artifact log", "artifact test", "Task Registry"} <= set(facts)
    assert list(temporary.iterdir()) == []


def test_demo_that_is_interrupted_leaves_nothing(workplace: Workplace, temporary: Path) -> None:
    demo = workplace.start("demo", "--runner")
    wait_until(lambda: list(temporary.glob("*/server")), "the services have begun")

    demo.signal(signal.SIGINT)

    assert demo.wait() == 130
    wait_until(lambda: not list(temporary.iterdir()), "its directory is gone")
