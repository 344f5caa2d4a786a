"""The daemon's HTTP API: real requests to a real daemon."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.helpers.api import Api
from tests.helpers.processes import Process, Workplace, free_port
from tests.helpers.waiting import wait_until

PATIENCE_S = 30
SLOW_SCRIPT = "echo begun; while [ ! -e {}/go ]; do sleep 0.02; done; echo 終わり"

Event = dict[str, Any]


class DaemonApi:
    """The API of a workplace's daemon, as a client sees it."""

    def __init__(self, workplace: Workplace) -> None:
        told = json.loads((workplace.base_dir / "http.json").read_text(encoding="utf-8"))
        self.url: str = told["url"]
        self.pid: int = told["pid"]
        self.token = (workplace.base_dir / "http-token").read_text(encoding="ascii").strip()
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"Bearer {self.token}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", PATIENCE_S)
        return self.http.request(method, f"{self.url}/api/v1{path}", **options)

    def get(self, path: str, **options: Any) -> Any:
        response = self.call("GET", path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    def queue(self, script: str) -> int:
        response = self.call("POST", "/jobs", json={"script": script})
        assert response.status_code == 201, response.text
        return int(response.json()["job"])

    def state(self, job: int) -> str:
        return str(self.get(f"/jobs/{job}")["state"])

    @contextlib.contextmanager
    def stream(self, path: str, **headers: str) -> Iterator[Iterator[Event]]:
        with self.call("GET", path, stream=True, headers=headers) as response:
            assert response.status_code == 200, response.text
            assert response.headers["Content-Type"] == "text/event-stream"
            yield _events(response)


def _events(response: requests.Response) -> Iterator[Event]:
    event: Event = {}
    for line in response.iter_lines(chunk_size=1, decode_unicode=True):
        name, _, value = line.partition(": ")
        if not line and event:
            yield event
            event = {}
        elif name:
            event[name] = json.loads(value) if name == "data" else value


def _lines(events: list[Event]) -> list[str]:
    return [
        entry["message"]
        for event in events
        if event["event"] == "log"
        for entry in event["data"]["entries"]
    ]


def _start(workplace: Workplace, *arguments: str, **environment: str) -> tuple[Process, DaemonApi]:
    daemon = workplace.daemon(*(arguments or ("--port", "0")), **environment)
    return daemon, DaemonApi(workplace)


@pytest.fixture
def daemon_api(workplace: Workplace) -> Iterator[DaemonApi]:
    _, daemon_api = _start(workplace)
    with daemon_api.http:
        yield daemon_api


def test_http_is_off_unless_somebody_wants_it(workplace: Workplace) -> None:
    (workplace.base_dir).mkdir(mode=0o700)
    (workplace.base_dir / "http.json").write_text('{"url": "of an agent that was killed"}')
    daemon = workplace.daemon()

    assert not (workplace.base_dir / "http.json").exists()
    assert not (workplace.base_dir / "http-token").exists()
    listening = Path(f"/proc/{daemon.pid}/net/tcp").read_text(encoding="ascii")
    sockets = {
        target
        for entry in Path(f"/proc/{daemon.pid}/fd").iterdir()
        if (target := _link(entry)).startswith("socket:")
    }
    inodes = {line.split()[9] for line in listening.splitlines()[1:] if line.split()[3] == "0A"}
    assert not inodes & {target.strip("socket:[]") for target in sockets}


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:
        return ""


def test_input_by_http_turns_the_api_on(workplace: Workplace) -> None:
    port = free_port()
    (workplace.path / "config.yaml").write_text(f"daemon:\n  port: {port}\n", encoding="utf-8")
    _, daemon_api = _start(
        workplace,
        "--keep-alive",
        KERUTA_USE_HTTP_INPUT="true",
        KERUTA_CONFIG=str(workplace.path / "config.yaml"),
    )
    with daemon_api.http:
        assert urlsplit(daemon_api.url).port == port
        assert daemon_api.get("/status")["http"] == daemon_api.url
    assert f"HTTP API at {daemon_api.url}\n" in workplace.run("status").stdout


def test_only_who_has_the_token_and_comes_by_our_name_is_served(daemon_api: DaemonApi) -> None:
    assert daemon_api.call("GET", "/status").status_code == 200
    refused = {
        401: [{"Authorization": ""}, {"Authorization": "Bearer wrong"}],
        403: [{"Origin": "http://evil.example"}, {"Origin": "null"}],
        421: [{"Host": "evil.example"}, {"Host": f"evil.example:{urlsplit(daemon_api.url).port}"}],
    }
    for status, requests_ in refused.items():
        for headers in requests_:
            response = daemon_api.call("POST", "/pause", json={}, headers=headers)
            assert response.status_code == status, headers
            assert response.json()["error"]["message"]
            assert not any(name.startswith("Access-Control") for name in response.headers)
    assert daemon_api.get("/status")["paused"] is None
    open_to_all = requests.get(f"{daemon_api.url}/api/v1/health/ready", timeout=PATIENCE_S)
    assert (open_to_all.status_code, open_to_all.json()) == (200, {"status": "UP"})


def test_token_is_private_and_told_to_nobody(workplace: Workplace) -> None:
    workplace.forks = False
    daemon, daemon_api = _start(workplace, "--port", "0", "--log-level", "DEBUG")
    with daemon_api.http:
        modes = [stat.S_IMODE((workplace.base_dir / name).stat().st_mode)
                 for name in ("http-token", "http.json")]  # fmt: skip
        job = daemon_api.queue(f"cat {workplace.base_dir}/http-token; env; echo done")
        wait_until(lambda: daemon_api.state(job) == "finished", "the job has ended")
        log = daemon_api.call("GET", f"/jobs/{job}/logs", headers={"Accept": "text/plain"}).text

    assert modes == [0o600, 0o600]
    assert len(daemon_api.token) > 40
    assert "done" in log and daemon_api.token not in log
    assert daemon_api.token not in daemon.err + daemon.out
    assert daemon_api.token.encode() not in Path(f"/proc/{daemon.pid}/cmdline").read_bytes()


def test_running_job_is_watched_and_what_was_missed_is_sent_again(
    daemon_api: DaemonApi, tmp_path: Path
) -> None:
    job = daemon_api.queue(SLOW_SCRIPT.format(tmp_path) + "; keruta progress 70 --message 'so far'")
    seen: list[Event] = []
    with daemon_api.stream(f"/jobs/{job}/events") as events:
        for event in events:
            seen.append(event)
            if event["event"] == "log":
                break
    assert _lines(seen) == ["begun"]

    (tmp_path / "go").touch()
    wait_until(lambda: daemon_api.state(job) == "finished", "the job has ended")
    with daemon_api.stream(f"/jobs/{job}/events", **{"Last-Event-ID": seen[-1]["id"]}) as events:
        rest = list(events)

    assert _lines(rest) == ["終わり"]
    assert [event["data"]["action"] for event in rest if event["event"] == "job"] == ["ended"]
    assert rest[-1]["event"] == "end"
    assert rest[-1]["data"]["outcome"] == "succeeded"
    again = daemon_api.call("GET", f"/jobs/{job}/events", headers={"Last-Event-ID": rest[-1]["id"]})
    assert again.status_code == 204
    shown = daemon_api.get(f"/jobs/{job}")
    assert (shown["runs"][0]["progress"], shown["runs"][0]["progress_message"]) == (70, "so far")


def test_script_that_asks_is_answered_by_job_and_by_task(workplace: Workplace, api: Api) -> None:
    asks = "printf 'name? '; read name; printf 'sure? '; read sure; echo \"$name: $sure\""
    task = api.file_task(asks)
    _, daemon_api = _start(workplace)
    with daemon_api.http:
        for prompt, path, body in (
            ("name?", "/jobs/1/input", {"text": "花子", "number": 1}),
            ("sure?", f"/tasks/{task}/input", {"input": "yes"}),
        ):
            wait_until(lambda prompt=prompt: _asks(daemon_api, prompt), "it asks")
            assert daemon_api.get(path)["prompt"].endswith(prompt)
            answered = daemon_api.call("POST", path, json=body)
            assert answered.status_code == 200, answered.text
        assert api.wait_for(task)["status"] == "COMPLETED"
        log = daemon_api.call("GET", f"/jobs/{task}/logs", headers={"Accept": "text/plain"})
        assert "花子: yes" in log.content.decode()
        again = daemon_api.call("POST", "/jobs/1/input", json={"text": "too late"})
        assert (again.status_code, again.json()["error"]["code"]) == (409, "NOTHING_ASKED")


def _asks(daemon_api: DaemonApi, prompt: str) -> bool:
    questions = daemon_api.get("/status")["questions"]
    return len(questions) == 1 and questions[0]["prompt"].endswith(prompt)


def test_status_follows_a_job_that_is_paused_cancelled_and_tried_again(
    daemon_api: DaemonApi, tmp_path: Path
) -> None:
    running = daemon_api.queue(SLOW_SCRIPT.format(tmp_path))
    wait_until(lambda: daemon_api.state(running) == "running", "it runs")
    assert daemon_api.get("/status")["current"]["job"] == running
    assert daemon_api.call("POST", "/pause", json={"reason": "昼休み"}).json()["paused"] == "昼休み"
    waiting, urgent = daemon_api.queue("echo waiting"), daemon_api.queue("echo urgent")
    place = daemon_api.call("PUT", f"/jobs/{urgent}/priority", json={"priority": 5}).json()["place"]
    assert place == 1

    assert daemon_api.call("POST", f"/jobs/{running}/cancel").json()["was"] == "running"
    wait_until(lambda: daemon_api.state(running) == "finished", "it was stopped")
    assert daemon_api.get(f"/jobs/{running}")["outcome"] == "cancelled"
    assert [daemon_api.state(waiting), daemon_api.state(urgent)] == ["waiting", "waiting"]
    assert daemon_api.call("POST", "/resume").json()["paused"] is None
    for job in (waiting, urgent):
        wait_until(lambda job=job: daemon_api.state(job) == "finished", "it has run")
    runs = [daemon_api.get(f"/jobs/{job}")["runs"][0]["started_at"] for job in (urgent, waiting)]
    assert runs == sorted(runs)

    again = daemon_api.call("POST", f"/jobs/{waiting}/retry")
    assert again.status_code == 201
    new = again.json()["job"]
    wait_until(lambda: daemon_api.state(new) == "finished", "it has run once more")
    assert daemon_api.call("GET", f"/jobs/{new}/logs").json()["message"] == "waiting"


def test_kill_and_restart_keep_the_token_and_follow_the_job(
    workplace: Workplace, tmp_path: Path
) -> None:
    port = str(free_port())
    daemon, daemon_api = _start(workplace, "--port", port)
    with daemon_api.http:
        job = daemon_api.queue(SLOW_SCRIPT.format(tmp_path))
        wait_until(lambda: daemon_api.state(job) == "running", "it runs")
        daemon.kill()
        _, after = _start(workplace, "--port", port)
        assert (after.url, after.token) == (daemon_api.url, daemon_api.token)
        assert after.pid != daemon_api.pid
        (tmp_path / "go").touch()
        with daemon_api.stream(f"/jobs/{job}/events") as events:
            assert _lines(list(events)) == ["begun", "終わり"]


def test_daemon_that_replaces_itself_listens_again(workplace: Workplace) -> None:
    daemon, daemon_api = _start(workplace, "--port", str(free_port()))
    with daemon_api.http, daemon_api.stream("/events") as events:
        assert next(events)["event"] == "connected"
        os.kill(daemon.pid, signal.SIGHUP)
        assert [set(event) for event in events] == [{"retry"}]  # and no listener waits long
        wait_until(lambda: daemon.err.count("is ready") == 2, "the new image is ready")
        assert daemon_api.get("/status")["pid"] == daemon.pid


@pytest.mark.parametrize("keeps_reading", [True, False])
def test_daemon_stops_although_somebody_listens(workplace: Workplace, keeps_reading: bool) -> None:
    daemon, daemon_api = _start(workplace)
    with daemon_api.http:
        if keeps_reading:
            with daemon_api.stream("/events") as events:
                next(events)
                assert daemon.stop() == 0
            return
        job = daemon_api.queue("head -c 30000000 /dev/zero | tr '\\0' x | fold -w 200")
        wait_until(lambda: daemon_api.state(job) == "finished", "it has written much")
        with _dead_reader(daemon_api, job):
            assert daemon_api.get("/status")["running"] is None  # others are served meanwhile
            assert daemon.stop() == 0
    assert not (workplace.base_dir / "http.json").exists()


@contextlib.contextmanager
def _dead_reader(daemon_api: DaemonApi, job: int) -> Iterator[None]:
    """Ask for a stream and read its first byte only."""
    address = urlsplit(daemon_api.url)
    with socket.create_connection((str(address.hostname), address.port or 0)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(
            f"GET /api/v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {daemon_api.token}\r\n\r\n".encode()
        )
        assert connection.recv(1) == b"H"
        yield


def test_port_in_use_is_told_in_one_line_before_anything_runs(workplace: Workplace) -> None:
    workplace.run("execute", "--detach", f"touch {workplace.path}/ran")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = workplace.run("daemon", "--port", str(port))

    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("keruta: ")]
    assert f"port {port}: it is in use" in line and "--port" in line
    assert not (workplace.path / "ran").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "no.such.host.invalid"])
def test_address_that_others_reach_needs_a_token_that_was_set(
    workplace: Workplace, host: str
) -> None:
    done = workplace.run("daemon", "--host", host, "--port", "0")

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "no such address" in line if "invalid" in host else "KERUTA_DAEMON_TOKEN" in line
    assert not (workplace.base_dir / "http-token").exists()


def test_address_that_others_reach_is_served_with_a_token_that_was_set(
    workplace: Workplace,
) -> None:
    token = "a-token-that-somebody-chose"
    daemon = workplace.daemon(
        "--host", "0.0.0.0", "--port", "0", KERUTA_DAEMON_TOKEN=token,
        KERUTA_DAEMON_ALLOWED_HOSTS="agent.example",
    )  # fmt: skip
    told = json.loads((workplace.base_dir / "http.json").read_text(encoding="utf-8"))
    url = f"http://127.0.0.1:{urlsplit(told['url']).port}/api/v1/status"
    for host, status in (("agent.example", 200), ("10.0.0.7", 200), ("evil.example", 421)):
        headers = {"Host": host, "Authorization": f"Bearer {token}"}
        response = requests.get(url, headers=headers, timeout=PATIENCE_S)
        assert response.status_code == status, host
    assert not (workplace.base_dir / "http-token").exists()
    assert token not in daemon.err
