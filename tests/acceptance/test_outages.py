"""Whatever the API answers instead of an answer, tasks go on, and all is reported in order."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.api import Api
from tests.helpers.gate import Gate, Passage, Trouble, gate_before
from tests.helpers.processes import Process, Workplace
from tests.helpers.waiting import wait_until

_HOLD = "while [ ! -e {place}/go ]; do sleep 0.02; done"


def _busy(_: Gate) -> Trouble:
    return lambda passage: passage.answer(429, b'{"error": {}}', Retry_After="1")


def _web_page(_: Gate) -> Trouble:
    page = b"<html><body>Down for maintenance</body></html>"
    return lambda passage: passage.answer(200, page, "text/html")


def _lost_proxy(_: Gate) -> Trouble:
    page = b"<html><body>404 page not found</body></html>"
    return lambda passage: passage.answer(404, page, "text/html")


def _nonsense(_: Gate) -> Trouble:
    return lambda passage: passage.answer(200, b'{"unexpected": [1, 2')


def _broken(_: Gate) -> Trouble:
    return lambda passage: passage.answer(503, b"", Retry_After="soon")


def _half_open(gate: Gate) -> Trouble:
    return gate.hang


def _pending(workplace: Workplace) -> int:
    said = workplace.run("config", "show").stdout
    return int(said.rpartition("for the API: ")[2].split()[0])


@pytest.mark.parametrize("trouble", [_busy, _lost_proxy, _broken, _half_open])
def test_tasks_go_on_and_everything_is_reported_in_order_later(
    workplace: Workplace, api: Api, tmp_path: Path, trouble: object
) -> None:
    assert callable(trouble)
    hold = _HOLD.format(place=tmp_path)
    first = api.file_task(f"echo one\n{hold}\necho two; echo run >> {tmp_path}/runs")
    second = api.file_task(f"echo three; echo run >> {tmp_path}/runs; exit 4")
    with gate_before(api.url) as gate:
        gate.trouble = _without_claims
        daemon = workplace.daemon(
            KERUTA_API_URL=gate.url, KERUTA_TIMEOUT="500ms", KERUTA_API_STATUS_TIMEOUT="500ms"
        )
        wait_until(lambda: api.lines(first) == ["one"], "the first line is stored")
        daemon.wait_for(f"recorded task {second}")

        gate.trouble = trouble(gate)
        (tmp_path / "go").touch()
        daemon.wait_for("job 1 ended: succeeded")
        daemon.wait_for("job 2 ended: failed")
        wait_until(
            lambda: any("/logs" in request for request in gate.turned_away),
            "the log was sent in vain",
        )
        assert api.task(first)["status"] == "PROCESSING"
        assert api.task(second)["status"] == "PENDING"
        gate.trouble = _without_claims

        api.wait_for_all([first, second])
    assert api.task(first)["status"] == "COMPLETED"
    stored = api.task(second)
    assert (stored["status"], stored["errorCode"]) == ("FAILED", "EXIT_4")
    assert (api.lines(first), api.lines(second)) == (["one", "two"], ["three"])
    assert (tmp_path / "runs").read_text(encoding="ascii") == "run\nrun\n"
    assert "Traceback" not in daemon.err
    stories = workplace.run("explain", "1").stdout + workplace.run("explain", "2").stdout
    assert " did not reach the API" in stories


@pytest.mark.parametrize("trouble", [_web_page, _nonsense])
def test_task_waits_while_something_else_answers_in_the_place_of_the_api(
    workplace: Workplace, api: Api, tmp_path: Path, trouble: object
) -> None:
    assert callable(trouble)
    first = api.file_task(f"echo one\n{_HOLD.format(place=tmp_path)}")
    second = api.file_task("echo two")
    with gate_before(api.url) as gate:
        gate.trouble = _without_claims
        daemon = workplace.daemon(KERUTA_API_URL=gate.url)
        daemon.wait_for(f"recorded task {second}")
        wait_until(lambda: api.lines(first) == ["one"], "the first line is stored")

        gate.trouble = trouble(gate)
        (tmp_path / "go").touch()
        daemon.wait_for("job 1 ended: succeeded")
        daemon.wait_for("cannot ask the API for tasks")
        assert "job 2 started" not in daemon.err
        gate.trouble = _without_claims

        api.wait_for_all([first, second])
    assert api.lines(second) == ["two"]


def _without_claims(passage: Passage) -> bool:
    """Answer as a server that knows nothing of agents."""
    if "/agents/" in passage.path or passage.path.endswith("/claim"):
        return passage.answer(404, b'{"error": {"code": "ROUTE_NOT_FOUND"}}')
    return False


@pytest.mark.parametrize("trouble", [_broken, _half_open])
def test_task_that_cannot_be_claimed_waits_until_the_api_is_back(
    workplace: Workplace, api: Api, tmp_path: Path, trouble: object
) -> None:
    assert callable(trouble)
    first = api.file_task(f"echo one\n{_HOLD.format(place=tmp_path)}")
    second = api.file_task(f"echo run >> {tmp_path}/runs")
    with gate_before(api.url) as gate:
        daemon = workplace.daemon(
            KERUTA_API_URL=gate.url, KERUTA_TIMEOUT="500ms", KERUTA_API_STATUS_TIMEOUT="500ms"
        )
        wait_until(lambda: api.lines(first) == ["one"], "the first line is stored")
        daemon.wait_for(f"recorded task {second}")

        gate.trouble = trouble(gate)
        (tmp_path / "go").touch()
        daemon.wait_for("job 1 ended: succeeded")
        daemon.wait_for(f"cannot claim task {second} now")
        assert workplace.run("execute", "echo ad hoc").stdout == "ad hoc\n"
        assert not (tmp_path / "runs").exists()
        gate.trouble = None

        api.wait_for_all([first, second])
    assert (tmp_path / "runs").read_text(encoding="ascii") == "run\n"
    assert "Traceback" not in daemon.err


def _configure(workplace: Workplace, **api_settings: str) -> None:
    file = workplace.path / "home" / ".keruta" / "config.yaml"
    file.parent.mkdir(mode=0o700, exist_ok=True)
    lines = "".join(f"  {name}: {value}\n" for name, value in api_settings.items())
    file.write_text(f"api:\n{lines}", encoding="ascii")
    file.chmod(0o600)


def _wants(token: str) -> Trouble:
    def check(passage: Passage) -> bool:
        if passage.headers.get("Authorization") == f"Bearer {token}":
            return False
        return passage.answer(401, b'{"error": {"code": "UNAUTHORIZED", "message": "expired"}}')

    return check


def _start_with_token(workplace: Workplace, gate: Gate, token: str) -> Process:
    del workplace.environment["KERUTA_API_URL"]
    _configure(workplace, url=gate.url, token=token)
    return workplace.daemon()


def test_token_that_expired_is_said_and_everything_is_reported_once_it_is_renewed(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(f"echo one\n{_HOLD.format(place=tmp_path)}\necho two")
    with gate_before(api.url) as gate:
        gate.trouble = _wants("first-token-of-the-day")
        daemon = _start_with_token(workplace, gate, "first-token-of-the-day")
        wait_until(lambda: api.lines(task_id) == ["one"], "the first line is stored")

        gate.trouble = _wants("second-token-of-the-day")
        (tmp_path / "go").touch()
        daemon.wait_for("job 1 ended: succeeded")
        daemon.wait_for(" ERROR ")
        daemon.wait_for("KERUTA_API_TOKEN")
        assert _pending(workplace) > 0
        _configure(workplace, url=gate.url, token="second-token-of-the-day")

        assert api.wait_for(task_id)["status"] == "COMPLETED"
        assert api.lines(task_id) == ["one", "two"]
        assert daemon.running
        assert "token-of-the-day" not in daemon.err
