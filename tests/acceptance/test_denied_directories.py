"""Directories that this user may not enter: each command says so, and none calls it a bug."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.processes import KERUTA, TIMEOUT_S, Workplace

pytestmark = pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")

_AS_A_USER = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


@pytest.fixture
def denied(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "denied"
    directory.mkdir(mode=0)
    yield directory
    directory.chmod(0o700)


def _run(
    workplace: Workplace, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    drop = _AS_A_USER if os.geteuid() == 0 else []
    return subprocess.run(
        [*drop, KERUTA, *arguments],
        env={**workplace.environment, **environment},
        cwd=workplace.path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.parametrize("command", ["status", "queue list", "logs 1", "config show"])
def test_base_directory_that_may_not_be_entered_is_named(
    workplace: Workplace, denied: Path, command: str
) -> None:
    done = _run(workplace, *command.split(), KERUTA_BASE_DIR=str(denied / "base"))

    assert done.returncode == 1
    assert done.stderr == (
        f"keruta: cannot read the agent's records in {denied}/base: Permission denied. "
        "Give it to this user (chown), or choose another directory with KERUTA_BASE_DIR\n"
    )


@pytest.mark.parametrize("command", ["config path", "config check", "init --yes --no-check"])
def test_home_that_may_not_be_entered_is_named(
    workplace: Workplace, denied: Path, command: str
) -> None:
    done = _run(workplace, *command.split(), HOME=str(denied))

    assert done.returncode in (1, 2)
    assert f"{denied}/.keruta/config.yaml: Permission denied" in done.stderr
    assert "a bug in keruta" not in done.stderr
