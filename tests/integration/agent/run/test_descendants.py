"""The processes below one: all of them at every look, and no stranger."""

from __future__ import annotations

import os
import subprocess

from keruta_agent.agent.run.resources import descendants as module
from keruta_agent.agent.run.resources.descendants import Descendants
from tests.helpers.waiting import wait_until


def numbers(descendants: Descendants) -> set[int]:
    return {member.pid for member in descendants.find()}


def test_child_that_is_started_later_is_found(start):
    started = start("read x; sleep 300 & echo $!; wait", stdin="fifo")
    descendants = Descendants(started.shim_pid)
    wait_until(lambda: numbers(descendants), "the script is found")
    wait_until(started.directory.stdin.exists, "it can be answered")
    started.directory.answer("go")
    child = int(wait_until(started.text, "the child runs"))
    assert child in numbers(descendants)


def test_orphan_stays_a_descendant(start):
    started = start("(setsid sleep 300 & echo $!); sleep 300")
    descendants = Descendants(started.shim_pid)
    orphan = int(wait_until(started.text, "the orphan runs"))
    assert orphan in numbers(descendants)
    assert orphan in numbers(descendants)


def test_strangers_are_no_descendants_and_read_only_once(start, monkeypatch):
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        started = start("sleep 300")
        descendants = Descendants(started.shim_pid)
        wait_until(lambda: numbers(descendants), "the script is found")
        read: list[str] = []
        real = module.read_kernel
        monkeypatch.setattr(module, "read_kernel", lambda path: read.append(path) or real(path))
        found = numbers(descendants)
        assert {stranger.pid, os.getpid(), 1}.isdisjoint(found)
        assert f"/proc/{stranger.pid}/stat" not in read
        assert {f"/proc/{pid}/stat" for pid in found} <= set(read)
    finally:
        stranger.kill()
        stranger.wait()


def test_number_of_threads_is_known(start):
    code = "import threading, time; threading.Thread(target=time.sleep, args=[300]).start()"
    started = start(f"exec python3 -c '{code}'")
    descendants = Descendants(started.shim_pid)
    wait_until(lambda: [m.threads for m in descendants.find()] == [2], "the second thread is seen")
