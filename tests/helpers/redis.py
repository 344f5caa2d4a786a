"""Run a real Redis for tests: one server a process of pytest, emptied for each test."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from tests.helpers.waiting import wait_until


@pytest.fixture(scope="session")
def redis_server() -> Iterator[int]:
    """Run one Redis and give its port; skip where it is not installed."""
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
            yield port
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def redis_url(redis_server: int) -> str:
    """Give the URL of an empty Redis."""
    import redis

    url = f"redis://127.0.0.1:{redis_server}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
