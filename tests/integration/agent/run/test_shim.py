"""The shim: starts one script at most once, records its end, and leaves no process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keruta_agent.agent.run import launch, shim
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.core.process_tree.proc import process_state
from tests.helpers.waiting import wait_until


def written_pid(path: Path) -> int:
    return int(wait_until(lambda: path.exists() and path.read_text().strip(), f"{path} is there"))


def is_gone(pid: int) -> bool:
    state = process_state(pid)
    return state is None or state[0] == "Z"


@pytest.mark.parametrize("code", [0, 1, 7, 130, 137, 255])
def test_exit_code_is_recorded(start, code):
    record = start(f"exit {code}").exit_record()
    assert (record.exit_code, record.signal, record.error) == (code, None, None)


def test_files_of_a_run_are_for_its_user_alone(start):
    started = start("umask; sleep 300 & exit 0")
    started.exit_record()
    modes = {path.name: path.stat().st_mode & 0o077 for path in started.directory.path.iterdir()}
    assert {"identity", "process", "exit", "signals", "stdout"} <= set(modes)
    assert set(modes.values()) == {0}
    usual = subprocess.run(["sh", "-c", "umask"], capture_output=True, check=True).stdout
    assert started.text("stdout").encode() == usual  # that of the script is left alone


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_death_by_signal_is_distinguished_from_an_exit_code(start, number):
    record = start(f"kill -{number.value} $$; sleep 60").exit_record()
    assert (record.exit_code, record.signal) == (None, number.value)


@pytest.mark.parametrize("stdin", ["none", "fifo", "terminal"])
def test_script_is_the_first_to_go_when_memory_runs_out_and_the_shim_is_not(start, stdin):
    ours = int(Path("/proc/self/oom_score_adj").read_text())
    started = start(
        "cat /proc/self/oom_score_adj\n"
        f"until [ $(cat /proc/$PPID/oom_score_adj) = {ours} ]; do sleep 0.01; done",
        stdin=stdin,
    )
    assert started.exit_record().exit_code == 0
    assert int(started.text()) == max(ours, 500)


def test_output_goes_to_two_files_byte_by_byte(start):
    started = start("printf 'a\\0b\\n'; printf '日本語' >&2")
    started.exit_record()
    assert (started.directory.path / "stdout").read_bytes() == b"a\0b\n"
    assert started.text("stderr") == "日本語"


def test_script_that_reads_its_input_ends_at_once(start):
    record = start("cat; echo done").exit_record()
    assert record.exit_code == 0


def test_program_that_does_not_exist_is_recorded_as_not_started(start):
    record = start(command=["/no/such/program"]).exit_record()
    assert record.error == "/no/such/program: No such file or directory"


def test_directory_that_does_not_exist_is_recorded_as_not_started(start, tmp_path):
    record = start("true", cwd=tmp_path / "gone").exit_record()
    assert "No such file or directory" in record.error


def test_script_gets_the_default_signals_back(start):
    """Python ignores SIGPIPE; a script whose reader has gone must die of it."""
    started = start("yes | head -n 1; echo ${PIPESTATUS[0]}")
    started.exit_record()
    assert started.text() == "y\n141\n"


@pytest.mark.parametrize(
    "escape",
    ["{} &", "(setsid {} &)", "env -i setsid {} >/dev/null 2>&1 &"],
    ids=["background", "double fork and setsid", "without its environment"],
)
def test_process_that_a_script_leaves_behind_is_ended(start, tmp_path, escape):
    pid_file = tmp_path / "pid"
    leftover = escape.format(f"bash -c 'echo $$ > {pid_file}; exec sleep 300'")
    started = start(f"{leftover}\nwhile ! [ -s {pid_file} ]; do sleep 0.02; done\nexit 3")
    record = started.exit_record()
    assert record.exit_code == 3
    assert record.swept >= 1
    assert is_gone(written_pid(pid_file))


def test_exit_record_means_that_nothing_is_left(start, tmp_path):
    started = start(
        f"(trap '' TERM; echo $BASHPID > {tmp_path}/pid; sleep 300) & sleep 0.2", grace_s=1
    )
    pid = written_pid(tmp_path / "pid")
    record = started.exit_record()
    assert is_gone(pid)
    assert record.swept >= 1


def test_stopped_shim_ends_script_and_children_and_says_so(start, tmp_path):
    started = start(f"sleep 300 & echo $! > {tmp_path}/pid; wait")
    child = written_pid(tmp_path / "pid")
    os.kill(started.shim_pid, signal.SIGTERM)
    record = started.exit_record()
    assert record.stopped
    assert record.signal == signal.SIGTERM
    assert is_gone(child)


def test_script_that_ignores_the_request_is_killed_after_the_grace(start, tmp_path):
    started = start(
        f"trap '' TERM; echo $$ > {tmp_path}/pid; while :; do sleep 1; done", grace_s=0.3
    )
    pid = written_pid(tmp_path / "pid")
    os.kill(started.shim_pid, signal.SIGTERM)
    record = started.exit_record()
    assert record.stopped
    assert record.signal == signal.SIGKILL
    assert is_gone(pid)


def test_frozen_script_can_be_stopped(start, tmp_path):
    started = start(f"echo $$ > {tmp_path}/pid; kill -STOP $$; sleep 300")
    pid = written_pid(tmp_path / "pid")
    wait_until(lambda: process_state(pid)[0] == "T", "the script has frozen itself")
    os.kill(started.shim_pid, signal.SIGTERM)
    assert started.exit_record().stopped


def test_script_is_not_started_where_it_was_forbidden(start, tmp_path):
    directory = RunDirectory(tmp_path / "forbidden")
    directory.create()
    assert directory.prevent_start()
    proof = tmp_path / "ran"
    forbidden = directory.write_script(f"touch {proof}")
    started = launch.Launcher().start(
        launch.LaunchPlan(
            directory=directory,
            command=["bash", str(forbidden)],
            working_directory=tmp_path,
            environment={"PATH": os.environ["PATH"]},
            grace_s=1,
        ),
        lambda commitment: None,
    )
    wait_until(lambda: not started.is_alive(), "the shim has ended")
    assert not proof.exists()
    assert directory.read_exit() is None
    assert directory.read_identity() is None


def test_waiting_shim_is_used_for_the_next_script_only(tmp_path):
    launcher = launch.Launcher()
    launcher.prepare()
    waiting = launcher._spare.process
    shims = []
    for number in range(2):
        directory = RunDirectory(tmp_path / f"run-{number}")
        directory.create()
        plan = launch.LaunchPlan(
            directory=directory,
            command=["sh", "-c", "exit 5"],
            working_directory=tmp_path,
            environment={"PATH": os.environ["PATH"]},
            grace_s=1,
        )
        shims.append(launcher.start(plan, lambda commitment: None))
        assert wait_until(directory.read_exit, "the script has ended").exit_code == 5
    assert shims[0] == waiting
    assert shims[1] != waiting


@pytest.mark.parametrize("mode", [os.O_RDONLY, os.O_WRONLY])
def test_instructions_of_a_waiting_shim_nobody_can_read_or_write(mode):
    launcher = launch.Launcher()
    launcher.prepare()
    instructions = launcher._spare._instructions
    try:
        with pytest.raises(OSError, match="No such device or address"):
            os.open(f"/proc/{os.getpid()}/fd/{instructions}", mode | os.O_NONBLOCK)
    finally:
        launcher.close()


def test_waiting_shim_that_was_killed_is_replaced(start, tmp_path):
    launcher = launch.Launcher()
    launcher.prepare()
    killed = launcher._spare.process
    os.kill(killed.pid, signal.SIGKILL)
    wait_until(lambda: not killed.is_alive(), "it is dead")
    launcher.prepare()
    assert launcher._spare.process.is_alive()
    launcher.close()


def test_waiting_shim_ends_with_whoever_keeps_it(tmp_path):
    """Its pipe is the only thing that holds it: kill -9 of the daemon closes that, too."""
    launcher = launch.Launcher()
    launcher.prepare()
    waiting = launcher._spare.process
    os.close(launcher._spare._instructions)
    wait_until(lambda: not waiting.is_alive(), "it has ended")


def test_torn_instructions_start_nothing():
    plan = [shim.WITH_SECRET, b"5ec4e7", b"/tmp", b"/tmp", b"1", b"fifo", b"1", b"true", b"A=1"]
    whole = b"\0".join([*plan, shim.END])
    assert shim.read_instructions(whole) is not None
    for length in range(len(whole)):
        assert shim.read_instructions(whole[:length]) is None


def test_start_cannot_be_forbidden_once_the_shim_was_first(start):
    started = start("sleep 300")
    wait_until(started.directory.identity.exists, "the shim has claimed the start")
    assert not started.directory.prevent_start()
    assert started.directory.read_identity().pid == started.shim_pid


def test_identity_names_one_process_for_ever(start):
    started = start("sleep 300")
    identity = wait_until(started.directory.read_identity, "the shim has said who it is")
    assert identity.is_alive()
    os.kill(started.shim_pid, signal.SIGTERM)
    wait_until(lambda: not identity.is_alive(), "the shim has ended")


def test_used_processor_time_is_recorded(start):
    record = start("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").exit_record()
    assert record.user_s + record.system_s > 0
    assert record.ended_at >= record.started_at


def test_script_that_ended_just_before_the_request_was_not_stopped(start, tmp_path):
    started = start(f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    wait_until((tmp_path / "begun").exists, "the script runs")
    script = wait_until(started.directory.read_process, "its process is known")
    os.kill(started.shim_pid, signal.SIGSTOP)  # so that it learns of both at the same time
    (tmp_path / "go").touch()
    wait_until(lambda: not script.is_alive(), "the script has ended")
    os.kill(started.shim_pid, signal.SIGTERM)
    os.kill(started.shim_pid, signal.SIGCONT)
    record = started.exit_record()
    assert (record.exit_code, record.stopped) == (0, False)


#: Says what a shim has loaded beyond os and sys when it starts a script.
_LOADED = """
import os, sys
bare = set(sys.modules)
sys.argv = [sys.argv[1]]
sys.path.append(sys.argv[0].rpartition("/keruta_agent/")[0])
exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"), {"__name__": "shim"})
print(*sorted(set(sys.modules) - bare))
"""


def test_shim_loads_next_to_nothing_before_a_start():
    """Each module here delays every script; the terminal's are for those that ask for one."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LOADED, shim.__file__],
        capture_output=True,
        text=True,
        check=True,
    )
    tree = {
        "keruta_agent.core.process_tree",
        *(f"keruta_agent.core.process_tree.{m}" for m in ("proc", "prctl", "watch")),
    }
    runs = {"keruta_agent.agent.run", "keruta_agent.agent.run.evidence"}
    bare = {"__future__", "_ctypes", "_json", "errno"}
    packages = {"keruta_agent", "keruta_agent.core", "keruta_agent.agent"}
    assert set(done.stdout.split()) <= {*bare, *packages, *tree, *runs}


#: Runs the shim with a disk that is full for its first attempts to store some file.
_FULL_DISK = """
import builtins, runpy, sys
room = {{}}
opened = builtins.open

def full(file, mode="r", *rest, **more):
    name = str(file).split(".")[0]
    if name in {names!r} and mode != "r":
        room[name] = room.get(name, 0) + 1
        if room[name] <= 2:
            raise OSError(28, "No space left on device")
    return opened(file, mode, *rest, **more)

builtins.open = full
sys.argv = sys.argv[1:]
import time
sleep = time.sleep
time.sleep = lambda seconds: sleep(0.01)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("names", [("exit",), ("process", "signals"), ("process", "exit")])
def test_end_of_a_script_is_recorded_when_there_is_room_on_the_disk_again(
    start, tmp_path, monkeypatch, names
):
    faulty = tmp_path / "faulty.py"
    faulty.write_text(_FULL_DISK.format(names=names))
    real = launch.shim.__file__
    monkeypatch.setattr(launch.shim, "__file__", str(faulty))
    program = launch.sh.Command

    def with_shim(python):
        return lambda *arguments, **options: program(python)(
            *arguments[:3], real, *arguments[3:], **options
        )

    monkeypatch.setattr(launch.sh, "Command", with_shim)
    started = start("sleep 300 & exit 7")
    record = started.exit_record()
    assert (record.exit_code, record.swept, record.error) == (7, 1, None)


@pytest.mark.parametrize(
    ("blocks", "files", "is_full"), [(0, 9, True), (9, 0, True), (9, 9, False)]
)
def test_disk_without_room_at_the_end_of_a_script_is_recorded(
    tmp_path, monkeypatch, blocks, files, is_full
):
    figures = list(os.statvfs(tmp_path)[:10])
    figures[1:8] = [4096, 100, blocks, blocks, 100, files, files]
    directory, real = os.fsencode(tmp_path), os.statvfs
    monkeypatch.setattr(
        shim.os,
        "statvfs",
        lambda path: os.statvfs_result(figures) if path == directory else real(path),
    )
    found = shim.full_directory(b".", b"/no/such/directory", directory)
    assert found == (str(tmp_path) if is_full else None)
