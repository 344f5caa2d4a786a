"""The old runner's variables in a file of variables. Values are never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.settings import retired
from keruta_agent.runner.migration.finding import Finding

_ASSIGNMENT: Final = re.compile(r"\s*(?:export\s+|-\s*|ENV\s+)?([A-Za-z_]\w*)\s*[=:]")
#: Names that still work when they are said to be meant.
_RENAMED: Final = {
    "LLM_API_KEY": "Set OPENAI_API_KEY instead, or llm_api_key_env_var: LLM_API_KEY",
}


def find(path: Path) -> Iterator[Finding]:
    """Yield the old variables that a file sets.

    Raises:
        SettingsError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as exc:
        raise errors.SettingsError(f"Cannot read the variables {path}: {exc.strerror}") from exc
    for number, line in enumerate(lines, start=1):
        found = _ASSIGNMENT.match(line)
        advice = (retired.VARIABLES | _RENAMED).get(found[1]) if found else None
        if found and advice:
            yield Finding(f"{path}:{number}", found[1], advice, needs_person=True)
