"""What a script says is stored once, also when the agent dies between storing and answering."""

from __future__ import annotations

import json
import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.run import messages
from tests.helpers.processes import KERUTA


@pytest.fixture
def agent_file(tmp_path: Path) -> Path:
    found = tmp_path / "agent"
    found.touch()
    return found


@pytest.fixture
def dying_agent(tmp_path: Path, agent_file: Path) -> Iterator[Path]:
    """A socket behind which every message is stored and no answer comes."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = json.loads(self.rfile.readline())
            messages.append(agent_file, json.dumps(request["message"], ensure_ascii=False))

    path = tmp_path / "socket"
    with socketserver.UnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def _say(text: str, agent_file: Path, socket_path: Path) -> None:
    done = subprocess.run(
        [KERUTA, "log", "INFO", text],
        env={
            **os.environ,
            "KERUTA_RUN_UID": "run",
            "KERUTA_RUN_TOKEN": "token",
            "KERUTA_SOCKET": str(socket_path),
            "KERUTA_RUN_DIR": str(agent_file.parent),
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _said(agent_file: Path) -> list[str]:
    return [json.loads(line)["message"] for line in agent_file.read_text().splitlines()]


def test_message_that_a_dying_agent_has_stored_is_not_left_behind_again(
    agent_file: Path, dying_agent: Path
) -> None:
    _say("once 日本語", agent_file, dying_agent)

    assert _said(agent_file) == ["once 日本語"]


def test_same_words_said_twice_are_two_messages(agent_file: Path, dying_agent: Path) -> None:
    _say("again", agent_file, dying_agent)
    _say("again", agent_file, dying_agent)
    _say("again", agent_file, dying_agent.with_name("nobody-listens"))

    assert _said(agent_file) == ["again", "again", "again"]


def test_agent_that_was_slow_finds_what_the_command_has_left_behind(agent_file: Path) -> None:
    line = json.dumps({"id": "1-2", "kind": "log", "level": "INFO", "message": "late"})

    messages.append(agent_file, line, identity="1-2")
    messages.append(agent_file, line, identity="1-2")

    assert _said(agent_file) == ["late"]
