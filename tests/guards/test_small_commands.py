"""Guards that what scripts call in loops loads next to nothing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Modules of Python and of keruta that cost a small command more than it may take in all.
FORBIDDEN = {
    "argparse",
    "asyncio",
    "click",
    "dataclasses",
    "huey",
    "importlib.metadata",
    "json",
    "keruta_agent.core.errors",
    "logging",
    "marshmallow",
    "pathlib",
    "re",
    "requests",
    "sh",
    "socket",
    "subprocess",
    "threading",
    "typing",
}
#: entry, small, their packages, _json and _socket.
MOST_MODULES = 8

CODE = """
import os, sys  # site has loaded os in any interpreter
before = set(sys.modules)
from keruta_agent.cli.entry import main
code = main()
print(*sorted(set(sys.modules) - before))
sys.exit(code)
"""

PLAIN_FORMS = [
    ("progress", "50"),
    ("progress", "50", "--message", "半分"),
    ("log", "INFO", 'it\'s "done"'),
    ("log", "error", "no answer", "--field", "host=db1", "--field=query=a=b"),
    ("start",),
    ("start", "--log-level", "INFO"),
    ("success", "--message", "all built", "--artifacts-dir", "."),
    ("fail", "--message=no disk", "--error-code", "DISK", "--no-auto-fix"),
]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """Listen where an agent would, and take every message."""
    reported: list[str] = []
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            while True:
                connection, _ = listener.accept()
                with connection, connection.makefile("rw", encoding="utf-8") as stream:
                    line = stream.readline()
                    if not line:
                        return
                    reported.append(line)
                    stream.write("ok\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path, reported
        with socket.socket(socket.AF_UNIX) as stop:
            stop.connect(str(path))
        thread.join(10)
    assert not thread.is_alive()


def call(socket_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call a small command in a run; print the modules that it loaded."""
    return subprocess.run(
        # Without site, so that what an editable installation loads is not counted.
        [sys.executable, "-S", "-c", CODE, *arguments],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "KERUTA_RUN_TOKEN": "token",
            "KERUTA_RUN_UID": "uid",
            "KERUTA_SOCKET": str(socket_path),
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("arguments", PLAIN_FORMS, ids=" ".join)
def test_plain_form_of_small_command_loads_nothing_heavy(
    agent: tuple[Path, list[str]], arguments: tuple[str, ...]
) -> None:
    socket_path, reported = agent

    result = call(socket_path, *arguments)

    assert result.returncode == 0, result.stderr
    loaded = set(result.stdout.split())
    assert "keruta_agent.cli.small" in loaded
    assert loaded & FORBIDDEN == set()
    assert len(loaded) <= MOST_MODULES, loaded
    # The daemon knows that a run has started: that is not reported.
    assert len(reported) == (0 if arguments[0] == "start" else 1)


def test_plain_form_of_log_sends_its_fields(agent: tuple[Path, list[str]]) -> None:
    socket_path, reported = agent

    call(socket_path, "log", "warn", "日本語 \\ x", "--field", "a=1=2", "--field=b=", "--field=a=3")

    message = json.loads(reported[0])["message"]
    assert message["level"] == "WARN"
    assert message["message"] == "日本語 \\ x"
    assert message["fields"] == {"a": "3", "b": ""}


@pytest.mark.parametrize(
    "arguments",
    [
        ("log", "INFO", "x", "--field", "no-value"),
        ("log", "INFO", "x", "--field"),
        ("log", "INFO", "x", "y"),
    ],
    ids=" ".join,
)
def test_other_form_of_log_is_left_to_the_whole_program(
    agent: tuple[Path, list[str]], arguments: tuple[str, ...]
) -> None:
    result = call(agent[0], *arguments)

    assert result.returncode == 2
    assert result.stderr.startswith("keruta: ")
    assert agent[1] == []
