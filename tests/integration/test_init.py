"""``keruta init`` asks, tries the API, and writes a file that works."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from keruta_agent.core.settings import template
from keruta_agent.server.serve import Server
from tests.helpers.command_line import CommandLine, command_line
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import KERUTA

TOKEN = "t0ken-of-the-server"


@pytest.fixture
def keruta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    with command_line(tmp_path, monkeypatch, capsys) as keruta:
        yield keruta


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with embedded_server(tmp_path_factory.mktemp("server"), token=TOKEN) as server:
        requests.post(
            f"{server.url}/api/v1/sessions",
            json={"id": "session-1", "name": "one"},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        ).raise_for_status()
        yield server


def values(keruta: CommandLine) -> dict[str, object]:
    shown = json.loads(keruta("config", "show", "--json").out)["settings"]
    return {key: each["value"] for key, each in shown.items() if each["source"] == "file"}


def test_init_with_options_tries_the_api_and_writes_the_commented_file(
    keruta: CommandLine, server: Server
) -> None:
    called = keruta(
        *("init", "--api-url", server.url, "--session-id", "session-1", "--token-file", "-"),
        stdin=f"{TOKEN}\n",
    )

    assert called.code == 0, called.err
    assert "keruta daemon" in called.out
    assert "token: accepted" in called.err and "session: session-1 (one)" in called.err
    assert TOKEN not in called.out + called.err
    text = keruta.config.read_text()
    gone = Counter(template.text().splitlines()) - Counter(text.splitlines())
    assert gone == {"  #url:": 1, "  #token:": 1, "  #id:": 1}
    assert values(keruta) == {
        "api.url": server.url,
        "api.token": "********",
        "session.id": "session-1",
    }
    assert stat.S_IMODE(keruta.config.stat().st_mode) == 0o600
    assert stat.S_IMODE(keruta.config.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("session", "token", "complaint"),
    [("session-1", "wrong", "token"), ("no-such-session", TOKEN, "no-such-session")],
)
def test_init_writes_nothing_when_the_api_objects(
    keruta: CommandLine, server: Server, session: str, token: str, complaint: str
) -> None:
    arguments = ("--api-url", server.url, "--session-id", session, "--token-file", "-")

    called = keruta("init", *arguments, stdin=token)

    assert called.code == 5
    assert "nothing was written" in called.err and complaint in called.err
    assert not keruta.config.exists()
    assert keruta("init", *arguments, "--no-check", stdin=token).code == 0


def test_init_without_a_terminal_says_what_to_give(keruta: CommandLine) -> None:
    called = keruta("init")

    assert called.code == 2
    assert "Give --api-url URL" in called.err
    assert not keruta.config.exists()


def test_init_takes_the_address_from_the_variable(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERUTA_API_URL", "http://127.0.0.1:9/api/v1")

    assert keruta("init", "--no-check").code == 0

    assert "  url: http://127.0.0.1:9\n" in keruta.config.read_text()


def test_init_replaces_a_file_only_with_force(keruta: CommandLine) -> None:
    arguments = ("init", "--api-url", "http://127.0.0.1:9", "--no-check")
    keruta.config.parent.mkdir()
    keruta.config.write_text("mine")

    refused = keruta(*arguments)

    assert refused.code == 2
    assert "--force" in refused.err
    assert keruta.config.read_text() == "mine"
    assert keruta(*arguments, "--force").code == 0
    assert values(keruta) == {"api.url": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--api-url", "not an address"),
        ("--api-url", "http://me:s3cret@host"),
        ("--api-url", "http://a", "--token-file", "/nonexistent/token"),
        ("--api-url", "http://a", "--session-id", ""),
    ],
)
def test_init_refuses_what_cannot_be_used(keruta: CommandLine, arguments: tuple[str, ...]) -> None:
    called = keruta("init", *arguments, "--no-check")

    assert called.code == 2
    assert len(called.err.splitlines()) == 1
    assert "s3cret" not in called.err
    assert not keruta.config.exists()


class Terminal:
    """What a person at a terminal sees and types."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unread = ""
        self.shown = ""

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self._unread:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._descriptor], [], [], left)
            assert ready, f"no {text!r} in {self.shown!r}"
            piece = os.read(self._descriptor, 4096).decode()
            self._unread += piece
            self.shown += piece
        self._unread = self._unread.partition(text)[2]

    def type(self, text: str) -> None:
        os.write(self._descriptor, f"{text}\n".encode())


def test_init_asks_a_person_and_hides_the_token(tmp_path: Path, server: Server) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [KERUTA, "init"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        try:
            os.close(theirs)
            terminal = Terminal(ours)
            terminal.wait_for("Address of the keruta API:")
            terminal.type("nonsense")
            terminal.wait_for("It must be an http or https address")
            terminal.wait_for("Address of the keruta API:")
            terminal.type(server.url)
            terminal.wait_for("Its token")
            terminal.type(TOKEN)
            terminal.wait_for("Session")
            terminal.type("session-1")
            terminal.wait_for("Start with: keruta daemon")
            assert process.wait(60) == 0
        finally:
            process.kill()
            os.close(ours)
    assert TOKEN not in terminal.shown
    assert f"token: {TOKEN}" in (tmp_path / ".keruta" / "config.yaml").read_text()
