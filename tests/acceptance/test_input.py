"""Scripts that ask a person: the whole way from the prompt to the answer, whoever gives it."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import termios

import pytest

from keruta_agent.agent.store.questions import AskedOf
from keruta_agent.agent.store.store import Records
from tests.helpers.api import Api
from tests.helpers.processes import KERUTA, TIMEOUT_S, Workplace, free_port
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="waits are seen there only"
)

_ASKS_TWICE = """\
printf 'Your name: '; read -r name; echo
printf 'Your name: '; read -r again; echo
echo "$name and $again"
"""


def waiting(workplace: Workplace, number: int = 1) -> AskedOf:
    """Return the open question once it has this number."""

    def found() -> AskedOf | None:
        records = Records.open_existing(workplace.base_dir)
        if records is None:
            return None
        try:
            asked = records.questions.open_ones()
        finally:
            records.close()
        return asked[0] if asked and asked[0].question.number == number else None

    return wait_until(found, f"question {number} is open")


def let_the_api_answer(workplace: Workplace) -> None:
    workplace.environment["KERUTA_USE_HTTP_INPUT"] = "true"
    workplace.environment["KERUTA_DAEMON_PORT"] = str(free_port())


def test_task_is_answered_through_the_api_and_the_command_whatever_the_daemon_goes_through(
    workplace: Workplace, api: Api
) -> None:
    let_the_api_answer(workplace)
    task_id = api.file_task(_ASKS_TWICE)
    first = workplace.daemon()
    question = api.wait_for_question(task_id)
    task = api.wait_for(task_id, "WAITING_FOR_INPUT")
    assert (question["prompt"], task["message"]) == ("Your name:", "Waits for input: Your name:")

    first.kill()
    second = workplace.daemon()
    second.wait_for("goes on following run")
    api.answer(task_id, "Alice")

    wait_until(lambda: (api.question(task_id) or question)["id"] != question["id"], "it asks again")
    second.kill()
    third = workplace.daemon()
    third.wait_for("goes on following run")
    assert waiting(workplace, 2).task_id == task_id
    assert json.loads(workplace.run("input", "--json").stdout)[0]["prompt"] == "Your name:"
    listed = workplace.run("queue", "list").stdout
    assert "waiting for input" in listed and "Your name:" in listed
    assert "It waits for an answer to 'Your name:'" in workplace.run("explain", "1").stdout
    given = workplace.run("input", task_id, "Bob")
    assert given.returncode == 0, given.stderr

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert "Alice and Bob" in api.lines(task_id)
    # One line a question, although three daemons saw them.
    said = [line for line in api.lines(task_id, "agent") if "Your name" in line]
    assert said == ["Waits for an answer to: Your name:"] * 2
    story = workplace.run("explain", "1").stdout
    assert "it was answered by the keruta API." in story
    assert "it was answered by keruta input." in story


def test_answer_that_was_given_while_no_daemon_ran_arrives(workplace: Workplace, api: Api) -> None:
    let_the_api_answer(workplace)
    task_id = api.file_task("printf 'go? '; read -r x; echo went $x")
    daemon = workplace.daemon()
    api.wait_for_question(task_id)
    daemon.kill()

    api.answer(task_id, "on")
    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert api.lines(task_id) == ["go? went on"]


def test_secret_is_kept_nowhere(workplace: Workplace, api: Api) -> None:
    secret = "tschuess-4711-geheim"
    script = "printf 'Password: '; read -r -s word; echo; echo length ${#word}"
    tasks = [api.file_task(script) for _ in range(2)]
    let_the_api_answer(workplace)
    daemon = workplace.daemon(KERUTA_LOG_LEVEL="DEBUG")

    assert api.wait_for_question(tasks[0])["secret"] is True
    api.answer(tasks[0], secret)
    api.wait_for(tasks[0])
    assert waiting(workplace).question.secret
    refused = workplace.run("input", tasks[1], "visible")
    assert refused.returncode == 2 and "which other users see" in refused.stderr
    with piped("input", "2", workplace=workplace) as command:
        command.communicate(f"{secret}\n".encode(), timeout=TIMEOUT_S)
    api.wait_for(tasks[1])

    assert [api.lines(task) for task in tasks] == [["Password: ", f"length {len(secret)}"]] * 2
    daemon.stop()
    for path in workplace.path.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


def test_wait_for_an_answer_ends_with_its_own_reason(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task("printf 'sure? '; read -r x", parameters={"inputTimeout": "300ms"})
    workplace.daemon()

    task = api.wait_for(task_id)

    assert (task["status"], task["errorCode"]) == ("FAILED", "INPUT_TIMEOUT")
    assert task["message"] == "Nobody answered within 300ms: sure?"


def test_input_without_a_question_says_so(workplace: Workplace, api: Api) -> None:
    assert workplace.run("input").stdout == "No script waits for an answer.\n"
    task_id = api.file_task("sleep 300")
    workplace.daemon()
    api.wait_for(task_id, "PROCESSING")

    for arguments in ((task_id,), ("1", "text")):
        result = workplace.run("input", *arguments)
        assert result.returncode == 1
        assert "job 1 waits for no answer now" in result.stderr
    assert workplace.run("input", "99", "x").returncode == 2


def piped(*arguments: str, workplace: Workplace) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [KERUTA, *arguments],
        env=workplace.environment,
        cwd=workplace.path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.mark.parametrize(
    ("script", "given", "shown"),
    [
        ("read x; echo [$x]; read y || echo over", b"Alice\n", b"[Alice]\nover\n"),
        ("cat | wc -c", b"x" * 200_000, b"200000\n"),
        ("read x || echo nothing", b"", b"nothing\n"),
        ("echo asks nothing", b"Alice\n", b"asks nothing\n"),
    ],
    ids=["a line and the end", "much", "nothing", "unasked"],
)
def test_execute_passes_its_own_input_on(
    workplace: Workplace, script: str, given: bytes, shown: bytes
) -> None:
    with piped("execute", script, workplace=workplace) as command:
        out, err = command.communicate(given, timeout=TIMEOUT_S)
    assert (command.returncode, out) == (0, shown), err


def test_execute_through_a_daemon_takes_no_more_input_than_the_script_asks_for(
    workplace: Workplace,
) -> None:
    workplace.daemon()
    loop = f"while read -r name; do {KERUTA} execute 'echo hello'; echo $name; done"
    result = subprocess.run(
        ["bash", "-c", loop],
        input=b"a\nb\n",
        env=workplace.environment,
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert result.stdout == b"hello\na\nhello\nb\n", result.stderr


class Terminal:
    """A person's terminal, with a command in it."""

    def __init__(self, workplace: Workplace, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.command = subprocess.Popen(
            [KERUTA, *arguments],
            env=workplace.environment,
            cwd=workplace.path,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._shown = b""

    def wait_until_hidden(self) -> None:
        """Return when the terminal does not show what is typed."""
        wait_until(
            lambda: not termios.tcgetattr(self._ours)[3] & termios.ECHO, "what is typed is hidden"
        )

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._ours, f"{text}\n".encode())

    def wait_for(self, text: str) -> str:
        """Return what is shown up to a text, since the last time."""

        def found() -> bool:
            if select.select([self._ours], [], [], 0)[0]:
                with contextlib.suppress(OSError):  # its last user has gone
                    self._shown += os.read(self._ours, 4096)
            return text.encode() in self._shown

        wait_until(found, f"{text!r} is shown")
        before, found_text, self._shown = self._shown.partition(text.encode())
        return (before + found_text).decode()

    def close(self) -> None:
        self.command.kill()
        self.command.wait(TIMEOUT_S)
        os.close(self._ours)


def test_execute_at_a_terminal_passes_on_what_is_typed_and_hides_a_secret(
    workplace: Workplace,
) -> None:
    script = (
        "printf 'Name: '; read -r name; printf 'Password: '; read -r word; "
        'echo; echo "$name, ${#word} characters"'
    )
    with contextlib.closing(Terminal(workplace, "execute", script)) as terminal:
        terminal.wait_for("Name: ")
        waiting(workplace)
        terminal.type("Hanako")
        assert "Hanako" in terminal.wait_for("Password: ")
        terminal.wait_until_hidden()
        terminal.type("geheim-99")
        assert "geheim" not in terminal.wait_for("Hanako, 9 characters")
        assert terminal.command.wait(TIMEOUT_S) == 0


def test_input_asks_a_person_at_a_terminal_and_hides_a_secret(workplace: Workplace) -> None:
    workplace.daemon()
    script = "printf 'Password: '; read -r word; echo; echo ${#word} characters"
    with piped("execute", "--detach", script, workplace=workplace) as command:
        command.communicate(timeout=TIMEOUT_S)
    waiting(workplace)
    with contextlib.closing(Terminal(workplace, "input", "1")) as terminal:
        terminal.wait_for("Password: ")
        terminal.wait_until_hidden()
        terminal.type("geheim-99")
        assert "geheim" not in terminal.wait_for("job 1 has its answer")
    wait_until(
        lambda: workplace.run("logs", "1").stdout.endswith("9 characters\n"), "it is answered"
    )


def test_execute_with_a_terminal_of_the_scripts_own_shows_what_is_typed_once(
    workplace: Workplace,
) -> None:
    script = "read -r -p 'Name: ' name; echo \"$name at $(tty)\""
    with contextlib.closing(Terminal(workplace, "execute", "--tty", script)) as terminal:
        terminal.wait_for("Name: ")
        terminal.wait_until_hidden()  # the script's own terminal shows it
        terminal.type("Hanako")
        assert terminal.wait_for("/dev/").count("Hanako") == 2
        assert terminal.command.wait(TIMEOUT_S) == 0


def test_task_with_a_terminal_is_answered_after_its_daemon_was_killed(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task("read -r -p 'Name: ' n; echo hello $n", parameters={"tty": True})
    wrong = api.file_task("true", parameters={"tty": "perhaps"})
    first = workplace.daemon()
    assert waiting(workplace).question.prompt == "Name:"
    first.kill()
    workplace.daemon()
    assert workplace.run("input", task_id, "花子").returncode == 0
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert "hello 花子" in api.lines(task_id)
    assert "parameters.tty" in api.wait_for(wrong)["message"]
