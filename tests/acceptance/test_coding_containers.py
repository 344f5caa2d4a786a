"""Runners in containers of podman: limited, with no key that ``inspect`` shows, removed in time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import keruta_agent
from keruta_agent.server.coding.containers import NOBODY
from keruta_agent.testing.language_model import Turn
from tests.helpers import coding
from tests.helpers.pool_kills import KilledPool, killed_pool, solving
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.timeout(400)

#: What podman needs where it may not raise limits, and keeps no image.
PODMAN = ("podman", "--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager=cgroupfs")
OPTIONS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096", "--rootfs")
#: Of this machine, what stands for an image.
SHARED = ("/usr", "/bin", "/lib", "/lib64", "/etc")


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    """Give an empty root that the machine's programs are mounted into; skip where none runs."""
    if shutil.which("podman") is None or shutil.which("runc") is None:
        pytest.skip("podman and runc are not installed")
    if os.geteuid() != 0:
        pytest.skip("a root of our own needs root")
    path = tmp_path / "rootfs"
    for name in ("proc", "dev", "sys", "tmp", "run", "work", *SHARED):
        (path / name.strip("/")).mkdir(parents=True)
    path.chmod(0o755)
    tried = subprocess.run(
        [*PODMAN, "run", "--rm", "--network=host", *_volumes(), *OPTIONS, str(path), "true"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if tried.returncode:
        pytest.skip(f"podman runs nothing here: {tried.stderr.strip()[-200:]}")
    return path


def _volumes(*more: str) -> list[str]:
    python = (sys.base_prefix, sys.prefix, str(Path(keruta_agent.__file__).parents[1]))
    places = {*SHARED, *(each for each in python if not each.startswith("/usr"))}
    return [f"--volume={each}:{each}:ro" for each in sorted(places)] + [*more]


def _arguments(rootfs: Path, repository: Path) -> list[str]:
    volumes = [
        each.replace("--volume", "--container-volume")
        for each in _volumes(f"--volume={repository}:{repository}")
    ]
    return [
        *("--executor", "docker", "--image", str(rootfs)),
        *("--container-program", " ".join(PODMAN)),
        *("--container-network", "host", "--container-memory", "1g"),
        *("--container-python", sys.executable),
        *(f"--container-option={option}" for option in OPTIONS),
        *volumes,
    ]


class _Model:
    """Answers once it may."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def __call__(self, request: Mapping[str, Any]) -> Turn:
        self.gate.wait(90)
        return solving()(request)


@pytest.fixture
def model() -> _Model:
    return _Model()


@pytest.fixture
def pool(tmp_path: Path, model: _Model, rootfs: Path) -> Iterator[KilledPool]:
    with killed_pool(tmp_path, script=model) as found:
        _give(found.repository.path, *map(int, NOBODY.split(":")))
        try:
            yield found
        finally:
            model.gate.set()
            for name in _containers(found):
                _podman("rm", "--force", name)


def _give(path: Path, user: int, group: int) -> None:
    """Give a tree to somebody: git uses no repository of another user."""
    for directory, _, names in os.walk(path):
        for name in (".", *names):
            os.chown(Path(directory, name), user, group)


def _podman(*arguments: str) -> str:
    done = subprocess.run(
        [*PODMAN, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def _containers(pool: KilledPool) -> list[str]:
    listed = _podman("ps", "--all", "--filter", "label=keruta.task", "--format={{.Names}}")
    return [name for name in listed.split() if any(task in name for task in pool.task_ids)]


def test_task_is_solved_in_a_container_that_shows_no_key(
    pool: KilledPool, model: _Model, rootfs: Path
) -> None:
    pool.add_worker(*_arguments(rootfs, pool.repository.path))
    pool.file(1)
    wait_until(lambda: pool.model.requests, "the runner asks the model", 60)
    [name] = _containers(pool)
    shown = _podman("inspect", name)
    assert coding.KEY not in shown
    [found] = json.loads(shown)
    assert found["Config"]["User"] == NOBODY
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["Memory"] == 2**30
    assert not list((pool.path / "tmp").glob("keruta-pool-*/given/environment.json"))
    model.gate.set()
    pool.wait_for_end(90)
    _give(pool.repository.path, os.geteuid(), os.getegid())
    assert pool.findings().faults == ()
    assert _containers(pool) == []


def test_container_of_a_killed_worker_ends_and_the_next_worker_does_the_task(
    pool: KilledPool, model: _Model, rootfs: Path
) -> None:
    arguments = _arguments(rootfs, pool.repository.path)
    pool.add_worker(*arguments)
    pool.file(1)
    wait_until(lambda: pool.model.requests, "the runner asks the model", 60)
    [first] = _containers(pool)
    pool.kill_worker()
    pool.add_worker(*arguments)
    wait_until(lambda: first not in _containers(pool), "its container is gone", 90)
    model.gate.set()
    pool.wait_for_end(120)
    _give(pool.repository.path, os.geteuid(), os.getegid())
    found = pool.findings()
    assert found.faults == ()
    assert found.outcomes == {"lost": 1, "succeeded": 1}
    assert _containers(pool) == []


def test_missing_image_is_no_success(pool: KilledPool, rootfs: Path) -> None:
    arguments = _arguments(rootfs, pool.repository.path)
    arguments[arguments.index(str(rootfs))] = str(rootfs / "missing")
    pool.add_worker(*arguments)
    pool.file(1)
    wait_until(lambda: pool.outcomes(1)[:1] == ["unavailable"], "it is told apart", 60)
    assert _containers(pool) == []
