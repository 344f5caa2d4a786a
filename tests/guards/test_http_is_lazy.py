"""Where the daemon's HTTP API is off, nothing of it is loaded: it would cost ten megabytes."""

from __future__ import annotations

import subprocess
import sys

LOADS_WITHOUT = """
import sys
import keruta_agent.cli.daemon, keruta_agent.agent.daemon.supervisor
print(*sorted(sys.modules))
"""
WITH_HTTP = {
    "anyio",
    "apispec",
    "httptools",
    "jinja2",
    "prometheus_client",
    "python_multipart",
    "starlette",
    "uvicorn",
}


def test_daemon_without_the_http_api_loads_nothing_of_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADS_WITHOUT], capture_output=True, encoding="utf-8", check=True
    )
    loaded = set(done.stdout.split())
    assert "keruta_agent.agent.daemon.http" in loaded
    assert loaded & WITH_HTTP == set()
