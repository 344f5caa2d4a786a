"""``keruta execute``: a script or command of a person's own, through the agent's queue."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from keruta_agent.cli import completion
from keruta_agent.cli.options import PRIORITY, api_options, load, task_option
from keruta_agent.core import errors

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.agent.control.commands import Command, Submitted
    from keruta_agent.core.settings.schema import Settings

#: Seconds between attempts while another agent is starting, or runs a job in the foreground.
RETRY_S: Final = 0.2
#: Bytes of a file that are looked at to tell text from anything else.
LOOK_BYTES: Final = 8192
#: What a shell answers for a command that a signal ended.
EXIT_BY_SIGNAL: Final = 128


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("script", required=False, shell_complete=completion.files)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, shell_complete=completion.files)
@click.option("-d", "--detach", is_flag=True, help="Print the job's id and do not wait.")
@click.option("--priority", type=PRIORITY, default=0, show_default=True, help="Higher runs first.")
@click.option("-t", "--tty", is_flag=True, help="Give the script a terminal.")
@click.option("--name", help="Name of the job.  [default: the command]")
@task_option
@api_options
@click.pass_context
def execute(
    ctx: click.Context,
    script: str | None,
    arguments: tuple[str, ...],
    detach: bool,
    priority: int,
    tty: bool,
    name: str | None,
    task_id: str | None,
    api_url: str | None,
    log_level: str | None,
) -> int:
    """Run a script or a command in its turn, show its output, and exit with its exit code.

    SCRIPT is a script file, a program, or one string with a whole command line. Without it, the
    script of the task --task-id (or KERUTA_TASK_ID) is run. Without a daemon the job runs right
    here. Ctrl-C and SIGTERM cancel the job. What the script asks is read from our own standard
    input.

    \b
    Examples:
      keruta execute ./my-script.sh --fast
      keruta execute "python data_processing.py > result.txt"
      keruta execute --detach make test
      keruta execute --tty ./configure.sh
    """
    settings = load(ctx, task_id=task_id, api_url=api_url, log_level=log_level).settings
    if script is None:
        if tty:
            raise errors.UsageError(
                "a task says for itself whether it has a terminal",
                advice="Give it the parameter tty: true",
            )
        command = _task_command(settings)
    else:
        command = _script_command(script, arguments, name=name, priority=priority, tty=tty)
    if detach:
        return _detach(settings, command)
    from keruta_agent.cli.following import Interrupted, interrupted_by_sigterm

    try:
        with interrupted_by_sigterm():
            return _attached(settings, command)
    except Interrupted as interrupt:  # nothing was handed in yet, or it was the second one
        return EXIT_BY_SIGNAL + interrupt.number


def _task_command(settings: Settings) -> Command[Submitted]:
    from keruta_agent.agent.control.commands import SubmitTask

    if settings.task_id is None:
        raise errors.UsageError(
            "there is nothing to execute", advice="Give a script, a command, or --task-id ID"
        )
    return SubmitTask(task=settings.task_id)


def _script_command(
    script: str, arguments: Sequence[str], *, name: str | None, priority: int, tty: bool
) -> Command[Submitted]:
    import shlex
    from pathlib import Path

    from keruta_agent.agent.control.commands import Submit
    from keruta_agent.agent.journey.environment import passed_environment
    from keruta_agent.agent.store.jobs import Work

    if not script.strip():
        raise errors.UsageError("the command is empty", advice="Give a script or a command")
    is_command_line = not arguments and _is_command_line(script)
    work = Work(
        script=script if is_command_line else "",
        command=() if is_command_line else (*_program(script), *arguments),
        directory=str(Path.cwd()),
        environment=passed_environment(os.environ),
        parameters={"tty": True} if tty else {},
    )
    name = name or (shlex.join([script, *arguments]) if arguments else script)
    return Submit(
        name=name.encode("utf-8", "replace").decode(),  # it may hold bytes that are no text
        work=work,
        priority=priority,
    )


def _is_command_line(script: str) -> bool:
    """Return whether an argument is a whole command line, not a file or a program."""
    import shutil
    from pathlib import Path

    try:
        if Path(script).exists() or shutil.which(script):
            return False
    except OSError:  # too long for a file's name
        return True
    return any(character in script for character in " \t\n|&;<>()$`")


def _program(script: str) -> list[str]:
    """Return what is executed for a script file or a program.

    Raises:
        UsageError: it is neither, or a file that is not text.
    """
    import shutil
    from pathlib import Path

    path = Path(script)
    if path.is_dir():
        raise errors.UsageError(f"{script} is a directory", advice="Give a script in it")
    if path.is_file():
        return _script_file(path.absolute())
    if "/" not in script and (found := shutil.which(script)):
        return [found]
    raise errors.NotFound(
        f"there is neither a file nor a program {script}",
        advice="Check the name; put a whole command line into quotes",
    )


def _script_file(path: Path) -> list[str]:
    from keruta_agent.agent.run import script_text
    from keruta_agent.agent.run.interpreter import check_line_ends, interpreter, starts_by_itself

    try:
        with path.open("rb") as file:
            head = file.read(LOOK_BYTES)
    except OSError as exc:
        if os.access(path, os.X_OK):  # a program may be for execution only
            return [str(path)]
        raise errors.UsageError(f"cannot read the script {path}: {exc.strerror}") from exc
    text = head.decode("utf-8", errors="replace")
    if script_text.is_utf16(text):
        raise errors.UsageError(
            f"{path} is in UTF-16, which no interpreter reads", advice="Store it as UTF-8"
        )
    if b"\0" in head and not os.access(path, os.X_OK):
        raise errors.UsageError(
            f"{path} is not a script: it holds binary data",
            advice="If it is a program, make it executable: chmod +x",
        )
    if b"\0" in head:
        return [str(path)]
    command = interpreter(text)
    try:
        check_line_ends(path, head, command)
    except errors.WorkspaceError as exc:
        raise errors.UsageError(exc.message, advice=exc.advice) from exc
    return [str(path)] if starts_by_itself(path, head) else [*command, str(path)]


def _detach(settings: Settings, command: Command[Submitted]) -> int:
    from keruta_agent.cli.asking import ask

    without_daemon = "no daemon runs; the job waits for the next one"
    click.echo(ask(settings, command, without_daemon=without_daemon).job)
    return 0


def _attached(settings: Settings, command: Command[Submitted]) -> int:
    """Run the job in the daemon, or here when there is none, and follow it.

    Raises:
        UsageError: we are part of the job that this one would have to wait for.
    """
    from pathlib import Path

    from keruta_agent.agent.control.socket import client
    from keruta_agent.agent.run.directory import RUNS_DIRECTORY
    from keruta_agent.cli.following import follow

    own_run = os.environ.get("KERUTA_RUN_DIR")
    if own_run and Path(own_run).parent == settings.base_dir / RUNS_DIRECTORY:
        raise errors.UsageError(
            "a script of the agent would wait for ever for another job of the same agent",
            advice="Call the command itself, or hand the job in with --detach",
        )
    has_said_so = False
    while True:
        try:
            return follow(settings, client.ask(settings.base_dir, command).job)
        except errors.AgentUnreachable:
            with contextlib.suppress(errors.AlreadyRunning):
                return _run_here(settings, command)
        except errors.AgentBusy:
            pass
        if not has_said_so:
            click.echo("keruta: waits for the agent that runs here now", file=sys.stderr)
            has_said_so = True
        time.sleep(RETRY_S)


def _run_here(settings: Settings, command: Command[Submitted]) -> int:
    """Run the job in this process.

    Raises:
        AlreadyRunning: there is an agent.
    """
    from keruta_agent.agent.daemon.foreground import agent_here, start_job
    from keruta_agent.cli.asking import do_here
    from keruta_agent.cli.following import follow
    from keruta_agent.core.process_tree.program import take_charge

    take_charge()
    with agent_here(settings) as agent:
        job_id = do_here(settings, command).job
        thread = start_job(agent, job_id)
        code = follow(settings, job_id, is_served=thread.is_alive)
        thread.join()
        return code
