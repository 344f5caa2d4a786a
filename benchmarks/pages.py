"""What open pages cost the server, and whether they slow the agent.

python -m benchmarks.pages [--pages 50] [--seconds 20] [--lines 100000]

Each page does what its scripts do. A board (``board.js``) holds an event stream, and reads the end
of a log at most once a second. A task's page (``task.js``, ``logview.js``, ``parts.js``) holds one
as well, reads the new lines of the log at most every 1.5 seconds, and the page itself for progress
at most every 15 seconds. The script writes ``--lines`` lines at once; when these have arrived,
twenty each second, and reports its progress.
"""

from __future__ import annotations

import abc
import argparse
import json
import threading
import time
from typing import Any

import requests

from benchmarks.agent import Measured, cpu_seconds, running_agent, wait_for

_TAIL_INTERVAL_S = 1.0
_LOG_INTERVAL_S = 1.5
_PARTS_INTERVAL_S = 15.0
#: Lines that a task's page reads at once.
_LOG_PAGE = 200
_MOST_NEW = 1000
_SCRIPT = """
seq 1 {lines}
until [ -e {go} ]; do sleep 0.1; done
for second in $(seq 1 {seconds}); do
    for line in $(seq 1 20); do echo "second $second, line $line"; sleep 0.045; done
    keruta progress $((second * 100 / {seconds}))
done
"""


class _Page(threading.Thread, abc.ABC):
    """A page that is open in somebody's browser."""

    def __init__(self, server: str, session: str) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._session = session
        self._client = requests.Session()
        #: When each kind of thing was read last.
        self._read_at: dict[str, float] = {}
        self.events = 0
        self.reads = 0
        self.connected = threading.Event()

    def run(self) -> None:
        """Hear events for as long as the server lives."""
        self.get(f"/sessions/{self._session}")
        address = f"{self._server}/api/v1/sessions/realtime/events?sessionId={self._session}"
        with requests.get(address, stream=True, timeout=60) as stream:
            self.connected.set()
            for line in stream.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    self.events += 1
                    self.hear(json.loads(line[6:]).get("data", {}))

    @abc.abstractmethod
    def hear(self, data: dict[str, Any]) -> None:
        """Do what the page does when it hears an event."""

    def get(self, path: str) -> requests.Response:
        """Read something of the server."""
        self.reads += 1
        answer = self._client.get(self._server + path, timeout=30)
        answer.raise_for_status()
        return answer

    def is_due(self, what: str, interval_s: float) -> bool:
        """Return whether something may be read again, and note that it is."""
        now = time.monotonic()
        if now - self._read_at.get(what, 0.0) < interval_s:
            return False
        self._read_at[what] = now
        return True


class _Board(_Page):
    def hear(self, data: dict[str, Any]) -> None:
        if "count" in data and self.is_due("tail", _TAIL_INTERVAL_S):
            self.get(f"/api/v1/tasks/{data['taskId']}/logs?order=desc&size=5")


class _TaskPage(_Page):
    last = ""

    def hear(self, data: dict[str, Any]) -> None:
        if "taskId" not in data:
            return
        task = f"/tasks/{data['taskId']}"
        if "count" in data:
            if self.is_due("log", _LOG_INTERVAL_S):
                self.read_log(f"/api/v1{task}/logs")
        elif self.is_due("parts", _PARTS_INTERVAL_S):
            self.get(task)

    def read_log(self, logs: str) -> None:
        """Read what is new; if nothing is known yet or much is new, the end."""
        asked = f"{logs}?order=asc&after={self.last}&size={_MOST_NEW}"
        found = self.get(asked).json() if self.last else []
        if not self.last or len(found) == _MOST_NEW:
            page = max(0, self.get(f"{logs}/count").json()["count"] - 1) // _LOG_PAGE
            found = self.get(f"{logs}?order=asc&page={page}&size={_LOG_PAGE}").json()
        self.last = found[-1]["id"] if found else self.last


def _has_ended(agent: Measured, task: str) -> bool:
    time.sleep(0.2)
    return agent.status(task) == "COMPLETED"


def measure(kind: type[_Page], pages: int, seconds: int, lines: int) -> None:
    """Run one script while pages look, and print what that took."""
    with running_agent(with_server=True) as agent:
        open_pages = [kind(agent.server_url, agent.session_id) for _ in range(pages)]
        for page in open_pages:
            page.start()
        for page in open_pages:
            page.connected.wait(60)
        if agent.daemon is None:
            raise RuntimeError("no daemon")
        go = agent.directory / "go"
        task = agent.file_task(_SCRIPT.format(seconds=seconds, lines=lines, go=go))
        wait_for(lambda: agent.log_count(task) >= lines)
        time.sleep(_LOG_INTERVAL_S)
        server, daemon = cpu_seconds(agent.server_pid), cpu_seconds(agent.daemon.pid)
        begin = time.monotonic()
        go.touch()
        wait_for(lambda: _has_ended(agent, task))
        took = time.monotonic() - begin
        server = cpu_seconds(agent.server_pid) - server
        daemon = cpu_seconds(agent.daemon.pid) - daemon
        events = sum(page.events for page in open_pages)
        reads = sum(page.reads for page in open_pages)
        name = f"{pages:3} {'boards' if kind is _Board else 'task pages'}"
        print(
            f"{name}: the task took {took:.1f} s; server {server / took:.0%} of a core,"
            f" agent {daemon / took:.0%}; {events} events, {reads} reads"
        )


def main() -> None:
    """Measure without pages and with them, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--lines", type=int, default=100_000)
    arguments = parser.parse_args()
    for kind, pages in ((_Board, 0), (_Board, arguments.pages), (_TaskPage, arguments.pages)):
        measure(kind, pages, arguments.seconds, arguments.lines)


if __name__ == "__main__":
    main()
