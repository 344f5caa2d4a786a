"""No secret leaves: not in the log, not in a message, not in what the records keep to be sent."""

from __future__ import annotations

import base64
import json
import logging
import urllib.parse
from pathlib import Path

import pytest

from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.socket.socket_server import AgentSocket
from keruta_agent.agent.journey import run
from keruta_agent.core.log import logs
from keruta_agent.core.model import TaskStatus
from keruta_agent.core.redaction.redactor import Redactor
from tests.helpers.agents import SESSION, agent_in
from tests.integration.agent.journey.conftest import deliver

SECRET = "s3cr3t/Pass wörd+9f2c"
FORMS = [
    SECRET,
    urllib.parse.quote(SECRET),
    urllib.parse.quote_plus(SECRET),
    base64.b64encode(SECRET.encode()).decode(),
    base64.b64encode(b"x" + SECRET.encode()).decode(),
    json.dumps(SECRET)[1:-1],
]


@pytest.fixture
def printed(tmp_path: Path) -> Path:
    """A file with the secret in all its forms, for scripts to print."""
    path = tmp_path / "forms"
    path.write_text("".join(f"before {form} after\n" for form in FORMS), encoding="utf-8")
    return path


def all_reported(api, task_id: str) -> str:
    """Return all that the API received of a task."""
    entries = [f"{entry.message} {dict(entry.metadata)}" for entry in api.logs(task_id)]
    task = api.task(task_id)
    return "\n".join([*entries, task.message, task.error_code, str(api.progress[task_id])])


def assert_masked(text: str) -> None:
    assert [form for form in FORMS[:4] if form in text] == []
    assert "***" in text


def test_secret_of_the_task_is_masked_in_its_log_and_messages(api, file_task, run_all, printed):
    task = file_task(
        f"cat {printed}; cat {printed} >&2;"
        'keruta log INFO "see $DB_PASSWORD" --field p="$DB_PASSWORD";'
        'keruta progress 5 --message "uses $DB_PASSWORD"; exit 3',
        parameters={"env": {"DB_PASSWORD": SECRET}},
    )
    run_all()
    assert api.task(task.id).status is TaskStatus.FAILED
    assert_masked(all_reported(api, task.id))
    assert api.log_text(task.id, "stdout").count("before *** after") >= 4


def test_secret_that_the_script_named_is_masked_even_in_what_is_yet_unsent(
    api, agent, poll, file_task, printed, tmp_path
):
    (tmp_path / "secret").write_text(SECRET)
    task = file_task(f"cat {printed}; keruta redact add < {tmp_path}/secret; cat {printed}")
    door = AgentSocket(Control.of_agent(agent, dict))
    door.start()
    poll.poll()
    run.run_next(agent)
    door.stop()
    deliver(agent)
    assert_masked(all_reported(api, task.id))


def test_secret_can_be_named_while_no_daemon_answers(api, file_task, run_all, printed, tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    task = file_task(f"keruta redact add < {tmp_path}/secret; cat {printed}")
    run_all()
    assert_masked(all_reported(api, task.id))


def test_secret_written_in_pieces_is_masked(api, file_task, run_all):
    half = len(SECRET) // 2
    task = file_task(
        f"printf '%s' 'line {SECRET[:half]}'; sleep 0.4; printf '%s\\n' '{SECRET[half:]} end'",
        parameters={"env": {"DB_PASSWORD": SECRET}},
    )
    run_all()
    assert api.log_text(task.id) == "line *** end\n"


def test_private_key_is_masked_although_its_lines_are_read_one_by_one(api, file_task, run_all):
    body = "\n".join("MIIEpAIBAAKCAQEA" + str(number) * 40 for number in range(5))
    task = file_task(
        "while IFS= read -r line; do printf '%s\\n' \"$line\"; sleep 0.15; done <<'KEY'\n"
        f"before\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\n"
        "after\nKEY"
    )
    run_all()
    text = api.log_text(task.id)
    assert "MIIEpAIBAAKCAQEA" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")


def test_ordinary_output_is_left_as_it_is(api, file_task, run_all):
    task = file_task(
        "echo DELIVERY to /usr/bin; echo true; echo commit 4f2c9a1b7d; echo ありがとう",
        parameters={"env": {"A_TOKEN": "true", "B_PASSWORD": "IVE"}},
    )
    run_all()
    assert api.log_text(task.id).splitlines() == [
        "DELIVERY to /usr/bin",
        "true",
        "commit 4f2c9a1b7d",
        "ありがとう",
    ]


def test_records_keep_no_secret_that_a_script_printed(tmp_path, api, file_task, printed):
    task = file_task(
        f"keruta redact add < {tmp_path}/secret;"
        f'keruta progress 1 --message "$(head -1 {printed})";'
        f" head -1 {printed} >&2; exit 4"
    )
    (tmp_path / "secret").write_text(SECRET)
    with agent_in(tmp_path, api, session_id=SESSION) as agent:
        agent.records.jobs.record_task(task)
        run.run_next(agent)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "base").glob("*.db*"))
    assert SECRET.encode() not in stored
    assert b"***" in stored


def test_agents_own_log_shows_no_token(tmp_path):
    file = tmp_path / "agent.log"
    before = logging.getLogger().handlers[:]
    try:
        logs.set_up(level="INFO", format="json", file=file, redactor=Redactor([SECRET]))
        logging.getLogger("keruta_agent.test").error(
            "token %s", SECRET, extra={"action": "x", "url": f"http://u:{SECRET}@host"}
        )
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("keruta_agent.test").exception("failed")
    finally:
        for handler in logging.getLogger().handlers:
            handler.close()
        logging.getLogger().handlers[:] = before
    text = file.read_text(encoding="utf-8")
    assert_masked(text)
    assert json.loads(text.splitlines()[0])["action"] == "x"
