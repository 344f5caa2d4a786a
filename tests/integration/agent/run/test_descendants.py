"""The processes below one: all of them at every look, and no stranger."""

from __future__ import annotations

import os
import subprocess

from keruta_agent.agent.run import family as families
from keruta_agent.agent.run.family import Family
from tests.helpers.waiting import wait_until


def numbers(family: Family) -> set[int]:
    return {member.pid for member in family.members()}


def test_child_that_is_started_later_is_found(start):
    started = start("read x; sleep 300 & echo $!; wait", stdin="fifo")
    family = Family(started.shim_pid)
    wait_until(lambda: numbers(family), "the script is found")
    wait_until(started.directory.stdin.exists, "it can be answered")
    started.directory.answer("go")
    child = int(wait_until(started.text, "the child runs"))
    assert child in numbers(family)


def test_orphan_stays_in_its_family(start):
    started = start("(setsid sleep 300 & echo $!); sleep 300")
    family = Family(started.shim_pid)
    orphan = int(wait_until(started.text, "the orphan runs"))
    assert orphan in numbers(family)
    assert orphan in numbers(family)


def test_strangers_are_no_members_and_read_only_once(start, monkeypatch):
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        started = start("sleep 300")
        family = Family(started.shim_pid)
        wait_until(lambda: numbers(family), "the script is found")
        read: list[str] = []
        real = families.read_kernel
        monkeypatch.setattr(families, "read_kernel", lambda path: read.append(path) or real(path))
        found = numbers(family)
        assert {stranger.pid, os.getpid(), 1}.isdisjoint(found)
        assert f"/proc/{stranger.pid}/stat" not in read
        assert {f"/proc/{pid}/stat" for pid in found} <= set(read)
    finally:
        stranger.kill()
        stranger.wait()


def test_number_of_threads_is_known(start):
    code = "import threading, time; threading.Thread(target=time.sleep, args=[300]).start()"
    started = start(f"exec python3 -c '{code}'")
    family = Family(started.shim_pid)
    wait_until(lambda: [m.threads for m in family.members()] == [2], "the second thread is seen")
