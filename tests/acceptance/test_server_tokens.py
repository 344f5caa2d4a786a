"""``keruta server token`` beside a server, and an agent with a token of its own."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
import requests

from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def _create(workplace: Workplace, *arguments: str) -> str:
    """Return a new token of the server in the base directory."""
    done = workplace.run("server", "token", "create", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _tokens(workplace: Workplace) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(
        workplace.run("server", "token", "list", "--json").stdout
    )
    return found


def _status(url: str, token: str = "", path: str = "/sessions") -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.get(f"{url}/api/v1{path}", headers=headers, timeout=10).status_code


def test_tokens_take_effect_at_a_running_server_and_so_does_their_revoke(
    workplace: Workplace,
) -> None:
    server = workplace.start("server", "--port", "0")
    url = server.listening()
    assert _status(url) == 200

    token = _create(workplace, "anna", "--role", "viewer", "--expires", "1d")

    assert _status(url, token) == 200, "at once"
    wait_until(lambda: _status(url) == 401, "nobody comes in without a token")
    used = _tokens(workplace)[0]
    assert (used["name"], used["role"], used["state"]) == ("anna", "viewer", "active")
    assert used["lastUsedAt"] and used["expiresAt"]
    database = next(workplace.path.rglob("server.db"))
    assert token not in json.dumps(_tokens(workplace))
    assert token.encode() not in _bytes_of(database)

    assert workplace.run("server", "token", "revoke", "anna").returncode == 0
    wait_until(lambda: _status(url, token) == 401, "the token is refused")
    assert _status(url) == 401, "to revoke the last token opens nothing"
    assert _tokens(workplace)[0]["state"] == "revoked"


def _bytes_of(database: Any) -> bytes:
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA wal_checkpoint(FULL)")
    connection.close()
    content: bytes = database.read_bytes()
    return content


def test_agent_works_with_a_token_of_its_workspace(workplace: Workplace) -> None:
    admin = _create(workplace, "admin", "--role", "admin")
    server = workplace.start("server", "--port", "0")
    url = server.listening()
    headers = {"Authorization": f"Bearer {admin}"}

    def post(path: str, **body: Any) -> dict[str, Any]:
        made: dict[str, Any] = requests.post(
            f"{url}/api/v1{path}", json=body, headers=headers, timeout=10
        ).json()
        return made

    session = post("/sessions", name="ws-7", workspaceId="w7")
    foreign = post("/sessions", name="another")
    task = post("/tasks", sessionId=session["id"], name="x", script="echo done > out; echo hi")
    kept = post("/tasks", sessionId=foreign["id"], name="x", script="true")
    token = _create(workplace, "ws-7", "--role", "agent", "--workspace", "ws-7")

    workplace.daemon(
        KERUTA_API_URL=url,
        KERUTA_API_TOKEN=token,
        CODER_WORKSPACE_NAME="ws-7",
        KERUTA_SESSION_ID="",
    )

    def state(task_id: str) -> str:
        found = requests.get(f"{url}/api/v1/tasks/{task_id}", headers=headers, timeout=10)
        return str(found.json()["status"])

    wait_until(lambda: state(task["id"]) == "COMPLETED", "the agent has done its task")
    assert state(kept["id"]) == "PENDING"
    assert _status(url, token, f"/tasks/{kept['id']}") == 404


def test_agent_with_a_token_that_is_not_for_agents_says_what_to_do(workplace: Workplace) -> None:
    token = _create(workplace, "anna", "--role", "viewer")
    server = workplace.start("server", "--port", "0")
    done = workplace.run(
        *("progress", "50", "--task-id", "x"),
        KERUTA_API_URL=server.listening(),
        KERUTA_API_TOKEN=token,
    )
    assert "the token 'anna' has the role viewer" in done.stderr
    assert "keruta server token create" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("x", "--role", "agent"),
        ("x", "--role", "admin", "--session", "s"),
        ("x", "--role", "agent", "--session", "s", "--workspace", "w"),
        ("x", "--role", "agent", "--session", ""),
        ("--", "-x"),
        ("x", "--role", "viewer", "--expires", "never"),
        ("x", "--role", "viewer", "--expires", "0s"),
    ],
)
def test_token_that_makes_no_sense_is_refused(
    workplace: Workplace, arguments: tuple[str, ...]
) -> None:
    assert workplace.run("server", "token", "create", *arguments).returncode == 2


def test_second_token_of_a_name_is_refused_until_the_first_is_revoked(
    workplace: Workplace,
) -> None:
    _create(workplace, "anna", "--role", "admin")
    again = workplace.run("server", "token", "create", "anna", "--role", "admin")
    assert again.returncode == 2
    assert "revoke that one first" in again.stderr
    assert workplace.run("server", "token", "revoke", "anna").returncode == 0
    assert workplace.run("server", "token", "revoke", "anna").returncode == 2
    _create(workplace, "anna", "--role", "admin")


def test_commands_about_tokens_stand_in_the_audit_log(workplace: Workplace) -> None:
    _create(workplace, "anna", "--role", "viewer")
    revoked = workplace.run("server", "token", "revoke", "anna", "--json")
    assert json.loads(revoked.stdout)["state"] == "revoked"
    entries = json.loads(workplace.run("server", "audit", "--json").stdout)
    assert [(entry["method"], entry["path"], entry["target"]) for entry in entries] == [
        ("COMMAND", "keruta server token revoke", "token anna"),
        ("COMMAND", "keruta server token create", "token anna"),
    ]
    assert all("@" in entry["address"] for entry in entries), "the user of the system"
    shown = workplace.run("server", "audit", "--limit", "1").stdout
    assert "token anna" in shown and "revoke" in shown and "create" not in shown


def test_options_of_the_server_before_a_command_say_where_it_works(workplace: Workplace) -> None:
    elsewhere = str(workplace.path / "elsewhere")
    _create(workplace, "anna", "--role", "viewer", "--data", elsewhere)
    for command in (["token", "list"], ["audit"], ["prune", "--retain-logs", "1d"]):
        done = workplace.run("server", "--data", elsewhere, *command)
        assert done.returncode == 0, done.stderr
        assert workplace.run("server", *command).returncode != 0, "there is no other"
