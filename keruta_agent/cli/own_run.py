"""Commands inside a run: whether they speak for it, and how they send the agent a message."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from keruta_agent.cli import small
from keruta_agent.core import errors


def is_meant(task_id: str | None) -> bool:
    """Return whether a command about this task speaks for the run that it is part of."""
    own = os.environ.get("KERUTA_TASK_ID", "")
    return "KERUTA_RUN_TOKEN" in os.environ and task_id in (None, own)


def send(message: Mapping[str, Any]) -> int:
    """Send the agent a message about the run; return the exit code.

    Raises:
        AgentUnreachable: there is nobody, and no place, to leave it with.
    """
    code = small.send(json.dumps(message))
    if code is None:
        raise errors.AgentUnreachable(
            "neither the keruta daemon nor the directory of this run is there",
            advice="The run is over; a process that it left behind cannot report on it",
        )
    return code
