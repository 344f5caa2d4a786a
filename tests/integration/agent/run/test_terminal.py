"""A run with a terminal: programs behave as in a person's terminal, and no output is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keruta_agent.agent.run import launch
from keruta_agent.agent.run.directory import ProcessId
from keruta_agent.agent.run.input import stdin
from keruta_agent.agent.run.input.waiting import InputDetector, Waiting
from keruta_agent.agent.run.processes import end_input
from keruta_agent.core import errors
from tests.helpers.interactive import AT_A_TERMINAL, SILENT_AT_A_TERMINAL, python
from tests.helpers.waiting import wait_until


def waits(started) -> Waiting:
    detector = InputDetector(started.directory, started.shim)
    return wait_until(detector.look, "it is seen to wait")


def test_all_three_streams_are_one_terminal(start):
    started = start("tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all >&2", stdin="terminal")
    started.exit_record()
    name, all_three = started.text().splitlines()
    assert name == started.directory.terminal.read_text().strip()
    assert all_three == "all"
    assert started.text("stderr") == ""


@pytest.mark.parametrize(
    ("variables", "size"),
    [
        ({}, "24 80"),
        ({"COLUMNS": "120", "LINES": "40"}, "40 120"),
        ({"COLUMNS": "wide", "LINES": "0"}, "24 80"),
    ],
)
def test_window_has_a_size(start, variables, size):
    started = start("stty size", stdin="terminal", environment=variables)
    started.exit_record()
    assert started.text() == f"{size}\n"


def test_terminal_has_a_type_unless_the_script_is_given_one(start):
    script = "echo $TERM"
    bare = start(script, stdin="terminal")
    reported = start(script, stdin="terminal", environment={"TERM": "vt100"})
    bare.exit_record()
    reported.exit_record()
    assert (bare.text(), reported.text()) == ("xterm\n", "vt100\n")


def test_programs_that_wait_at_a_terminal_are_seen(start):
    scripts = {name: script for name, script in AT_A_TERMINAL.items() if script.is_installed}
    runs = {name: start(script.text, stdin="terminal") for name, script in scripts.items()}
    detectors = {name: InputDetector(run.directory, run.shim) for name, run in runs.items()}
    found: dict[str, Waiting] = {}

    def look() -> bool:
        found.update({name: seen for name, d in detectors.items() if (seen := d.look())})
        return len(found) == len(detectors)

    wait_until(look, "all are seen to wait", 60)
    expected = {name: (script.prompt, script.secret) for name, script in scripts.items()}
    assert {name: (seen.prompt, seen.secret) for name, seen in found.items()} == expected


def test_silent_programs_at_a_terminal_are_never_taken_for_waiting(start):
    runs = {
        name: start(script.text, stdin="terminal", environment={"PYTHONUNBUFFERED": "1"})
        for name, script in SILENT_AT_A_TERMINAL.items()
    }
    for name, run in runs.items():
        wait_until(lambda run=run: "ready" in run.text(), f"{name} is ready")
    detectors = {name: InputDetector(run.directory, run.shim) for name, run in runs.items()}
    alarms = {}
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        alarms.update({name: seen for name, d in detectors.items() if (seen := d.look())})
        time.sleep(0.1)
    assert alarms == {}


def test_answer_is_shown_and_read(start):
    started = start("read -p 'お名前: ' x; echo \"hello $x\"", stdin="terminal")
    waits(started)
    started.directory.answer("花子")
    assert started.exit_record().exit_code == 0
    assert started.text() == "お名前: 花子\nhello 花子\n"


def test_secret_answer_is_read_and_shown_nowhere(start):
    code = "import getpass; print(len(getpass.getpass()))"
    started = start(python(code), stdin="terminal")
    assert waits(started).secret
    started.directory.answer("open sesame")
    started.exit_record()
    assert started.text() == "Password: \n11\n"


def test_control_characters_are_keys(start):
    started = start("cat; echo then; sleep 300", stdin="terminal")
    waits(started)
    started.directory.answer("\x04")
    wait_until(lambda: "then" in started.text(), "cat has met its end")
    started.directory.answer("\x03")
    record = started.exit_record()
    assert (record.signal, record.stopped) == (signal.SIGINT, False)


@pytest.mark.parametrize("typed", ["", "half a line"])
def test_input_can_end(start, typed):
    started = start("stty -echo; cat; echo .", stdin="terminal")
    waits(started)
    if typed:
        stdin.write_some(started.directory.stdin, typed.encode())
    end_input(started.shim)
    assert started.exit_record().exit_code == 0
    assert started.text() == f"{typed}.\n"


def test_full_screen_program_reads_keys(start):
    code = (
        "import curses\n"
        "s = curses.initscr(); s.addstr('menu'); s.refresh()\n"
        "key = s.getkey(); size = s.getmaxyx(); curses.endwin(); print(key, *size)"
    )
    started = start(python(code), stdin="terminal")
    assert waits(started).prompt == "menu"
    started.directory.answer("q")
    assert started.exit_record().exit_code == 0
    assert started.text().splitlines()[-1].endswith("q 24 80")


@pytest.mark.skipif(not Path("/usr/bin/vi").exists(), reason="no vi")
def test_editor_edits(start, tmp_path):
    file = tmp_path / "text"
    file.write_text("hello\n")
    started = start(f"vi -u NONE {file}", stdin="terminal", environment={"HOME": str(tmp_path)})
    waits(started)
    started.directory.answer("Aworld\x1b:wq\n")
    started.exit_record()
    assert file.read_text() == "helloworld\n"


def test_progress_bar_is_drawn_as_in_a_persons_terminal(start):
    code = (
        "import sys\n"
        "assert sys.stdout.isatty()\n"
        "for n in range(3): print(f'\\r{n}/2', end='', flush=True)\n"
        "print()"
    )
    started = start(python(code), stdin="terminal")
    assert started.exit_record().exit_code == 0
    assert (started.directory.path / "stdout").read_bytes() == b"\r0/2\r1/2\r2/2\n"


@pytest.mark.parametrize("beside", ["", "sleep 300 &", "(setsid sleep 300 &)"])
def test_output_is_complete_whoever_holds_the_terminal(start, beside):
    started = start(f"{beside}\nseq 50000; printf end", stdin="terminal")
    started.exit_record()
    expected = "".join(f"{number}\n" for number in range(1, 50001)) + "end"
    assert started.text() == expected


def test_exit_code_and_signal_are_the_scripts_own(start):
    assert start("exit 7", stdin="terminal").exit_record().exit_code == 7
    assert start("kill -9 $$", stdin="terminal").exit_record().signal == signal.SIGKILL


def test_script_that_signals_its_whole_group_does_not_hit_its_shim(start):
    record = start("trap '' HUP; kill -TERM 0; sleep 300", stdin="terminal").exit_record()
    assert (record.signal, record.stopped) == (signal.SIGTERM, False)


def test_script_can_be_stopped(start):
    started = start("echo begun; sleep 300", stdin="terminal")
    wait_until(lambda: started.text() == "begun\n", "it runs")
    os.kill(started.shim_pid, signal.SIGTERM)
    record = started.exit_record()
    assert (record.stopped, record.signal) == (True, signal.SIGTERM)


@pytest.mark.parametrize("mode", ["fifo", "terminal"])
def test_what_a_script_leaves_behind_may_end_in_order(start, mode):
    """In a person's terminal the kernel would kill it with SIGHUP, together with the script."""
    leftover = "(trap 'echo tidied up; exit' TERM; echo ready; while :; do sleep 0.05; done) &"
    wait = 'while ! grep -q ready "${0%/*}/stdout"; do sleep 0.05; done'
    started = start(f"{leftover}\n{wait}\nexit 3", stdin=mode)
    assert started.exit_record().exit_code == 3
    assert started.text().endswith("tidied up\n")


def test_program_that_does_not_exist_is_recorded_as_not_started(start):
    record = start(command=["/no/such/program"], stdin="terminal").exit_record()
    assert record.error == "/no/such/program: No such file or directory"


def test_long_line_is_refused_rather_than_cut(start):
    started = start("read -r x; echo ${#x}", stdin="terminal")
    waits(started)
    with pytest.raises(errors.InputRefused, match="4095 bytes: 4094 is the most"):
        started.directory.answer("x" * 4095)
    started.directory.answer("x" * 4094)
    started.exit_record()
    assert started.text().endswith("\n4094\n")


def test_many_lines_arrive_when_the_script_comes_to_them(start):
    started = start(
        'stty -echo; echo; sleep 0.5; n=0; while read -r x && [ -n "$x" ]; do n=$((n + ${#x})); '
        "done; echo $n",
        stdin="terminal",
    )
    wait_until(lambda: started.text() == "\n", "it is about to read")
    started.directory.answer("\n".join(["x" * 1000] * 60) + "\n\n")
    started.exit_record()
    assert started.text() == "\n60000\n"


_LAUNCHER = """
import pathlib, sys, time
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.launch import Launcher, LaunchPlan
directory = RunDirectory(pathlib.Path(sys.argv[1]))
directory.create()
script = directory.write_script('read -p "first: " a; read -p "second: " b; echo "$a $b"; exit 5')
Launcher().start(LaunchPlan(directory=directory, command=["bash", str(script)],
    working_directory=pathlib.Path("/"), environment={"PATH": "/usr/bin:/bin"}, grace_s=1,
    stdin=sys.argv[2]), lambda commitment: None)
time.sleep(300)
"""


@pytest.mark.parametrize("mode", ["fifo", "terminal"])
def test_input_outlives_whoever_launched_the_script(tmp_path, mode):
    path = tmp_path / "run"
    launcher = subprocess.Popen([sys.executable, "-c", _LAUNCHER, str(path), mode])
    directory = launch.RunDirectory(path)
    shim: ProcessId = wait_until(directory.read_identity, "the shim is there")
    detector = InputDetector(directory, shim)
    wait_until(detector.look, "it asks for the first time")
    launcher.kill()
    launcher.wait()
    for answer in ("one", "two"):
        wait_until(detector.look, "it asks")
        directory.answer(answer)
        detector.forget()
    assert wait_until(directory.read_exit, "it has ended").exit_code == 5
    assert (path / "stdout").read_text().splitlines()[-1].endswith("one two")
    wait_until(lambda: not shim.is_alive(), "the shim has ended")


#: Runs the shim with a disk that is full for the first attempts to store output.
_FULL_DISK = """
import os, runpy, sys, time
full = 3
write = os.write

def write_if_room(descriptor, data):
    global full
    if full and os.readlink(f"/proc/self/fd/{descriptor}").endswith("/stdout"):
        full -= 1
        if full == 1:
            return write(descriptor, data[:1])
        open("was-full", "w").close()
        raise OSError(28, "No space left on device")
    return write(descriptor, data)

os.write = write_if_room
sleep = time.sleep
time.sleep = lambda seconds: sleep(0.01)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_full_disk_holds_the_script_up_and_loses_nothing(start, tmp_path, monkeypatch):
    faulty = tmp_path / "faulty.py"
    faulty.write_text(_FULL_DISK)
    real = launch.shim.__file__
    program = launch.sh.Command

    def with_full_disk(python):
        return lambda *arguments, **options: program(python)(
            *arguments[:2], str(faulty), real, *arguments[3:], **options
        )

    monkeypatch.setattr(launch.sh, "Command", with_full_disk)
    started = start("seq 10000", stdin="terminal")
    started.exit_record()
    assert (started.directory.path / "was-full").exists()
    assert started.text() == "".join(f"{number}\n" for number in range(1, 10001))
