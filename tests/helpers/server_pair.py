"""Two real ``keruta server`` processes on one PostgreSQL, behind a real nginx."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests

from tests.helpers.nginx import nginx
from tests.helpers.processes import Process, Workplace, free_port
from tests.helpers.waiting import wait_until

TIMEOUT_S = 30.0
#: Clients of a load.
_CLIENTS = 4


class ServerPair:
    """The two servers, each of which may be ended and started again on its port."""

    def __init__(self, workplace: Workplace, environment: dict[str, str]) -> None:
        self._workplace = workplace
        self._environment = environment
        self.ports = (free_port(), free_port())
        self.processes: list[Process] = []
        #: Of nginx.
        self.url = ""

    @property
    def urls(self) -> list[str]:
        """Where each of them listens."""
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    def start(self) -> None:
        """Start both."""
        self.processes = [self._start(index) for index in range(2)]
        for process in self.processes:
            process.listening()

    def restart(self, index: int) -> None:
        """End one in order, and start it again."""
        assert self.processes[index].stop() == 0
        self._start_again(index)

    def kill(self, index: int) -> None:
        """End one as ``kill -9`` does, and start it again."""
        self.processes[index].kill()
        self._start_again(index)

    def _start_again(self, index: int) -> None:
        self.processes[index] = self._start(index)
        self.processes[index].listening()

    def _start(self, index: int) -> Process:
        port, data = str(self.ports[index]), str(self._workplace.path / f"server-{index}")
        return self._workplace.start("server", "--port", port, "--data", data, **self._environment)


@contextlib.contextmanager
def server_pair(workplace: Workplace, database_url: str, **more: str) -> Iterator[ServerPair]:
    """Run two servers and nginx for the length of the block."""
    pair = ServerPair(workplace, {"KERUTA_SERVER_DATABASE_URL": database_url, **more})
    with nginx(workplace.path / "nginx", pair.ports) as url:
        pair.url = url
        pair.start()
        yield pair


def call(
    url: str,
    method: str,
    path: str,
    body: Any = None,
    *,
    key: str = "",
    token: str | None = None,
    **more: Any,
) -> Any:
    """Make one request of the API and return what is answered; ``more`` goes to requests."""
    answer = _ask(url, method, path, body, key, token, **more)
    assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.content else None


def write_as_an_agent_does(
    url: str, method: str, path: str, body: Any = None, *, token: str | None = None, **more: Any
) -> Any:
    """Make one write under a key, again and again until it is confirmed."""
    key = str(uuid.uuid4())

    def confirmed() -> requests.Response | None:
        with contextlib.suppress(requests.ConnectionError):
            answer = _ask(url, method, path, body, key, token, **more)
            assert answer.ok or answer.status_code in (502, 503, 504), answer.text
            return answer if answer.ok else None
        return None

    return wait_until(confirmed, f"{method} {path} is confirmed").json()


def _ask(
    url: str, method: str, path: str, body: Any, key: str, token: str | None, **more: Any
) -> requests.Response:
    headers = {"Idempotency-Key": key} if key else {}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    return requests.request(
        method, f"{url}/api/v1{path}", json=body, headers=headers, timeout=TIMEOUT_S, **more
    )


@contextlib.contextmanager
def under_load(work: Callable[[int], object]) -> Iterator[None]:
    """Have clients do a piece of work again and again for the length of the block.

    ``work`` gets numbers that count up. What it raises is raised at the end of the block, which
    begins when some of it is done.
    """
    numbers = iter(range(1_000_000))
    ended, begun, lock = threading.Event(), threading.Event(), threading.Lock()

    def client() -> None:
        try:
            while not ended.is_set():
                with lock:
                    number = next(numbers)
                work(number)
                if number > _CLIENTS:
                    begun.set()
        except BaseException:
            begun.set()
            raise

    with ThreadPoolExecutor(_CLIENTS) as threads:
        clients = [threads.submit(client) for _ in range(_CLIENTS)]
        try:
            assert begun.wait(TIMEOUT_S), "the load does not begin"
            yield
        finally:
            ended.set()
    for each in clients:
        each.result()
