"""What open pages cost the server, and whether they slow the agent.

python -m benchmarks.pages [--pages 50] [--seconds 20]

Each page does what ``board.js`` does: it holds an event stream, and reads the end of a log at
most once a second. The script writes twenty lines and reports its progress once each second.
"""

from __future__ import annotations

import argparse
import json
import threading
import time

import requests

from benchmarks.agent import Measured, cpu_seconds, running_agent, wait_for

_TAIL_INTERVAL_S = 1.0
_SCRIPT = """
for second in $(seq 1 {seconds}); do
    for line in $(seq 1 20); do echo "second $second, line $line"; sleep 0.045; done
    keruta progress $((second * 100 / {seconds}))
done
"""


class _Page(threading.Thread):
    def __init__(self, server: str, session: str) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._session = session
        self.events = 0
        self.tails = 0
        self.connected = threading.Event()

    def run(self) -> None:
        client = requests.Session()
        client.get(f"{self._server}/sessions/{self._session}", timeout=30).raise_for_status()
        address = f"{self._server}/api/v1/sessions/realtime/events?sessionId={self._session}"
        read_at = 0.0
        with requests.get(address, stream=True, timeout=60) as stream:
            self.connected.set()
            for line in stream.iter_lines(chunk_size=1):
                if not line.startswith(b"data: "):
                    continue
                self.events += 1
                data = json.loads(line[6:]).get("data", {})
                if "count" in data and time.monotonic() - read_at >= _TAIL_INTERVAL_S:
                    read_at = time.monotonic()
                    self.tails += 1
                    tail = f"/api/v1/tasks/{data['taskId']}/logs?order=desc&size=5"
                    client.get(self._server + tail, timeout=30).raise_for_status()


def _has_ended(agent: Measured, task: str) -> bool:
    time.sleep(0.2)
    return agent.status(task) == "COMPLETED"


def measure(pages: int, seconds: int) -> None:
    """Runs one script while pages look, and prints what that took."""
    with running_agent(with_server=True) as agent:
        open_pages = [_Page(agent.server_url, agent.session_id) for _ in range(pages)]
        for page in open_pages:
            page.start()
        for page in open_pages:
            page.connected.wait(60)
        if agent.daemon is None:
            raise RuntimeError("no daemon")
        server, daemon = cpu_seconds(agent.server_pid), cpu_seconds(agent.daemon.pid)
        begin = time.monotonic()
        task = agent.file_task(_SCRIPT.format(seconds=seconds))
        wait_for(lambda: _has_ended(agent, task))
        took = time.monotonic() - begin
        server = cpu_seconds(agent.server_pid) - server
        daemon = cpu_seconds(agent.daemon.pid) - daemon
        events = sum(page.events for page in open_pages)
        tails = sum(page.tails for page in open_pages)
        print(
            f"{pages:3} pages: the task took {took:.1f} s; server {server / took:.0%} of a core,"
            f" agent {daemon / took:.0%}; {events} events and {tails} ends of the log read"
        )


def main() -> None:
    """Measures without pages and with them, and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=20)
    arguments = parser.parse_args()
    for pages in (0, arguments.pages):
        measure(pages, arguments.seconds)


if __name__ == "__main__":
    main()
