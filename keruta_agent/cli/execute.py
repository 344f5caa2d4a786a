"""``keruta execute``: a script or command of a person's own, through the agent's queue."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent import errors
from keruta_agent.cli import completion
from keruta_agent.cli.options import PRIORITY, api_options, load, task_option

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.settings.schema import Settings

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
    """Runs a script or a command in its turn, shows its output, and exits with its exit code.

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
        request = _task_request(settings)
    else:
        request = _script_request(script, arguments, name=name, priority=priority)
        if tty:
            request["work"]["parameters"] = {"tty": True}
    if detach:
        return _detach(settings, request)
    from keruta_agent.cli.following import Interrupted, interrupted_by_sigterm

    try:
        with interrupted_by_sigterm():
            return _attached(settings, request)
    except Interrupted as interrupt:  # nothing was handed in yet, or it was the second one
        return EXIT_BY_SIGNAL + interrupt.number


def _task_request(settings: Settings) -> dict[str, Any]:
    if settings.task_id is None:
        raise errors.UsageError(
            "there is nothing to execute", advice="Give a script, a command, or --task-id ID"
        )
    return {"op": "submit_task", "task": settings.task_id}


def _script_request(
    script: str, arguments: Sequence[str], *, name: str | None, priority: int
) -> dict[str, Any]:
    import shlex
    from pathlib import Path

    from keruta_agent.journey.environment import passed_environment

    if not script.strip():
        raise errors.UsageError("the command is empty", advice="Give a script or a command")
    work: dict[str, Any] = {
        "directory": str(Path.cwd()),
        "environment": passed_environment(os.environ),
    }
    if not arguments and _is_command_line(script):
        work["script"] = script
    else:
        work["command"] = [*_program(script), *arguments]
    name = name or (shlex.join([script, *arguments]) if arguments else script)
    return {
        "op": "submit",
        "name": name.encode("utf-8", "replace").decode(),  # it may hold bytes that are no text
        "priority": priority,
        "work": work,
    }


def _is_command_line(script: str) -> bool:
    """Tells a whole command line from a file or a program."""
    import shutil
    from pathlib import Path

    try:
        if Path(script).exists() or shutil.which(script):
            return False
    except OSError:  # too long for a file's name
        return True
    return any(character in script for character in " \t\n|&;<>()$`")


def _program(script: str) -> list[str]:
    """Returns what is executed for a script file or a program.

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
    from keruta_agent.runs import script_text
    from keruta_agent.runs.interpreter import check_line_ends, interpreter, starts_by_itself

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


def _detach(settings: Settings, request: dict[str, Any]) -> int:
    from keruta_agent.local import client

    try:
        job_id = client.call(settings.base_dir, request)["job"]
    except (errors.AgentUnreachable, errors.AgentBusy):
        job_id = _record(settings, request)
        click.echo("keruta: no daemon runs; the job waits for the next one", file=sys.stderr)
    click.echo(job_id)
    return 0


def _attached(settings: Settings, request: dict[str, Any]) -> int:
    """Runs the job in the daemon, or here when there is none, and follows it.

    Raises:
        UsageError: we are part of the job that this one would have to wait for.
    """
    from pathlib import Path

    from keruta_agent.cli.following import follow
    from keruta_agent.local import client
    from keruta_agent.runs.directory import RUNS_DIRECTORY

    own_run = os.environ.get("KERUTA_RUN_DIR")
    if own_run and Path(own_run).parent == settings.base_dir / RUNS_DIRECTORY:
        raise errors.UsageError(
            "a script of the agent would wait for ever for another job of the same agent",
            advice="Call the command itself, or hand the job in with --detach",
        )
    has_said_so = False
    while True:
        try:
            return follow(settings, client.call(settings.base_dir, request)["job"])
        except errors.AgentUnreachable:
            with contextlib.suppress(errors.AlreadyRunning):
                return _run_here(settings, request)
        except errors.AgentBusy:
            pass
        if not has_said_so:
            click.echo("keruta: waits for the agent that runs here now", file=sys.stderr)
            has_said_so = True
        time.sleep(RETRY_S)


def _run_here(settings: Settings, request: dict[str, Any]) -> int:
    """Runs the job in this process.

    Raises:
        AlreadyRunning: there is an agent.
    """
    from keruta_agent.cli.following import follow
    from keruta_agent.daemon.foreground import agent_here, start_job
    from keruta_agent.process_tree.program import take_charge

    take_charge()
    with agent_here(settings) as agent:
        job_id = _record(settings, request)
        thread = start_job(agent, job_id)
        code = follow(settings, job_id, is_served=thread.is_alive)
        thread.join()
        return code


def _record(settings: Settings, request: dict[str, Any]) -> int:
    """Records the job, as the daemon would have done."""
    from keruta_agent.daemon.wiring import make_client
    from keruta_agent.records.jobs import Work
    from keruta_agent.records.store import Records

    records = Records.open(settings.base_dir)
    try:
        if request["op"] == "submit":
            return records.jobs.record_script(
                request["name"], Work(**request["work"]), priority=request["priority"]
            )
        task = make_client(settings).task(request["task"])
        job_id = records.jobs.record_task(task)
        known = records.jobs.by_task(task.id)
        if job_id is None and known is not None:
            return known.id
        return job_id or 0
    finally:
        records.close()
