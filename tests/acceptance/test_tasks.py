"""Every ready-made task script runs as it stands: under keruta, and by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.helpers.processes import Workplace

TASKS = Path(__file__).parents[2] / "tasks"
SCRIPTS = sorted(TASKS.glob("*.sh"))

#: Scripts that end with another code than 0, because failing is what they show.
EXIT_CODES: Mapping[str, int] = {"fail-and-be-fixed.sh": 3}


def shown(script: Path) -> str:
    """Return what a script says of itself: the comment under its first line."""
    lines = script.read_text(encoding="utf-8").splitlines()[1:]
    comment = []
    for line in lines:
        if not line.startswith("# "):
            break
        comment.append(line.removeprefix("# "))
    return " ".join(comment)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_runs_under_keruta(workplace: Workplace, script: Path) -> None:
    result = workplace.run("execute", str(script), PAUSE="0")

    assert result.returncode == EXIT_CODES.get(script.name, 0), result.stderr
    assert "(keruta" not in result.stdout  # the reports went to the agent


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_runs_by_hand_and_again(tmp_path: Path, script: Path) -> None:
    home = tmp_path / "home"
    work = tmp_path / "work"
    home.mkdir()
    work.mkdir()
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "TMPDIR": str(tmp_path)}

    for _ in range(2):
        result = subprocess.run(
            [script],
            cwd=work,
            env={**environment, "PAUSE": "0", "LINES_TO_PRINT": "10"},
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

        assert result.returncode == EXIT_CODES.get(script.name, 0), result.stderr
        assert "(keruta " in result.stdout
    assert list(home.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", "work"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_script_says_what_it_shows_and_stops_at_errors(script: Path) -> None:
    text = script.read_text(encoding="utf-8")

    assert text.startswith("#!/usr/bin/env bash\n# ")
    assert "\nset -euo pipefail\n" in text
    assert len(shown(script)) > 40


def test_failing_script_succeeds_as_its_own_fix(workplace: Workplace) -> None:
    script = TASKS / "fail-and-be-fixed.sh"

    result = workplace.run("execute", "env", "KERUTA_AUTO_FIX=1", str(script))

    assert result.returncode == 0, result.stderr
    assert "port 80" in result.stdout


def test_long_output_is_numbered_without_a_gap(workplace: Workplace) -> None:
    result = workplace.run("execute", str(TASKS / "long-output.sh"))

    lines = result.stdout.splitlines()
    assert lines == [f"line {number} of 3000" for number in range(1, 3001)]


def test_artifacts_are_text_picture_and_a_japanese_name(
    workplace: Workplace,
) -> None:
    workplace.run("execute", str(TASKS / "artifacts.sh"))

    stored = workplace.path / "artifacts" / "sales"
    assert {path.name for path in stored.iterdir()} == {"sales.csv", "sales.svg", "売上の要約.txt"}
    assert (stored / "sales.svg").read_text().count("<rect") == 4
