"""Run a real Redis for tests: one server a process of pytest, emptied for each test."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.helpers.waiting import wait_until


@contextlib.contextmanager
def running_redis() -> Iterator[str]:
    """Run a server for the length of the block and give its URL; skip where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here")
    if importlib.util.find_spec("redis") is None:
        pytest.skip("the package redis is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", directory],
            stdout=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: _answers(port), "Redis takes connections")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """Run one Redis for all tests of this process of pytest."""
    with running_redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """Give the URL of an empty Redis."""
    import redis

    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    return redis_server


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
