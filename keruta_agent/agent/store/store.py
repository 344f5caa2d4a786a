"""All records of one agent over one database."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Self

from keruta_agent.agent.store.artifacts import Artifacts
from keruta_agent.agent.store.counters import Counters
from keruta_agent.agent.store.intake import Intake
from keruta_agent.agent.store.jobs import Jobs
from keruta_agent.agent.store.journal import Journal
from keruta_agent.agent.store.outbox import Outbox
from keruta_agent.agent.store.questions import Questions
from keruta_agent.agent.store.remembered.repositories import Repositories
from keruta_agent.agent.store.requests import RecentRequests
from keruta_agent.agent.store.retention import Retention
from keruta_agent.agent.store.runs import Runs
from keruta_agent.agent.store.sqlite.database import DATABASE_NAME, Database
from keruta_agent.agent.store.usage import Usages
from keruta_agent.agent.store.withdrawals import Withdrawals
from keruta_agent.core import errors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Records:
    """The records of an agent."""

    database: Database
    jobs: Jobs
    runs: Runs
    outbox: Outbox
    artifacts: Artifacts
    journal: Journal
    usages: Usages
    counters: Counters
    questions: Questions
    repositories: Repositories
    withdrawals: Withdrawals
    intake: Intake
    requests: RecentRequests
    retention: Retention

    @classmethod
    def open(cls, base_dir: Path) -> Self:
        """Open the records, and make them if need be.

        Raises:
            AgentStateError: the directory or the file cannot be used.
        """
        return cls._over(Database(base_dir))

    @classmethod
    def open_existing(cls, base_dir: Path) -> Self | None:
        """Open the records for looking; None when no agent has run here yet.

        Raises:
            AgentStateError: the file cannot be used.
        """
        try:
            (base_dir / DATABASE_NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as exc:
            raise errors.AgentStateError(
                f"cannot read the agent's records in {base_dir}: {exc.strerror}",
                advice="Give it to this user (chown), or choose another directory with "
                "KERUTA_BASE_DIR",
            ) from exc
        return cls._over(Database(base_dir, create=False))

    def close(self) -> None:
        """Close the database."""
        self.database.close()

    @classmethod
    def _over(cls, database: Database) -> Self:
        journal = Journal(database)
        outbox = Outbox(database)
        jobs = Jobs(database, journal)
        withdrawals = Withdrawals(database, jobs, journal)
        counters = Counters(database)
        return cls(
            database=database,
            jobs=jobs,
            runs=Runs(database, jobs, outbox, journal),
            outbox=outbox,
            artifacts=Artifacts(database, outbox),
            journal=journal,
            usages=Usages(database),
            counters=counters,
            questions=Questions(database, outbox, journal),
            repositories=Repositories(database),
            withdrawals=withdrawals,
            intake=Intake(database, jobs, withdrawals),
            requests=RecentRequests(database),
            retention=Retention(database, counters),
        )
