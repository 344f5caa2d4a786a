"""``keruta artifact``: files that are stored with a task.

Inside a run the command itself copies the file into the run directory and then tells the daemon,
which has only to note it: nobody waits for a large file, and the script may delete its own at
once, also while the daemon is being restarted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli import completion, own_run
from keruta_agent.cli.options import Group, api_options, json_option, load, print_json, task_option
from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.agent.control.commands import Command, ResultT

#: What is said of an artifact that was taken back, by the state in which it was.
_SAID: Final = {
    "waiting": "is not sent",
    "sent": "is removed here; the API has it and keeps it",
    "stays here": "is removed",
    "refused": "is removed",
    None: "is on its way just now: the API gets it and keeps it",
}


@click.group(cls=Group)
def artifact() -> None:
    """Store files with the task, while it runs."""


@artifact.command()
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, shell_complete=completion.files
)
@click.option("--description", default="", help="What it is, for people.")
@click.option("--name", help="Path under which it is stored, instead of its own.")
@task_option
@api_options
@click.pass_context
def add(
    ctx: click.Context,
    files: tuple[str, ...],
    description: str,
    name: str | None,
    task_id: str | None,
    api_url: str | None,
    log_level: str | None,
) -> int:
    """Store files with the task now; they may be changed or deleted afterwards.

    A file is stored under its path below the artifacts directory or the current directory, else
    under its whole path. One that was stored before and is unchanged is not sent again.

    \b
    Examples:
      keruta artifact add report.pdf --description "monthly report"
      keruta artifact add build/*.log
      keruta artifact add /tmp/x.png --name pictures/result.png
    """
    if name is not None and len(files) > 1:
        raise errors.UsageError("--name is for one file", advice="Add the files one by one")
    paths = [_path_of(file) if name is None else _checked_name(name) for file in files]
    if own_run.is_meant(task_id):
        limit = _limit_in_run(ctx)
        codes = [
            _add_in_run(file, path, description, limit)
            for file, path in zip(files, paths, strict=True)
        ]
        return max(codes)
    from keruta_agent.cli.direct import DirectReport

    settings = load(ctx, task_id=task_id, api_url=api_url, log_level=log_level).settings
    with DirectReport(settings) as report:
        for file, path in zip(files, paths, strict=True):
            with _opened(file, settings.artifacts_max_size) as descriptor, _copying(file):
                report.artifact(descriptor, path, description)
    return 0


@artifact.command("list")
@click.argument("job", required=False, shell_complete=completion.jobs)
@task_option
@json_option
@click.pass_context
def list_artifacts(ctx: click.Context, job: str | None, task_id: str | None, as_json: bool) -> None:
    """List what was stored with the task, and what became of it.

    JOB is a job's number or the id of its task; inside a run it is that of the run.

    \b
    Examples:
      keruta artifact list
      keruta artifact list 12 --json
    """
    found = _artifacts_of(ctx, job, task_id)
    if as_json:
        print_json(found)
        return
    there = [each for each in found if each["state"] != "removed"]
    if not there:
        click.echo("No artifacts.")
        return
    from keruta_agent.cli.tables import print_table
    from keruta_agent.core.units import format_size

    print_table(
        ("STATE", "SIZE", "TYPE", "PATH", "WHY AND WHERE"),
        [
            (
                each["state"],
                format_size(each["size"]),
                each["content_type"],
                each["path"],
                why_and_where(each),
            )
            for each in there
        ],
    )


@artifact.command()
@click.argument("name", metavar="FILE|NAME", shell_complete=completion.files)
@click.argument("job", required=False, shell_complete=completion.jobs)
@task_option
@click.pass_context
def remove(ctx: click.Context, name: str, job: str | None, task_id: str | None) -> None:
    """Take an artifact back: the file itself, or the path that `keruta artifact list` shows.

    One that was not sent yet is not sent. One that was is removed from the list here, and the API
    keeps it. The file itself stays where it is, and is not collected when the run ends.

    \b
    Examples:
      keruta artifact remove report.pdf
      keruta artifact remove pictures/result.png 12
    """
    names = [name, _path_of(name)]
    if own_run.is_meant(task_id) and job is None:
        from keruta_agent.agent.control.commands import RemoveArtifact

        removed = _ask(RemoveArtifact(**_own_run(), names=names))
    else:
        from keruta_agent.agent.control.commands import RemoveStoredArtifact
        from keruta_agent.cli import asking

        _, owner = _owner(ctx, job, task_id)
        command = RemoveStoredArtifact(names=names, task=owner.task_id, job=owner.job_id)
        removed = asking.ask(load(ctx, task_id=task_id).settings, command)
    click.echo(f"{removed.path} {_SAID[removed.was]}")


def why_and_where(found: dict[str, Any]) -> str:
    """Return why an artifact is not at the API and where it lies on this machine."""
    if found["state"] not in ("stays here", "refused"):
        return ""
    where = found["file"] if Path(found["file"]).exists() else "its copy was cleared away"
    return f"{found['reason']}: {where}"


def _artifacts_of(ctx: click.Context, job: str | None, task_id: str | None) -> list[dict[str, Any]]:
    if job is None and own_run.is_meant(task_id):
        from keruta_agent.agent.control.commands import ListArtifacts

        return [dict(each) for each in _ask(ListArtifacts(**_own_run())).artifacts]
    from keruta_agent.agent.control.serialize import kept_artifact_to_json

    records, owner = _owner(ctx, job, task_id)
    return [kept_artifact_to_json(each) for each in records.artifacts.of(owner)]


def _owner(ctx: click.Context, job: str | None, task_id: str | None) -> tuple[Any, Any]:
    """Return the agent's records, and whose artifacts in them are meant."""
    from keruta_agent.agent.store.artifacts import Owner
    from keruta_agent.cli.jobs import open_existing, open_job

    settings = load(ctx, task_id=task_id).settings
    if job is not None:
        records, found = open_job(settings, job)
        return records, Owner(task_id=found.task_id, job_id=found.id)
    if settings.task_id is None:
        raise errors.UsageError(
            "it is not known whose artifacts are meant",
            advice="Give a job's number, or --task-id ID",
        )
    there = open_existing(settings)
    if there is None:
        raise errors.NotFound(
            f"no agent has run in {settings.base_dir} yet",
            advice="Set KERUTA_BASE_DIR if it runs elsewhere",
        )
    return there, Owner(task_id=settings.task_id)


def _own_run() -> dict[str, str]:
    environment = os.environ
    return {
        "run": environment.get("KERUTA_RUN_UID", ""),
        "token": environment["KERUTA_RUN_TOKEN"],
    }


def _ask(command: Command[ResultT]) -> ResultT:
    from keruta_agent.agent.control.socket import client

    return client.ask_at(Path(os.environ.get("KERUTA_SOCKET", "")), command)


def _add_in_run(file: str, path: str, description: str, limit: int) -> int:
    from keruta_agent.agent.run.artifacts import copies
    from keruta_agent.agent.run.directory import ADDED

    run_dir = Path(os.environ.get("KERUTA_RUN_DIR", ""))
    if not run_dir.is_dir():
        raise errors.AgentUnreachable(
            "the directory of this run is gone",
            advice="The run is over; a process that it left behind cannot add to it",
        )
    with _opened(file, limit) as descriptor, _copying(file):
        copy = copies.take(descriptor, run_dir / ADDED, PurePosixPath(path).name, durable=True)
    if copy.was_written_to:
        click.echo(
            f"keruta: {_shown(file)} was written to meanwhile: its first {copy.size} bytes are "
            "stored",
            err=True,
        )
    message = {
        "kind": "artifact",
        "file": copy.file.name,
        "path": path,
        "description": description,
        "size": copy.size,
        "sha256": copy.sha256,
    }
    code = None
    try:
        code = own_run.send(message)
    finally:
        if code != 0:
            copy.file.unlink(missing_ok=True)
    return code


@contextmanager
def _opened(file: str, limit: int) -> Iterator[int]:
    """Open a regular file that is not too large.

    Raises:
        UsageError: it is not there, none, unreadable, or too large.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as exc:
        raise errors.NotFound(f"there is no file {_shown(file)}") from exc
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise errors.UsageError(f"cannot read {_shown(file)}: {reason}") from exc
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise errors.UsageError(
                f"{_shown(file)} is a directory",
                advice="Add its files, or put it below $KERUTA_ARTIFACTS_DIR",
            )
        if not stat.S_ISREG(status.st_mode):
            raise errors.UsageError(f"{_shown(file)} is no regular file")
        # The kernel says so of most below /proc: a copy of that size would be empty.
        if status.st_size == 0 and os.pread(descriptor, 1, 0):
            raise errors.UsageError(
                f"{_shown(file)} has no size of its own: it is made up while it is read",
                advice="Copy it with cat first, and add the copy",
            )
        if status.st_size > limit:
            from keruta_agent.core.units import format_size

            raise errors.UsageError(
                f"{_shown(file)} is too large: {format_size(status.st_size)}, the limit is "
                f"{format_size(limit)}",
                advice="Set KERUTA_MAX_FILE_SIZE for the daemon",
            )
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _copying(file: str) -> Iterator[None]:
    """Report what went wrong while a file was copied.

    Raises:
        AgentStateError: there is no room, or it cannot be read to its end.
    """
    try:
        yield
    except OSError as exc:
        no_room = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.AgentStateError(
            f"cannot keep a copy of {_shown(file)}: {exc.strerror}",
            advice="Make room on the disk of the agent's base directory" if no_room else "",
        ) from exc


def _limit_in_run(ctx: click.Context) -> int:
    """Return the largest size in bytes, as the daemon set it for the script."""
    text = os.environ.get("KERUTA_MAX_FILE_SIZE", "")
    number = text.removesuffix("B")
    if text != number and number.isascii() and number.isdigit():
        return int(number)
    return load(ctx).settings.artifacts_max_size


def _path_of(file: str) -> str:
    """Return the relative path under which a file is stored."""
    there = PurePosixPath(os.path.abspath(file))  # noqa: PTH100 - resolve() would follow links
    for root in (os.environ.get("KERUTA_ARTIFACTS_DIR"), Path.cwd()):
        if root and there.is_relative_to(root) and there != PurePosixPath(root):
            return there.relative_to(root).as_posix()
    return there.as_posix().lstrip("/") or file


def _checked_name(name: str) -> str:
    parts: Sequence[str] = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts:
        raise errors.UsageError(
            f"{_shown(name)} is no name for an artifact",
            advice="Give a relative path without '..', such as pictures/result.png",
        )
    return PurePosixPath(*parts).as_posix()


def _shown(text: str) -> str:
    """Return a name for a message of one line."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)
