"""The lock of a base directory, also when somebody removes its files."""

from __future__ import annotations

import os

import pytest

from keruta_agent import errors
from keruta_agent.daemon import lock


def test_second_agent_is_kept_out_although_the_lock_file_was_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PID_PATIENCE_S", 0.0)
    with lock.agent_lock(tmp_path):
        for name in (lock.LOCK_NAME, lock.PID_NAME):
            (tmp_path / name).unlink()
        assert lock.is_held(tmp_path)
        with pytest.raises(errors.AlreadyRunning), lock.agent_lock(tmp_path):
            pass
    assert not lock.is_held(tmp_path)


def test_kernel_tells_who_holds_the_lock_when_the_file_does_not(tmp_path):
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
