"""Signals: heard between any two instructions of the main loop, and kept for the next image."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

import keruta_agent
from keruta_agent.agent.daemon import main_loop, shutdown
from keruta_agent.agent.daemon.systemd import ServiceManager
from keruta_agent.core import signals
from keruta_agent.core.log import keys
from keruta_agent.core.signals import ALL_SIGNALS, StopRequests
from keruta_agent.runner import process
from tests.helpers.agents import agent_in

#: An instruction: where it is, and how often it was met before; loops differ from pass to pass.
Instruction = tuple[CodeType, int, int]
#: Our code, and the module with the locks that Python code takes.
TRACED = (str(Path(keruta_agent.__file__).parent), threading.__file__)
#: Passes of a loop that count as different.
PASSES = 1


class Probe:
    """A tracer that calls something before one instruction, or only notes which there are."""

    def __init__(self, at: Instruction | None, act: Callable[[], None]) -> None:
        self.met: dict[Instruction, None] = {}
        self.has_acted = False
        self._counts: dict[tuple[CodeType, int], int] = {}
        self._at = at
        self._act = act

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            yield
        finally:
            sys.settrace(before)

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(TRACED):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            self._meet(frame.f_code, frame.f_lasti)
        return self._trace

    def _meet(self, code: CodeType, offset: int) -> None:
        count = self._counts.get((code, offset), 0)
        self._counts[code, offset] = count + 1
        here = (code, offset, min(count, PASSES - 1))
        self.met.setdefault(here)
        if here == self._at and not self.has_acted:
            self.has_acted = True
            self._act()


def at_every_instruction(
    play: Callable[[Probe], None], act: Callable[[], None], check: Callable[[], None]
) -> int:
    """Play once without the act, then once for each instruction that was met; count them."""
    first = Probe(None, act)
    play(first)
    for at in first.met:
        probe = Probe(at, act)
        play(probe)
        if probe.has_acted:  # a look at the clock may have made this play shorter
            check()
    return len(first.met)


@pytest.fixture(autouse=True)
def mask() -> Iterator[None]:
    """Leave the signals as they were."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers = {number: signal.getsignal(number) for number in ALL_SIGNALS}
    yield
    for number in ALL_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # drops what is pending
        signal.signal(number, handlers[number])
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.environ.pop(signals.HANDED_OVER, None)


def next_image() -> StopRequests:
    """Hear what the next image of this program would hear at its start."""
    if number := os.environ.get(signals.HANDED_OVER):
        # The descriptors of an image live on in the next one; here they are still the old one's.
        os.environ[signals.HANDED_OVER] = str(os.dup(int(number)))
    image = StopRequests()
    with image.heard():
        image.wait(0)
    return image


class Dispatcher:
    def stop_taking_jobs(self) -> None:
        return

    def wait_for_job(self, timeout_s: float | None) -> bool:
        return True

    def check_workers(self) -> None:
        return


class StateFiles:
    """Nothing is taken away. The third look ends the loop that nobody else has ended."""

    def __init__(self, requests: StopRequests) -> None:
        self._requests = requests
        self._looks = 0

    def base_was_removed(self) -> bool:
        self._looks += 1
        if self._looks > PASSES:
            self._requests.stop()
        return False

    def removed(self) -> tuple[()]:
        return ()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_signal_at_any_instruction_of_the_main_loop_is_answered(
    tmp_path, monkeypatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(main_loop, "LOOK_S", 0.001)
    heard: list[StopRequests] = []

    with agent_in(tmp_path) as agent:

        def play(probe: Probe) -> None:
            requests = StopRequests()
            heard[:] = [requests]
            with requests.heard():
                with probe.looking():
                    main_loop.MainLoop(
                        agent,
                        None,
                        Dispatcher(),  # type: ignore[arg-type]
                        requests,
                        ServiceManager({}),
                        lambda: agent.settings,
                        StateFiles(requests),  # type: ignore[arg-type]
                    ).run()
                requests.wait(0)

        def check() -> None:
            requests = heard[0]
            reopened = probe_log.pop() if probe_log else False
            assert {
                signal.SIGTERM: requests.count > 0,
                signal.SIGHUP: requests.replace,
                signal.SIGUSR1: reopened or requests.reopen_log,
            }[number]

        probe_log: list[bool] = []
        monkeypatch.setattr(main_loop, "_reopen_log", lambda: probe_log.append(True))
        met = at_every_instruction(play, lambda: signal.raise_signal(number), check)
    assert met > 100


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_at_any_instruction_of_the_replacement_reaches_the_next_image(
    monkeypatch, number: signal.Signals
) -> None:
    images: list[StopRequests] = []

    class ReplacedError(Exception):
        pass

    def become_the_next_image(*_: object) -> None:
        sys.settrace(None)  # what the next image does is its own
        images.append(next_image())
        raise ReplacedError

    monkeypatch.setattr(os, "execv", become_the_next_image)
    monkeypatch.setattr(keys, "secret_names", lambda _: [])
    monkeypatch.setattr(shutdown.lock, "hand_over", lambda _: None)
    monkeypatch.setattr(shutdown.logging, "shutdown", lambda: None)

    def play(probe: Probe) -> None:
        images.clear()
        requests = StopRequests()
        with requests.heard(), contextlib.suppress(ReplacedError), probe.looking():
            shutdown.replace_process(requests, 0)

    def check() -> None:
        assert images[0].count or images[0].replace

    met = at_every_instruction(play, lambda: signal.raise_signal(number), check)
    assert met > 50


def test_requests_to_stop_that_came_too_late_are_counted_by_the_next_image() -> None:
    old = StopRequests()
    with old.heard():
        old.stop()
        old.stop()
        old.hand_over()
        # A thread that has the signal unblocked takes it, up to the moment when it is gone.
        os.kill(os.getpid(), signal.SIGHUP)
        signal.raise_signal(signal.SIGINT)
        new = next_image()
    assert (new.count, new.replace) == (3, True)


@pytest.mark.parametrize("number", ["", "x", "999", "0"])
def test_foreign_pipe_is_not_listened_to(monkeypatch, number: str) -> None:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    monkeypatch.setenv(signals.HANDED_OVER, str(descriptor) if number == "0" else number)
    requests = StopRequests()
    with requests.heard():
        assert not requests.wait(0)
    assert signals.HANDED_OVER not in os.environ
    if number != "0":
        os.close(descriptor)


def test_signals_are_counted_inside_the_block_only() -> None:
    requests = StopRequests()
    before = signal.getsignal(signal.SIGTERM)
    with requests.heard():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
    assert (requests.count, requests.replace) == (2, True)
    assert signal.getsignal(signal.SIGTERM) is before


def test_hangup_that_somebody_ignores_for_us_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    requests = StopRequests()
    with requests.heard():
        os.kill(os.getpid(), signal.SIGHUP)
    assert not requests.replace


def test_hangup_is_a_request_to_stop_where_nothing_can_be_replaced() -> None:
    requests = StopRequests(hang_up_stops=True)
    with requests.heard():
        os.kill(os.getpid(), signal.SIGHUP)
    assert (requests.count, requests.replace) == (1, False)


def test_signal_ends_a_wait_at_once_also_when_it_comes_to_another_thread() -> None:
    requests = StopRequests()
    with requests.heard():
        thread = threading.Thread(target=signal.raise_signal, args=(signal.SIGTERM,))
        thread.start()
        assert requests.wait()
        thread.join()
    assert requests.count == 1


def test_flood_of_signals_neither_blocks_nor_hides_that_there_was_one() -> None:
    requests = StopRequests()
    with requests.heard():
        for _ in range(66_000):  # more than a pipe holds
            signal.raise_signal(signal.SIGUSR1)
        assert requests.wait(0)
    assert requests.reopen_log


def test_signal_at_any_instruction_of_a_handler_of_the_runner_stops_its_run() -> None:
    stopped: list[bool] = []

    def play(probe: Probe) -> None:
        with process._stopped_by_signals() as stopping:
            with probe.looking():
                signal.raise_signal(signal.SIGTERM)
            stopped[:] = [stopping.is_set()]

    def check() -> None:
        assert stopped == [True]

    assert at_every_instruction(play, lambda: signal.raise_signal(signal.SIGINT), check)
