"""How commands find the job that a person means."""

from __future__ import annotations

from keruta_agent import errors
from keruta_agent.records.jobs import Job
from keruta_agent.records.store import Records
from keruta_agent.settings.schema import Settings


def existing_records(settings: Settings) -> Records:
    """Opens the agent's records.

    Raises:
        NotFound: no agent has run here yet.
        AgentStateError: they cannot be read.
    """
    records = Records.open_existing(settings.base_dir)
    if records is None:
        raise errors.NotFound(
            f"no agent has run in {settings.base_dir} yet",
            advice="Set KERUTA_BASE_DIR if it runs elsewhere",
        )
    return records


def find_job(records: Records, text: str) -> Job:
    """Returns a job by its number or its task's id.

    Raises:
        NotFound: there is none.
    """
    found = records.jobs.get(int(text)) if text.isascii() and text.isdigit() else None
    found = found or records.jobs.by_task(text)
    if found is None:
        raise errors.NotFound(
            f"there is no job or task {text}", advice="See: keruta queue list --all"
        )
    return found
