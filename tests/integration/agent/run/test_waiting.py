"""Waiting for input: seen of every kind of program that waits, and of none that is silent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import pytest

from keruta_agent.agent.run.input import blocked
from keruta_agent.agent.run.input.waiting import InputDetector, Waiting
from keruta_agent.core import errors
from tests.helpers.interactive import SILENT, WAITING
from tests.helpers.waiting import wait_until

#: Seconds for which silent scripts are looked at: several times what a wait takes to be seen.
WATCHED_S = 2.0


def waits(started) -> Waiting:
    detector = InputDetector(started.directory, started.shim)
    return wait_until(detector.look, "it is seen to wait")


def test_waiting_programs_are_seen_with_their_prompts(start):
    scripts = {name: script for name, script in WAITING.items() if script.is_installed}
    assert len(scripts) >= 20
    variables = {"PYTHONUNBUFFERED": "1"}
    runs = {
        name: start(script.text, stdin="fifo", environment=variables)
        for name, script in scripts.items()
    }
    detectors = {name: InputDetector(run.directory, run.shim) for name, run in runs.items()}
    found: dict[str, Waiting] = {}

    def look() -> bool:
        for name in detectors.keys() - found.keys():
            waiting = detectors[name].look()
            if waiting is not None:
                found[name] = waiting
        return len(found) == len(detectors)

    wait_until(look, "all are seen to wait", 60)
    expected = {name: (script.prompt, script.secret) for name, script in scripts.items()}
    assert {name: (seen.prompt, seen.secret) for name, seen in found.items()} == expected


def are_ready(runs) -> None:
    for name, run in runs.items():
        wait_until(lambda run=run: "ready" in run.text(), f"{name} is ready", 60)


def test_silent_programs_are_never_taken_for_waiting(start, tmp_path):
    scripts = {name: script for name, script in SILENT.items() if script.is_installed}
    assert len(scripts) >= 20
    # Last: all others would get ready beside it.
    scripts["busy loop"] = scripts.pop("busy loop")
    runs = {}
    for number, (name, script) in enumerate(scripts.items()):
        if name == "busy loop":
            are_ready(runs)
        place = tmp_path / f"place-{number}"
        place.mkdir()
        variables = {"KERUTA_PLACE": str(place), "PYTHONUNBUFFERED": "1"}
        runs[name] = start(script.text, stdin="fifo", environment=variables)
    are_ready(runs)
    detectors = {name: InputDetector(run.directory, run.shim) for name, run in runs.items()}
    alarms = {}
    deadline = time.monotonic() + WATCHED_S
    while time.monotonic() < deadline:
        alarms.update({name: seen for name, d in detectors.items() if (seen := d.look())})
        time.sleep(0.1)
    assert alarms == {}
    assert [name for name, run in runs.items() if run.directory.exit.exists()] == []


def test_script_gets_its_answers_line_by_line(start):
    started = start('printf "Name: "; read a; printf "Age: "; read b; echo "$a/$b"', stdin="fifo")
    detector = InputDetector(started.directory, started.shim)
    for prompt, answer in [("Name:", "花子"), ("Age:", "42\n")]:
        waiting = wait_until(detector.look, "it asks")
        assert waiting.prompt == prompt
        started.directory.answer(answer)
        detector.forget()
    assert started.exit_record().exit_code == 0
    assert started.text().endswith("花子/42\n")
    assert detector.look() is None


def test_wait_ends_when_the_answer_is_there(start):
    started = start("read x; sleep 300", stdin="fifo")
    detector = InputDetector(started.directory, started.shim)
    wait_until(detector.look, "it waits")
    started.directory.answer("on")
    wait_until(lambda: detector.look() is None, "it goes on")


def test_answer_before_the_question_is_kept_for_it(start):
    started = start("sleep 0.5; read x; echo got $x", stdin="fifo")
    wait_until(started.directory.stdin.exists, "it has an input")
    wait_until(lambda: answered(started, "early"), "somebody reads")
    assert started.exit_record().exit_code == 0
    assert started.text() == "got early\n"


def answered(started, text: str) -> bool:
    try:
        started.directory.answer(text)
    except errors.InputRefused:
        return False
    return True


def test_answer_of_the_pipes_whole_size_arrives(start):
    started = start("read -r x; echo ${#x}", stdin="fifo")
    waits(started)
    started.directory.answer("x" * 65535)
    started.exit_record()
    assert started.text() == "65535\n"


def test_answer_that_is_too_long_is_refused(start):
    started = start("read -r x", stdin="fifo")
    waits(started)
    with pytest.raises(errors.InputRefused, match="65537 bytes: 65536 is the most"):
        started.directory.answer("x" * 65536)
    assert InputDetector(started.directory, started.shim).look() is None
    waits(started)


@pytest.mark.parametrize("size", [100, 5000])
def test_answers_that_nobody_takes_are_refused_at_last(start, size):
    started = start("sleep 300", stdin="fifo")
    wait_until(lambda: answered(started, "first"), "somebody could read")
    with pytest.raises(errors.InputRefused, match="has not read the answer before"):
        for _ in range(1000):
            started.directory.answer("x" * size)


def test_script_that_closed_its_input_cannot_be_answered(start):
    started = start("exec 0<&-; touch closed; sleep 300", stdin="fifo")
    wait_until((started.directory.path.parent / "closed").exists, "it has closed it")
    with pytest.raises(errors.InputRefused, match="nothing of it reads"):
        started.directory.answer("hello")
    assert InputDetector(started.directory, started.shim).look() is None


def test_script_that_ended_cannot_be_answered(start):
    started = start("true", stdin="fifo")
    started.exit_record()
    wait_until(lambda: not started.shim.is_alive(), "its shim has ended")
    with pytest.raises(errors.InputRefused):
        started.directory.answer("hello")


def test_run_without_an_input_neither_waits_nor_takes_answers(start):
    """So are runs that an earlier version of the agent has started."""
    started = start("cat; echo done; sleep 300")
    wait_until(lambda: started.text() == "done\n", "it has met the end of its input")
    assert not started.directory.stdin.exists()
    assert InputDetector(started.directory, started.shim).look() is None
    with pytest.raises(errors.InputRefused):
        started.directory.answer("hello")


@pytest.mark.parametrize(
    "replacement",
    ["ln -s /dev/zero stdin", "mkdir stdin", "echo > stdin", "ln -s /proc/self/mem stdin", ":"],
)
def test_input_that_the_script_replaced_is_left_alone(start, replacement):
    started = start('cd "${0%/*}" && rm stdin && ' + replacement + "; echo ok; cat", stdin="fifo")
    wait_until(lambda: started.text() == "ok\n", "it has spoilt its directory")
    assert InputDetector(started.directory, started.shim).look() is None
    with pytest.raises(errors.InputRefused):
        started.directory.answer("hello")


def test_script_cannot_read_back_what_it_writes_to_its_input(start):
    started = start("echo mine >&0; echo $?", stdin="fifo")
    started.exit_record()
    assert started.text() == "1\n"


def test_input_is_for_this_user_only(start):
    started = start("read x", stdin="fifo")
    waits(started)
    assert started.directory.stdin.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("script", "prompt"),
    [
        ("printf 'Continue? [y/N] '; read x", "Continue? [y/N]"),
        ("printf 'お名前： '; read x", "お名前："),
        ("printf 'working...'; sleep 300", None),
        ("echo 'Name:'; sleep 300", None),
    ],
)
def test_kernel_without_an_answer_is_replaced_by_a_guess(start, monkeypatch, script, prompt):
    def refuse(pid: int, thread: int) -> str | None:
        raise blocked.UntellableError

    monkeypatch.setattr(blocked, "read_call", refuse)
    started = start(script, stdin="fifo")
    wait_until(lambda: started.text(), "it has written something")
    detector = InputDetector(started.directory, started.shim)
    if prompt is not None:
        assert wait_until(detector.look, "it is taken to wait").prompt == prompt
        return
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert detector.look() is None
        time.sleep(0.2)


#: Starts a script that nobody may look into, as sudo and ssh-agent are, and prints its prompt.
_LOOK_AT_A_CLOSED_PROGRAM = """
import pathlib, sys, time
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.launch import Launcher, LaunchPlan
from keruta_agent.agent.run.input.waiting import InputDetector
directory = RunDirectory(pathlib.Path(sys.argv[1]))
directory.create()
code = "import ctypes; ctypes.CDLL(None).prctl(4, 0); input(sys.argv[1])"
shim = Launcher().start(LaunchPlan(directory=directory,
    command=[sys.executable, "-c", "import sys; " + code, "Your name: "],
    working_directory=pathlib.Path("/"), environment={}, grace_s=1, stdin="fifo"),
    lambda commitment: None)
detector = InputDetector(directory, shim)
while (waiting := detector.look()) is None:
    time.sleep(detector.interval_s)
print(waiting.prompt, "by guess" if waiting.pid == shim.pid else "by sight")
directory.answer("x")
while shim.is_alive():
    time.sleep(0.05)
"""


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="no setpriv")
def test_program_that_the_kernel_hides_is_guessed_at(tmp_path):
    # Root may look into everything, unless it lacks this capability.
    drop = ["setpriv", "--bounding-set", "-sys_ptrace"] if os.geteuid() == 0 else []
    done = subprocess.run(
        [*drop, sys.executable, "-c", _LOOK_AT_A_CLOSED_PROGRAM, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("Your name: by guess\n", "")
