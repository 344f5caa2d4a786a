"""How commands find the agent's records, and in them the job that a person means."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.agent.store.jobs import Job
    from keruta_agent.agent.store.store import Records
    from keruta_agent.core.settings.schema import Settings


def open_existing(settings: Settings) -> Records | None:
    """Open the agent's records until the command ends; None when no agent has run here yet.

    Raises:
        AgentStateError: they cannot be used.
    """
    from keruta_agent.agent.store.store import Records

    records = Records.open_existing(settings.base_dir)
    if records is not None:
        click.get_current_context().call_on_close(records.close)
    return records


def open_job(settings: Settings, text: str) -> tuple[Records, Job]:
    """Return the agent's records and, in them, a job by its number or its task's id.

    Raises:
        NotFound: there is no such job, or no agent has run here yet.
        AgentStateError: the records cannot be read.
    """
    from keruta_agent.agent.control.find import find_job

    records = open_existing(settings)
    if records is None:
        raise errors.NotFound(
            f"there is no job or task {text}: no agent has run in {settings.base_dir} yet",
            advice="Set KERUTA_BASE_DIR if it runs elsewhere",
        )
    return records, find_job(records, text)
