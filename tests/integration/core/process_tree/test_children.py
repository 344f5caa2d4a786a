"""What is left behind comes to the process that answers for it, and ends there."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keruta_agent.core.process_tree.proc import process_state
from tests.helpers.waiting import wait_until

#: A program whose child hides as well as it can, and is then killed.
_PROGRAM = """
import os, signal, sys, time
from pathlib import Path
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.process_tree.program import take_charge
take_charge()
note = Path(sys.argv[1])
hidden = f"env -i setsid sh -c 'echo $$ > {note}.new; mv {note}.new {note}; exec sleep 1000' & wait"
child = OWN.spawn(["sh", "-c", hidden], start_new_session=True)
while not note.exists():
    time.sleep(0.01)
child.kill()
child.wait()
other = OWN.spawn(["sleep", "1000"])
ended = OWN.end_orphans(0.0)
print(int(note.read_text()) in ended, other.poll())
other.kill()
other.wait()
"""
#: A program that had a child before it began: others' processes may come to it as well.
_WITH_CHILD = """
import subprocess, sys, time
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.process_tree.program import take_charge
before = subprocess.Popen(["sleep", "1000"])
take_charge()
print(OWN.end_orphans(0.0), before.poll())
before.kill()
before.wait()
"""
#: Starts a program as one is started whose parent ignores and blocks signals.
_IGNORING = """
import os, signal, sys
for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGINT, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
_SHOWS_CHILDREN = """
import os, signal, subprocess
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.process_tree.dispositions import is_ignored
from keruta_agent.core.process_tree.program import take_charge
take_charge()
child = OWN.spawn(["grep", "-E", "Sig(Ign|Blk)", "/proc/self/status"], stdout=subprocess.PIPE)
print(child.communicate()[0].decode().split())
print(OWN.spawn(["sh", "-c", "exit 3"]).wait())
os.kill(os.getpid(), signal.SIGHUP)
print("lives", is_ignored(signal.SIGHUP), is_ignored(signal.SIGTERM))
"""


def output_of(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def has_ended(pid: int) -> bool:
    state = process_state(pid)
    return state is None or state[0] in "ZX"


def test_process_that_hides_is_ended_when_its_parent_was_killed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    assert output_of(_PROGRAM, note).split() == ["True", "None"]
    assert has_ended(int(note.read_text()))


def test_children_of_others_are_left_alone() -> None:
    assert output_of(_WITH_CHILD).strip() == "[] None"


def test_what_a_parent_did_to_signals_ends_here() -> None:
    shown, code, fate = output_of(_IGNORING, _SHOWS_CHILDREN).splitlines()
    assert shown == str(["SigBlk:", "0" * 16, "SigIgn:", "0" * 16])
    assert code == "3"
    assert fate == "lives True False"


_COMMAND = """
import sys
from pathlib import Path
from keruta_agent.core.process_tree.program import take_charge
from keruta_agent.runner.checks.commands import CommandExecutor
take_charge()
result = CommandExecutor().execute(sys.argv[1], Path(sys.argv[2]))
print(result.success, result.exit_code, result.stderr.strip())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_command_that_kills_its_supervisor_has_not_succeeded(
    tmp_path: Path, number: signal.Signals
) -> None:
    hidden = "env -i setsid sh -c 'echo $$ > new; mv new pid; exec sleep 1000' &"
    ready = "while [ ! -e pid ]; do sleep 0.01; done"
    command = f"{hidden} {ready}; kill -{int(number)} $PPID; sleep 9"
    said = output_of(_COMMAND, command, tmp_path)
    assert said == "False -1 what looked after the command was killed\n"
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: has_ended(pid), "nothing of the command is left")


def test_command_is_not_taken_for_a_success_where_nobody_hears_how_it_ended(
    tmp_path: Path,
) -> None:
    """A program that embeds the executor may ignore SIGCHLD itself."""
    code = (
        "import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
        "from pathlib import Path; from keruta_agent.runner.checks.commands import CommandExecutor;"
        "print(CommandExecutor().execute('exit 3', Path(sys.argv[1])).exit_code)"
    )
    assert output_of(code, tmp_path) == "3\n"
