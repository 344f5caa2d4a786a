"""What is different about two servers behind nginx on one PostgreSQL, and what it costs them.

python -m benchmarks.several_servers [--keruta PATH]... [--agents 200] [--seconds 20]

Starts PostgreSQL, an S3 server (moto), nginx with etc/nginx.conf and two ``keruta server`` for each
``--keruta``, such as those of two checkouts. PostgreSQL lets their role have 97 connections, as a
usual one does.

    artifacts, secret answers, forms   how many of those of one process hold at the other
    event                              from a write at one to the stream of the other
    log                                agents that write lines, status and progress, half at each
    restart                            requests through nginx that fail while each is restarted once
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from benchmarks.agent import memory_mb
from benchmarks.server_load import agents
from benchmarks.server_load.agent_requests import Requests
from benchmarks.server_load.subject import Running
from tests.helpers.event_streams import event_stream
from tests.helpers.nginx import nginx
from tests.helpers.object_server import Bucket, ObjectServer
from tests.helpers.page_visitor import form_token
from tests.helpers.postgresql import PostgresqlServer, running_postgresql
from tests.helpers.processes import free_port
from tests.helpers.waiting import wait_until

_ROLE = "keruta_servers"
_CONNECTIONS = 97
_TRIES = 40
_TIMEOUT_S = 60.0
_CLIENTS = 8
#: Seconds of requests before, between and after the restarts.
_AROUND_RESTARTS_S = 1.0


class _Server:
    """One ``keruta server`` that may be started again on its port."""

    def __init__(self, program: Path, directory: Path, environment: dict[str, str]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._command = [str(program), "server", "--port", str(self.port)]
        self._command += ["--data", str(directory / "data")]
        self._directory = directory
        self._environment = {"PATH": os.environ["PATH"], "HOME": str(directory), **environment}
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()

    @property
    def running(self) -> Running:
        """What the scenarios of ``server_load`` work with."""
        assert self._process is not None
        url = urlsplit(self.url)
        asked = Requests(host=str(url.hostname), port=self.port, token=None)
        return Running(pid=self._process.pid, requests=asked, listening_s=0.0, started_at=0.0)

    def start(self) -> None:
        """Start it and return when it answers."""
        with (self._directory / "err").open("ab") as errors:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        wait_until(self._answers, "the server answers", _TIMEOUT_S)

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_TIMEOUT_S)
            self._process = None

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=_TIMEOUT_S).ok
        except requests.ConnectionError:
            return False


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keruta", type=Path, action="append")
    parser.add_argument("--agents", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    columns = [
        _measured(program.absolute(), options)
        for program in options.keruta or [Path(sys.executable).with_name("keruta")]
    ]
    for name in columns[0]:
        print(f"{name:<52}", *(f"{column[name]:>14}" for column in columns))


def _measured(program: Path, options: argparse.Namespace) -> dict[str, str]:
    with (
        tempfile.TemporaryDirectory(prefix="keruta-several-") as name,
        running_postgresql() as database,
        _servers(program, Path(name), database) as (one, other),
        nginx(Path(name) / "nginx", [one.port, other.port]) as url,
    ):
        return (
            {
                "artifacts read at the other": _artifacts(one.url, other.url),
                "secret answers taken at the other": _secret_answers(one.url, other.url),
                "forms taken at the other": _forms(one.url, other.url, url),
            }
            | _events(one.url, other.url)
            | _log(one, other, database, options)
            | {"requests that fail in a rolling restart": _restart(one, other, url)}
        )


@contextlib.contextmanager
def _servers(
    program: Path, directory: Path, database: PostgresqlServer
) -> Iterator[tuple[_Server, _Server]]:
    database.execute(f"CREATE ROLE {_ROLE} LOGIN CONNECTION LIMIT {_CONNECTIONS}")
    database.execute(f"CREATE DATABASE {_ROLE} OWNER {_ROLE}")
    objects = ObjectServer(directory / "s3.log")
    try:
        bucket = Bucket(objects, "several")
        environment = {
            "KERUTA_SERVER_DATABASE_URL": database.url(_ROLE, user=_ROLE),
            "KERUTA_SERVER_ARTIFACT_STORE": bucket.url(),
            "KERUTA_SERVER_SECRET_KEY": uuid.uuid4().hex,
            "KERUTA_SERVER_DRAIN": "0.5",
            **bucket.environment,
        }
        pair = tuple(_Server(program, directory / each, environment) for each in ("one", "other"))
        try:
            for server in pair:
                server.start()
            yield pair[0], pair[1]
        finally:
            for server in pair:
                server.stop()
    finally:
        objects.kill()


def _call(url: str, method: str, path: str, body: Any = None, **more: Any) -> Any:
    answer = requests.request(method, f"{url}/api/v1{path}", json=body, timeout=_TIMEOUT_S, **more)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def _task(url: str) -> str:
    session = _call(url, "POST", "/sessions", {"name": "s"})["id"]
    task = str(_call(url, "POST", "/tasks", {"sessionId": session, "name": "t"})["id"])
    _call(url, "PUT", f"/tasks/{task}/status", {"status": "PROCESSING"})
    return task


def _artifacts(one: str, other: str) -> str:
    path, read = f"/tasks/{_task(one)}/artifacts", 0
    for _ in range(_TRIES):
        stored = _call(one, "POST", path, files={"file": ("f", b"content")})
        content = f"{other}/api/v1{path}/{stored['id']}/content"
        read += requests.get(content, timeout=_TIMEOUT_S).status_code == 200
    return f"{read} of {_TRIES}"


def _secret_answers(one: str, other: str) -> str:
    task, taken = _task(one), 0
    for _ in range(_TRIES):
        question = {"prompt": "Password:", "secret": True}
        asked = _call(one, "POST", f"/tasks/{task}/input-request", question)
        _call(one, "POST", f"/tasks/{task}/input", {"input": "secret"})
        found = _call(other, "GET", f"/tasks/{task}/input?requestId={asked['id']}")
        taken += found is not None
    return f"{taken} of {_TRIES}"


def _forms(one: str, other: str, proxy: str) -> str:
    taken = 0
    with requests.Session() as browser:
        browser.headers["Host"] = proxy.removeprefix("http://")
        for _ in range(_TRIES):
            token = form_token(browser.get(f"{one}/", timeout=_TIMEOUT_S).text)
            form = {"csrf": token, "name": "s"}
            answer = browser.post(
                f"{other}/sessions", data=form, timeout=_TIMEOUT_S, allow_redirects=False
            )
            taken += answer.status_code == 303
    return f"{taken} of {_TRIES}"


def _events(one: str, other: str) -> dict[str, str]:
    """Return how long events take to the other process, after the write was answered."""
    task, took = _task(one), []
    with event_stream(other) as stream, requests.Session() as session:
        next(stream)
        for percent in range(_TRIES):
            body = {"progress": percent, "message": "m"}
            session.patch(f"{one}/api/v1/tasks/{task}/progress", json=body, timeout=_TIMEOUT_S)
            answered_at = time.perf_counter()
            while next(stream)["data"]["data"].get("progress") != percent:
                pass
            took.append((time.perf_counter() - answered_at) * 1000)
    return {
        "event at the other, median ms after the answer": f"{statistics.median(took):.1f}",
        "event at the other, p95": f"{statistics.quantiles(took, n=20)[-1]:.1f}",
    }


def _log(
    one: _Server, other: _Server, database: PostgresqlServer, options: argparse.Namespace
) -> dict[str, str]:
    load = agents.Load(
        agents=options.agents // 2, interval_s=5.0, seconds=options.seconds, lines=500
    )

    async def both() -> list[dict[str, float]]:
        return list(
            await asyncio.gather(*(agents.write(server.running, load) for server in (one, other)))
        )

    with _connections(database) as peak:
        found = asyncio.run(both())
    requested = sum(each["requests"] + each["failed"] for each in found)
    return {
        f"failed requests of {options.agents} agents that log": (
            f"{sum(each['failed'] for each in found):.0f} of {requested:.0f}"
        ),
        "the slowest of them in a hundred, ms": f"{max(each['all p99 ms'] for each in found):.0f}",
        "connections to PostgreSQL, most at once": str(max(peak)),
        "memory of a server, MB": f"{max(memory_mb(s.running.pid) for s in (one, other)):.0f}",
    }


@contextlib.contextmanager
def _connections(database: PostgresqlServer) -> Iterator[list[int]]:
    """Count the role's connections again and again for the length of the block."""
    found, ended = [0], threading.Event()

    def count() -> None:
        while not ended.wait(0.2):
            rows = database.execute(
                f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{_ROLE}'"
            )
            found.append(rows[0][0])

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def _restart(one: _Server, other: _Server, url: str) -> str:
    """Return how many requests fail while each server is restarted once."""
    task, ended = _task(one.url), threading.Event()
    failed, done = [0] * _CLIENTS, [0] * _CLIENTS

    def client(number: int) -> None:
        with requests.Session() as session:
            while not ended.is_set():
                done[number] += 1
                try:
                    answer = session.post(
                        f"{url}/api/v1/tasks/{task}/logs",
                        json=[{"message": "m"}],
                        headers={"Idempotency-Key": str(uuid.uuid4())},
                        timeout=_TIMEOUT_S,
                    )
                    failed[number] += not answer.ok
                except requests.RequestException:
                    failed[number] += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for server in (one, other):
        time.sleep(_AROUND_RESTARTS_S)
        server.stop()
        server.start()
    time.sleep(_AROUND_RESTARTS_S)
    ended.set()
    for thread in threads:
        thread.join()
    return f"{sum(failed)} of {sum(done)}"


if __name__ == "__main__":
    main()
