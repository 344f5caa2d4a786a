"""How the command line has a command done: by the daemon, or here while none answers."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

import click

from keruta_agent.agent.control.commands import Command, Look, ResultT
from keruta_agent.agent.control.socket import client
from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.core.settings.schema import Settings

#: Seconds that a person waits for the daemon, beside what it asks the API for them.
ANSWER_TIMEOUT_S: Final = 10.0


def ask(settings: Settings, command: Command[ResultT], *, without_daemon: str = "") -> ResultT:
    """Send a command to the daemon; execute it here when none takes it.

    A daemon that dies or hangs before it answers may have done it: no command does harm twice.

    Args:
        settings: where the daemon is.
        command: what is to be done.
        without_daemon: a note to print when no daemon takes it.

    Raises:
        KerutaError: it cannot be done.
    """
    timeout_s = ANSWER_TIMEOUT_S + command.API_REQUESTS * settings.api_timeout_s
    try:
        return client.ask(settings.base_dir, command, timeout_s=timeout_s)
    except errors.AgentSilent as exc:
        result = do_here(settings, command)
        click.echo(f"keruta: {exc.message}; done without it", file=sys.stderr)
        return result
    except (errors.AgentUnreachable, errors.AgentBusy):
        result = do_here(settings, command)
    if without_daemon:
        click.echo(f"keruta: {without_daemon}", file=sys.stderr)
    # A daemon that has started meanwhile may have read the records before.
    with contextlib.suppress(errors.KerutaError):
        client.ask(settings.base_dir, Look(), timeout_s=client.STATUS_TIMEOUT_S)
    return result


def do_here(settings: Settings, command: Command[ResultT]) -> ResultT:
    """Do a command on the agent's records, which are made if need be.

    Raises:
        KerutaError: it cannot be done.
    """
    from keruta_agent.agent.control.control import Control
    from keruta_agent.agent.control.table import execute
    from keruta_agent.agent.daemon.wiring import make_client
    from keruta_agent.agent.store.store import Records

    with contextlib.closing(Records.open(settings.base_dir)) as records:
        return execute(Control.of_records(records, lambda: make_client(settings)), command)
