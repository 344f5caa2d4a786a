"""RunResult a run whose shim was killed."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from keruta_agent.agent.run.directory import ProcessId
from keruta_agent.agent.run.follower import ProcessWatch, WakeEvent
from keruta_agent.agent.run.processes import kill_tree, marked_processes, sweep
from keruta_agent.core.boot_clock import boot_id
from keruta_agent.core.process_tree.proc import descendants, process_state
from tests.helpers.waiting import wait_until
from tests.integration.agent.run.conftest import UID


def test_sweep_ends_what_a_killed_shim_left_behind(start, tmp_path):
    marker = f"{UID}-{tmp_path}"
    started = start("(setsid bash -c 'trap \"\" TERM; while :; do sleep 1; done' &) ; sleep 300")
    wait_until(lambda: len(marked_processes(marker)) >= 4, "all processes of the run are there")
    os.kill(started.shim_pid, signal.SIGKILL)
    wait_until(lambda: process_state(started.shim_pid) is None, "the shim is gone")
    assert len(sweep(marker, 0.2)) >= 3
    assert marked_processes(marker) == []
    assert started.directory.read_exit() is None


def test_kill_ends_also_what_has_no_marker_any_more(start, tmp_path):
    started = start("(setsid env -i sleep 300 &); exec env -i sleep 301")
    shim = wait_until(started.directory.read_identity, "the shim is there")
    wait_until(lambda: len(_sleeping_below(shim)) == 2, "both sleep")
    pids = _sleeping_below(shim)
    kill_tree(shim, f"{UID}-{tmp_path}")
    states = [process_state(pid) for pid in pids]
    assert all(state is None or state[0] in "ZX" for state in states), states
    wait_until(lambda: not shim.is_alive(), "the shim is gone")


def _sleeping_below(shim: ProcessId) -> list[int]:
    return [
        pid
        for pid in descendants(shim.pid)
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"sleep")
    ]


def test_sweep_touches_nothing_else(start, tmp_path):
    started = start("sleep 300")
    identity = wait_until(started.directory.read_identity, "the shim is there")
    assert sweep("somebody-else", 0.1) == []
    assert identity.is_alive()


def test_watch_wakes_when_a_strange_process_ends(start):
    started = start("sleep 300")
    identity = wait_until(started.directory.read_identity, "the shim is there")
    watch = ProcessWatch(identity, WakeEvent())
    assert not watch.has_ended()
    os.kill(started.shim_pid, signal.SIGTERM)
    watch.wait(30)
    wait_until(watch.has_ended, "the end is seen")
    watch.close()


def test_watch_ends_its_wait_at_a_wake_up(start):
    started = start("sleep 300")
    identity = wait_until(started.directory.read_identity, "the shim is there")
    wake_event = WakeEvent()
    watch = ProcessWatch(identity, wake_event)
    woken = threading.Event()

    def wait() -> None:
        watch.wait(60)
        woken.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    wake_event.wake()
    assert woken.wait(30)
    waiter.join()
    watch.close()


def test_reused_process_number_is_not_taken_for_the_process():
    ours = process_state(os.getpid())
    assert ProcessId(pid=os.getpid(), start_time=ours[1], boot_id=boot_id()).is_alive()
    assert not ProcessId(pid=os.getpid(), start_time=ours[1] + 1, boot_id=boot_id()).is_alive()
    assert not ProcessId(pid=os.getpid(), start_time=ours[1], boot_id="another boot").is_alive()
