"""Settings of the agent's own log, and of the log of scripts that goes to the API."""

# ruff: noqa: RUF009 - setting returns a dataclass field, as dataclasses.field does

from __future__ import annotations

import dataclasses
from pathlib import Path

from keruta_agent.core.settings.declaration import setting
from keruta_agent.core.settings.fields import Choice, Location, Whole
from keruta_agent.core.units import Duration, Size


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoggingSettings:
    """The values in force for logs."""

    log_level: str = setting(
        Choice("DEBUG", "INFO", "WARN", "ERROR", aliases={"WARNING": "WARN"}),
        key="logging.level",
        environment=("KERUTA_LOG_LEVEL",),
        default="INFO",
        help="Least level that the agent logs: DEBUG, INFO, WARN or ERROR.",
    )
    log_format: str = setting(
        Choice("text", "json"),
        key="logging.format",
        environment=("KERUTA_LOG_FORMAT",),
        default="text",
        help="Form of the agent's log: text or json.",
    )
    log_file: Path | None = setting(
        Location(),
        key="logging.file",
        environment=("KERUTA_LOG_FILE",),
        help="File for the daemon's log; standard error when left out.",
    )
    log_max_size: int = setting(
        Size(),
        key="logging.max_size",
        environment=("KERUTA_LOG_MAX_SIZE",),
        default="10MB",
        help="Size at which the daemon's log file gives way to a new one; 0: never.",
    )
    log_max_age_s: float = setting(
        Duration(),
        key="logging.max_age",
        environment=("KERUTA_LOG_MAX_AGE",),
        default="7d",
        help="Age at which the daemon's log file gives way to a new one; 0: never.",
    )
    log_backups: int = setting(
        Whole(minimum=1, maximum=1000),
        key="logging.backups",
        environment=("KERUTA_LOG_BACKUPS",),
        default=5,
        help="How many of the daemon's old log files are kept.",
    )
    log_ansi: str = setting(
        Choice("strip", "keep"),
        key="logging.ansi",
        environment=("KERUTA_LOG_ANSI",),
        default="strip",
        help="Whether the colours of scripts' output go to the API: strip or keep.",
    )
    log_run_limit: int = setting(
        Size(),
        key="logging.run_limit",
        environment=("KERUTA_LOG_LIMIT",),
        default="0B",
        help="Size of a run's output that goes to the API, half of it its end; 0: all of it.",
    )
