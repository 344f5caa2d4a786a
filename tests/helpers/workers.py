"""Run the tests in several processes, which are forked when all tests are collected.

With pytest-xdist each worker imports and collects all for itself. Of 6,000 tests that takes as
long as running half of them; here it is done once. The tests of a module stay together as long as
all workers are busy, so that what a module shares is made once.
"""

from __future__ import annotations

import contextlib
import gc
import io
import multiprocessing
from collections import deque
from collections.abc import Generator, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies

from tests.helpers import forked

#: Tests that a worker has: the one that runs, and the next, which decides what is torn down.
_AHEAD = 2
#: Seconds for a worker to end when it has nothing more to do.
_TIMEOUT_S = 60.0
#: Rings whose tests take long come first, so that no worker ends long after the others.
_LONG_RINGS = ("browser", "acceptance", "integration")


def pytest_addoption(parser: pytest.Parser) -> None:
    # pytest keeps small letters to itself; this one is what pytest-xdist has taught everybody.
    parser.getgroup("workers")._addoption(
        "-n",
        "--numprocesses",
        type=int,
        default=0,
        help="Number of processes that run tests; 0 runs them in this one.",
    )


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Keep what is collected out of each look for garbage, now and in the workers.

    It stays until the end. To look through it would take a third of the collection, and a forked
    worker would copy all of it.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    option = session.config.option
    number = min(option.numprocesses, len(session.items))
    if number < 1 or option.collectonly or option.usepdb or session.testsfailed:
        return None  # pytest's own loop
    Pool(session, number).run()
    return True


class Plan:
    """Which test a worker runs next."""

    def __init__(self, items: list[pytest.Item]) -> None:
        groups: dict[str, deque[int]] = {}
        for index, item in enumerate(items):
            groups.setdefault(_group(item), deque()).append(index)
        self._unclaimed = deque(groups[name] for name in sorted(groups, key=_ring))
        self._claimed: dict[int, deque[int]] = {}

    def next_for(self, worker: int) -> int | None:
        """Return a test of the worker's module, of a new one, or of one that is too long."""
        own = self._claimed.get(worker)
        if not own:
            own = self._claim()
            self._claimed[worker] = own
        return own.popleft() if own else None

    def take_back(self, worker: int, given: deque[int]) -> None:
        """Have tests run by the worker that takes the place of one that died."""
        self._claimed.setdefault(worker, deque()).extendleft(reversed(given))

    def _claim(self) -> deque[int]:
        if self._unclaimed:
            return self._unclaimed.popleft()
        longest = max(self._claimed.values(), key=len, default=deque[int]())
        return deque(reversed([longest.pop() for _ in range((len(longest) + 1) // 2)]))


def _group(item: pytest.Item) -> str:
    """Return the test's module; tests with a browser are one group, for another would cost most."""
    module = item.nodeid.partition("::")[0]
    return "tests/browser/" if module.startswith("tests/browser/") else module


def _ring(module: str) -> int:
    return next(
        (n for n, name in enumerate(_LONG_RINGS) if f"/{name}/" in module), len(_LONG_RINGS)
    )


class Worker:
    """A forked process, as the one that forked it sees it."""

    def __init__(self, session: pytest.Session, number: int, others: list[Connection]) -> None:
        self.number = number
        #: Indices of the tests that it was given and has not finished.
        self.given: deque[int] = deque()
        self.connection, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process
        self._process: ForkProcess = process(
            target=_work, args=(session, number, theirs, [*others, self.connection])
        )
        self._process.start()
        theirs.close()

    def give(self, index: int | None) -> None:
        """Have it run a test after those that it was given; None: there are no more."""
        if index is not None:
            self.given.append(index)
        with contextlib.suppress(OSError):  # it died; its end of the connection shows it
            self.connection.send(index)

    def end(self) -> int | None:
        """Wait until it is gone and return its exit code."""
        self._process.join(_TIMEOUT_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        return self._process.exitcode


class Pool:
    """All workers; passes their reports on as if the tests had run here."""

    def __init__(self, session: pytest.Session, number: int) -> None:
        self._session = session
        self._plan = Plan(session.items)
        self._number = number
        self._workers: dict[Connection, Worker] = {}
        self._finished = 0

    def run(self) -> None:
        """Run all tests.

        Raises:
            Session.Failed, Session.Interrupted: no more tests are wanted.
        """
        # Once, not in each worker:
        _temporary_directories(self._session.config).getbasetemp()
        if any(map(_is_property, self._session.items)):
            _read_all_modules()
        if any(map(_starts_programs, self._session.items)):
            forked.begin()
        try:
            for number in range(self._number):
                self._start(number)
            while self._workers:
                for connection in wait(list(self._workers)):
                    assert isinstance(connection, Connection)
                    self._hear(self._workers[connection])
                if self._session.shouldfail:
                    raise self._session.Failed(self._session.shouldfail)
                if self._session.shouldstop:
                    raise self._session.Interrupted(self._session.shouldstop)
            assert self._finished == len(self._session.items), "tests were left out"
        finally:
            for connection in self._workers:
                connection.close()
            for worker in self._workers.values():
                worker.end()

    def _start(self, number: int) -> None:
        worker = Worker(self._session, number, list(self._workers))
        self._workers[worker.connection] = worker
        for _ in range(_AHEAD):
            worker.give(self._plan.next_for(number))

    def _hear(self, worker: Worker) -> None:
        ended = False
        try:
            data = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            ended = True
        hook, config = self._session.config.hook, self._session.config
        if ended:
            del self._workers[worker.connection]
            worker.connection.close()
            code = worker.end()
            if worker.given:
                self._bury(worker, code)
        elif data is None:  # a test is over
            worker.given.popleft()
            self._finished += 1
            worker.give(self._plan.next_for(worker.number))
        else:
            report = hook.pytest_report_from_serializable(config=config, data=data)
            hook.pytest_runtest_logreport(report=report)

    def _bury(self, worker: Worker, code: int | None) -> None:
        """Report the test that a worker died of, and start another worker in its place."""
        item = self._session.items[worker.given.popleft()]
        self._finished += 1
        report = pytest.TestReport(
            nodeid=item.nodeid,
            location=item.location,
            keywords={},
            outcome="failed",
            longrepr=f"the process that ran this test ended with {code}",
            when="call",
        )
        self._session.config.hook.pytest_runtest_logreport(report=report)
        self._plan.take_back(worker.number, worker.given)
        self._start(worker.number)


def _is_property(item: pytest.Item) -> bool:
    return hypothesis.is_hypothesis_test(getattr(item, "obj", None))


def _starts_programs(item: pytest.Item) -> bool:
    return "workplace" in getattr(item, "fixturenames", ())


def _read_all_modules() -> None:
    """Have hypothesis look for constants in all modules, as it does before its first example."""
    hypothesis.given(strategies.text())(lambda text: None)()


class _Reports:
    """Send reports to where they are shown."""

    def __init__(self, config: pytest.Config, connection: Connection) -> None:
        self._config = config
        self._connection = connection

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        hook = self._config.hook
        data = hook.pytest_report_to_serializable(config=self._config, report=report)
        self._connection.send(data)


def _work(
    session: pytest.Session, number: int, connection: Connection, others: list[Connection]
) -> None:
    """Run the tests that come by a connection, in a forked process."""
    for other in others:
        other.close()
    config = session.config
    _own_output(config)
    _own_temporary_directory(config, number)
    config.pluginmanager.register(_Reports(config, connection))
    tests = _tests(session, connection)
    try:
        item = next(tests)
        while item is not None:
            nextitem = next(tests)
            config.hook.pytest_runtest_protocol(item=item, nextitem=nextitem)
            connection.send(None)
            item = nextitem
    except (EOFError, BrokenPipeError, KeyboardInterrupt):  # no more are wanted
        session._setupstate.teardown_exact(None)


def _tests(session: pytest.Session, connection: Connection) -> Iterator[pytest.Item | None]:
    while True:
        index = connection.recv()
        yield None if index is None else session.items[index]


class _Nothing(io.TextIOBase):
    """A file that keeps nothing."""

    def write(self, text: str) -> int:
        return len(text)


def _own_output(config: pytest.Config) -> None:
    """Capture output in files of one's own, and show nothing."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    capture.stop_global_capturing()
    capture.start_global_capturing()
    terminal: Any = config.pluginmanager.getplugin("terminalreporter")
    terminal._tw._file = _Nothing()


def _own_temporary_directory(config: pytest.Config, number: int) -> None:
    """Make the tests' directories below one of one's own: each looks at all beside it."""
    factory = _temporary_directories(config)
    factory._basetemp = factory.mktemp(f"worker-{number}-")


def _temporary_directories(config: pytest.Config) -> pytest.TempPathFactory:
    return config._tmp_path_factory  # type: ignore[attr-defined,no-any-return]
