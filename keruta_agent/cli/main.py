"""The program ``keruta``: its commands, loaded when used, and how errors end it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TextIO

import click

from keruta_agent import __version__
from keruta_agent.core import errors

#: Where each command lives: module and attribute.
COMMANDS: Final = {
    "artifact": "keruta_agent.cli.artifact:artifact",
    "config": "keruta_agent.cli.config:config",
    "daemon": "keruta_agent.cli.daemon:daemon",
    "demo": "keruta_agent.cli.demo:demo",
    "explain": "keruta_agent.cli.explain:explain",
    "doctor": "keruta_agent.cli.doctor:doctor",
    "execute": "keruta_agent.cli.execute:execute",
    "fail": "keruta_agent.cli.report:fail",
    "health": "keruta_agent.cli.health:health",
    "init": "keruta_agent.cli.init:init",
    "input": "keruta_agent.cli.input:answer_input",
    "log": "keruta_agent.cli.report:log",
    "logs": "keruta_agent.cli.logs:logs",
    "progress": "keruta_agent.cli.report:progress",
    "queue": "keruta_agent.cli.queue:queue",
    "redact": "keruta_agent.cli.redact:redact",
    "runner": "keruta_agent.cli.runner:runner",
    "server": "keruta_agent.cli.server:server",
    "start": "keruta_agent.cli.report:start",
    "status": "keruta_agent.cli.status:status",
    "success": "keruta_agent.cli.report:success",
    "version": "keruta_agent.cli.version:version",
    "workspace": "keruta_agent.cli.workspace:workspace",
}

#: What ``keruta --help`` says of each: to ask twenty modules would take it a tenth of a second.
SUMMARIES: Final = {
    "artifact": "Store files with the task, while it runs.",
    "config": "Show, change and check the agent's settings.",
    "daemon": "Take the session's tasks and run them, one at a time, until the session has ended.",
    "demo": "Show all of it on this machine: a server, a daemon, and the tasks of a session.",
    "explain": "Tell what happened to a job, and why: JOB is its number, or the id of its task.",
    "doctor": "Check this installation, one line each; exit with 1 when there is a problem.",
    "execute": (
        "Run a script or a command in its turn, show its output, and exit with its exit code."
    ),
    "fail": "Report that the task failed (FAILED).",
    "health": "Check whether the agent can work here, one line each; exit with 1 when it cannot.",
    "init": "Write a config file with every setting explained, after asking for what is needed.",
    "input": "Answer what a script asks: JOB is its number, or the id of its task.",
    "log": "Add a line to the task's log.",
    "logs": "Print the log of a job: JOB is its number, or the id of its task.",
    "progress": "Report how far the task is, in percent.",
    "queue": "Show and change what the agent has to do.",
    "redact": "Mask secrets in what leaves this machine.",
    "runner": ("Solve coding tasks with a language model, and serve and check what belongs to it."),
    "server": "Serve the keruta API from this machine, for one person's sessions.",
    "start": "Report that the task is being worked on (PROCESSING).",
    "status": "Show how the agent is: what runs, waits and ended, what has yet to reach the API.",
    "success": "Report that the task succeeded (COMPLETED).",
    "version": "Print the version of keruta and of its Python.",
    "workspace": "Show and tidy the clone of the session's repository.",
}

#: Columns that help takes at most, however wide the terminal is.
MOST_COLUMNS: Final = 100

#: Ends of the program that have no error class: a bug, and Ctrl-C.
EXIT_BUG: Final = 70
EXIT_INTERRUPTED: Final = 130

#: Click's names for what it wants, and ours.
_PLAIN: Final = {"a valid integer range": "a whole number", "a valid float range": "a number"}

EPILOG: Final = """\b
Exit codes:
  0    done
  1    the work failed (keruta execute: the script's own exit code)
  2    wrong usage or settings
  3    another agent runs already
  4    no daemon answers
  5    the keruta API refused or cannot be reached
  6    the agent takes no jobs now
  70   a bug in keruta; please report it
  130  interrupted
"""


# No dataclass, and no Path: loading their modules would take a command a fifth of its start.
class Invocation(NamedTuple):
    """What was given before the command's name."""

    config_path: str | None
    verbose: bool


class LazyGroup(click.Group):
    """A group that loads a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        import importlib

        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        _take_verbose(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Suggest the command that was meant; click knows only those that it has loaded."""
        if args[0] == "help":
            if len(args) == 1:
                click.echo(ctx.get_help())
                ctx.exit()
            args = [*args[1:], "--help"]
        name = args[0]
        if name in COMMANDS or name.startswith("-") or ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        import difflib

        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise click.UsageError(f"No such command '{name}'.{hint}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in self.list_commands(ctx)])


def _take_verbose(command: click.Command) -> None:
    """Accept ``--verbose`` after the command too; what a person is asked to add goes last."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            _take_verbose(inner)
    # Behind a script's name the arguments are the script's.
    takes_all = not command.context_settings.get("allow_interspersed_args", True)
    if not takes_all and all(parameter.name != "verbose" for parameter in command.params):
        command.params.append(
            click.Option(
                ["--verbose"],
                is_flag=True,
                hidden=True,
                expose_value=False,
                callback=_be_verbose,
            )
        )


def _be_verbose(ctx: click.Context, _: click.Parameter, is_given: bool) -> None:
    if is_given:
        ctx.obj = (ctx.find_object(Invocation) or Invocation(None, False))._replace(verbose=True)


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": MOST_COLUMNS},
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(dir_okay=False),
    help="Config file instead of ~/.keruta/config.yaml and /etc/keruta/config.yaml.",
)
@click.option("--verbose", is_flag=True, help="Log everything; show where an error came from.")
@click.version_option(__version__, prog_name="keruta-agent")
@click.pass_context
def cli(ctx: click.Context, config_path: str | None, verbose: bool) -> None:
    """Run the tasks of a keruta session in this workspace, one at a time.

    \b
    keruta demo       shows all of it on this machine
    keruta daemon     takes the session's tasks and runs them
    keruta execute    runs a script of yours through the same queue
    keruta server     is a keruta API of your own
    """
    # Without either, click colours what goes to a terminal and nothing else.
    if os.environ.get("NO_COLOR"):
        ctx.color = False
    elif os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        ctx.color = True
    ctx.obj = Invocation(config_path=config_path, verbose=verbose)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return the exit code."""
    _open_standard_streams()
    code = _run(arguments)
    try:
        sys.stdout.flush()
    except OSError as exc:
        if not isinstance(exc, BrokenPipeError):
            _complain(f"cannot write the output: {exc.strerror}")
        _give_up(sys.stdout)
        return code or 1
    return code


def _help_width() -> int:
    """Return the columns for help. Click would ask shutil, whose import takes 3 ms."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and len(columns) < 5:
        width = int(columns)
    else:
        try:
            width = os.get_terminal_size(1).columns
        except OSError:
            width = 0
    return max(min(width or 80, MOST_COLUMNS) - 2, 50)


def _open_standard_streams() -> None:
    """Open what the caller closed: else the next file opened, a lock say, is standard output."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    # Python has none of its own for a descriptor that was closed when it started.
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    # Names may hold what the terminal's encoding lacks, and input may be no text at all: who
    # wants text says so of the value.
    for stream, handling in ((sys.stdout, "backslashreplace"), (sys.stdin, "surrogateescape")):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors=handling)


def _run(arguments: Sequence[str]) -> int:
    verbose = "--verbose" in arguments
    try:
        result: Any = cli.main(
            args=list(arguments),
            prog_name="keruta",
            standalone_mode=False,
            terminal_width=_help_width(),
        )
    except errors.KerutaError as exc:
        if verbose:
            _print_trace(exc)
        _complain(str(exc))
        return exc.exit_code
    except click.exceptions.Abort:
        return EXIT_INTERRUPTED
    except click.exceptions.NoArgsIsHelpError as exc:
        exc.show()
        return 2
    except click.ClickException as exc:
        _complain(_one_line(exc))
        return 2
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `keruta logs 3 | head`.
        _give_up(sys.stdout)
        return 0
    except OSError as exc:
        import errno

        if exc.errno in (errno.EMFILE, errno.ENFILE):
            _complain(f"cannot open one more file: {exc.strerror}. Raise the limit (ulimit -n)")
            return 1
        if exc.errno in (errno.ENOSPC, errno.EDQUOT) and exc.filename is not None:
            _complain(f"cannot write {exc.filename}: {exc.strerror}. Make room on that disk")
            return 1
        if exc.errno in (errno.EACCES, errno.EPERM) and exc.filename is not None:
            if verbose:
                _print_trace(exc)
            _complain(
                f"cannot use {exc.filename}: {exc.strerror}. Give this user access to it and to "
                "the directories above it"
            )
            return 1
        if exc.filename is not None or exc.errno not in (errno.ENOSPC, errno.EIO, errno.EBADF):
            return _bug(exc, verbose=verbose)
        _give_up(sys.stdout)
        _complain(f"cannot write the output: {exc.strerror}")
        return 1
    except UnicodeEncodeError as exc:
        # Python hands over an argument that is no UTF-8 as text that cannot be written as such.
        if not any(_is_no_text(argument) for argument in arguments):
            return _bug(exc, verbose=verbose)
        _complain("an argument is not UTF-8 text. Give it in UTF-8")
        return 2
    except Exception as exc:
        known = _about_the_records(exc) or _about_threads(exc)
        if known is None:
            return _bug(exc, verbose=verbose)
        if verbose:
            _print_trace(exc)
        _complain(str(known))
        return known.exit_code
    return result if isinstance(result, int) else 0


def _give_up(stream: TextIO) -> None:
    """Write what is left to nowhere: the interpreter would complain of it once more at its end."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        stream.flush()
    except (OSError, ValueError):  # it is closed, or no file at all
        pass


def _about_the_records(exc: Exception) -> errors.KerutaError | None:
    """Return what to say of a failure of the agent's database, None of any other."""
    import sqlite3

    if not isinstance(exc, sqlite3.DatabaseError):
        return None
    from keruta_agent.agent.store import disk

    problem = disk.failure_to_store(exc)
    return problem if disk.is_unwritable(exc) or type(exc) is sqlite3.DatabaseError else None


def _about_threads(exc: Exception) -> errors.KerutaError | None:
    """Return what to say when this user or container may have no more threads, else None."""
    # Python gives this failure no type and no number of its own.
    if not isinstance(exc, RuntimeError) or str(exc) != "can't start new thread":
        return None
    return errors.AgentStateError(
        "cannot start one more thread: the limit of processes is reached",
        advice="Raise it (ulimit -u, or the pids limit of the container), or end other processes",
    )


def _is_no_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return True
    return False


def _bug(exc: Exception, *, verbose: bool) -> int:
    if verbose:
        _print_trace(exc)
    _complain(f"a bug in keruta: {type(exc).__name__}: {exc}. Run it with --verbose to see where")
    return EXIT_BUG


def _print_trace(exc: Exception) -> None:
    import traceback

    traceback.print_exception(exc)


def _one_line(exc: click.ClickException) -> str:
    text = exc.format_message()
    for technical, plain in _PLAIN.items():
        text = text.replace(technical, plain)
    if not text.endswith((".", "?", "?)")):
        text += "."
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        return f"{text} See: {exc.ctx.command_path} --help"
    return text


def _complain(text: str) -> None:
    # It may repeat an argument with what would act on a terminal.
    shown = "".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in text)
    print(f"keruta: {shown}", file=sys.stderr)
