"""The lock of a base directory, also when somebody removes its files."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keruta_agent.agent.daemon import lock
from keruta_agent.core import errors


def test_second_agent_is_kept_out_although_the_lock_file_was_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PID_TIMEOUT_S", 0.0)
    with lock.agent_lock(tmp_path):
        for name in (lock.LOCK_NAME, lock.PID_NAME):
            (tmp_path / name).unlink()
        assert lock.is_held(tmp_path)
        with pytest.raises(errors.AlreadyRunning), lock.agent_lock(tmp_path):
            pass
    assert not lock.is_held(tmp_path)


def test_kernel_names_the_holder_of_the_lock_when_the_file_does_not(tmp_path):
    with lock.agent_lock(tmp_path):
        (tmp_path / lock.PID_NAME).unlink()
        assert lock.holder(tmp_path) == os.getpid()
    assert lock.holder(tmp_path) is None


def test_file_system_that_locks_no_directories_is_no_hindrance(tmp_path, monkeypatch):
    real = lock.fcntl.flock

    def refuses(descriptor, operation):
        if os.path.samestat(os.fstat(descriptor), tmp_path.stat()):
            raise OSError(9, "Bad file descriptor")
        return real(descriptor, operation)

    monkeypatch.setattr(lock.fcntl, "flock", refuses)
    with lock.agent_lock(tmp_path):
        assert lock.is_held(tmp_path)


_REPLACED = """
import os, sys
from pathlib import Path
from keruta_agent.agent.daemon import lock

if len(sys.argv) == 3:
    sys.stdin.readline()  # nobody has taken the lock over yet
with lock.agent_lock(Path(sys.argv[1])) as held:
    if len(sys.argv) == 2:
        print("replaces itself", flush=True)
        lock.hand_over(held)
        os.execv(sys.executable, [*sys.orig_argv, "again"])
    print("holds it", os.get_inheritable(held), lock.HANDED_OVER in os.environ, flush=True)
    sys.stdin.readline()
"""


def test_process_that_replaces_itself_keeps_the_lock_all_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PID_TIMEOUT_S", 0.0)
    with subprocess.Popen(
        [sys.executable, "-c", _REPLACED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout.readline() == "replaces itself\n"
        for _ in range(20):
            with pytest.raises(errors.AlreadyRunning), lock.agent_lock(tmp_path):
                pass
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "holds it False False\n"
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait() == 0
    assert not lock.is_held(tmp_path)
