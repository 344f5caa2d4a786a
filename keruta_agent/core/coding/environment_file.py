"""The variables of a runner in a container, from a file that its worker wrote.

What its command line or ``inspect`` shows is open to many. The worker removes the file once the
runner has connected to its fence.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from keruta_agent.core import errors

#: Path of a file with a JSON object of variables.
VARIABLE: Final = "KERUTA_ENVIRONMENT_FILE"
_LARGEST: Final = 16 * 1024 * 1024


def take(environment: MutableMapping[str, str]) -> None:
    """Take up the variables of the file, where one is named.

    Raises:
        SettingsError: it cannot be read.
    """
    path = environment.pop(VARIABLE, "")
    if not path:
        return
    try:
        with Path(path).open(encoding="utf-8") as file:
            values = json.loads(file.read(_LARGEST))
    except (OSError, ValueError) as exc:
        raise errors.SettingsError(
            f"cannot read the variables in {path}: {exc}",
            advice=f"Unset {VARIABLE}, or let it name a file of JSON that this user can read",
        ) from exc
    if not isinstance(values, dict):
        raise errors.SettingsError(f"{path} holds no object of variables")
    environment.update({str(name): str(value) for name, value in values.items()})
