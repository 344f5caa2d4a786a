from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from keruta_agent.agent.run.directory import MARKER_VARIABLE, ProcessId, RunDirectory
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.launch import Commitment, Launcher, LaunchPlan, Stdin
from keruta_agent.agent.run.processes import sweep
from tests.helpers.waiting import wait_until

UID = "0123456789abcdef"


@pytest.fixture(autouse=True)
def shims() -> None:
    """Start them as an installed agent does."""


@dataclasses.dataclass(frozen=True)
class Started:
    directory: RunDirectory
    shim_pid: int
    shim: ProcessId
    commitment: Commitment

    def exit_record(self) -> ExitRecord:
        return wait_until(self.directory.read_exit, "the exit record is written")

    def text(self, stream: str = "stdout") -> str:
        return (self.directory.path / stream).read_text(encoding="utf-8")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    """Return what starts scripts in run directories; end what is left of them afterwards."""
    marker = f"{UID}-{tmp_path}"  # the name alone is another worker's, too
    launcher = Launcher()

    def start_script(
        script: str = "",
        *,
        command: list[str] | None = None,
        grace_s: float = 5,
        cwd: Path = tmp_path,
        stdin: Stdin = "none",
        environment: Mapping[str, str] = {},
    ) -> Started:
        directory = RunDirectory(tmp_path / f"run-{len(list(tmp_path.iterdir()))}")
        directory.create()
        plan = LaunchPlan(
            directory=directory,
            command=command or ["bash", str(directory.write_script(script))],
            working_directory=cwd,
            environment={"PATH": os.environ["PATH"], MARKER_VARIABLE: marker, **environment},
            grace_s=grace_s,
            stdin=stdin,
        )
        commitments: list[Commitment] = []
        shim = launcher.start(plan, commitments.append)
        return Started(directory, shim.pid, shim, commitments[-1])

    yield start_script
    sweep(marker, 0)
