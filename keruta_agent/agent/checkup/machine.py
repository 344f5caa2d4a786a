"""Checks of the machine: programs, and what the kernel lets a process do."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.agent.checkup.finding import Finding, ok, problem, warning
from keruta_agent.core.boot_clock import boot_id, boot_seconds
from keruta_agent.core.process_tree.proc import process_state

OLDEST_PYTHON: Final = (3, 11)
#: Seconds for a child to do what takes it milliseconds.
PROGRAM_TIMEOUT_S: Final = 5.0
LOOK_S: Final = 0.01


def check_machine() -> Iterator[Finding]:
    """Yield what is found on this machine, whatever the settings are."""
    yield _python()
    yield from _libraries()
    yield _program("bash", "scripts without a #! line run with it", "they run with sh instead")
    yield check_git()
    yield _clock()
    yield _pidfd()
    yield _subreaper()
    yield _input_detection()


def _python() -> Finding:
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST_PYTHON:
        return problem("python", text, "keruta needs Python 3.11 or newer")
    return ok("python", text)


def _libraries() -> Iterator[Finding]:
    for name in ("huey", "sh"):
        try:
            yield ok(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield problem(name, "is not installed", "Install keruta-agent again")


def _program(name: str, use: str, without: str) -> Finding:
    path = shutil.which(name)
    if path is None:
        return warning(name, "is not on the PATH", f"Install it: {use}; {without}")
    return ok(name, path)


def check_git() -> Finding:
    """Return whether git is there and runs."""
    path = shutil.which("git")
    if path is None:
        return warning("git", "is not on the PATH", "Install it: scripts that use it will fail")
    try:
        shown = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        return warning("git", f"{path} does not run: {exc}", "Install it again")
    return ok("git", f"{shown.stdout.strip().removeprefix('git version ')} at {path}")


def _clock() -> Finding:
    try:
        first, boot = boot_seconds(), boot_id()
    except (OSError, AttributeError) as exc:
        return problem(
            "clock",
            f"CLOCK_BOOTTIME or the boot id cannot be read: {exc}",
            "keruta needs Linux with /proc mounted",
        )
    if boot_seconds() < first:
        return problem("clock", "CLOCK_BOOTTIME goes backwards", "Report this kernel")
    return ok("clock", f"CLOCK_BOOTTIME: up for {first / 3600:.1f} h, boot {boot[:8]}")


def _pidfd() -> Finding:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (OSError, AttributeError) as exc:
        return warning(
            "pidfd",
            f"pidfd_open does not work: {exc}",
            "Use Linux 5.3 or newer, or allow the call in the container's seccomp profile; "
            "without it the end of a script is seen a moment later",
        )
    return ok("pidfd", "pidfd_open works: the end of a script is seen at once")


#: Becomes a sub-reaper, lets a grandchild lose its parent, and prints who inherited it.
_ORPHANAGE: Final = """
import ctypes, os, sys
if ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) != 0:
    sys.exit("prctl refused")
reading, writing = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(writing)
        os.read(reading, 1)
    os._exit(0)
os.close(reading)
os.wait()
os.close(writing)
try:
    os.wait()
except ChildProcessError:
    sys.exit("the orphan went to another process")
"""


def _subreaper() -> Finding:
    advice = (
        "Allow prctl(PR_SET_CHILD_SUBREAPER) in the container; without it a process that a script "
        "leaves behind is found by its marker only"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ORPHANAGE],
            capture_output=True,
            text=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
        )
    except OSError as exc:
        return problem("sub-reaper", f"a child process cannot be run: {exc.strerror}", advice)
    except subprocess.TimeoutExpired:
        return problem("sub-reaper", "a child process did not end", advice)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return problem("sub-reaper", f"orphans are not inherited: {reason}", advice)
    return ok("sub-reaper", "works: what a script leaves behind is found and ended")


def _input_detection() -> Finding:
    advice = (
        "Allow ptrace access to own children (yama, seccomp or the container's capabilities); "
        "without it a wait for input is recognized by a prompt-shaped last line"
    )
    reading, writing = os.pipe()
    try:
        with subprocess.Popen(["cat"], stdin=reading, stdout=subprocess.DEVNULL) as child:
            try:
                text = _blocked_call(child.pid)
            finally:
                child.kill()
    except OSError as exc:
        return warning("input detection", f"a child's state cannot be read: {exc}", advice)
    finally:
        os.close(reading)
        os.close(writing)
    if not text or not text.split()[0].isdigit():
        return warning("input detection", "/proc/<pid>/syscall tells nothing", advice)
    return ok("input detection", "/proc/<pid>/syscall of a child can be read")


def _blocked_call(pid: int) -> str:
    """Return the system call in which a child sleeps, empty when it is unknown."""
    deadline = time.monotonic() + PROGRAM_TIMEOUT_S
    text = ""
    while time.monotonic() < deadline:
        state = process_state(pid)
        text = Path(f"/proc/{pid}/syscall").read_text(encoding="ascii").strip()
        if state is not None and state[0] == "S" and text != "running":
            break
        time.sleep(LOOK_S)
    return text
