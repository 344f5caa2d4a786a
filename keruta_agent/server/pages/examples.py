"""The ready-made task scripts, which the demo runs and the pages offer."""

from __future__ import annotations

import functools
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: The checkout first: where the package lies beside its tasks, they belong together.
PLACES: Final = (
    Path(__file__).parents[3] / "tasks",
    Path(sysconfig.get_path("data")) / "share" / "keruta-agent" / "tasks",
)


@functools.cache
def scripts() -> Mapping[str, str]:
    """Return the texts of the scripts by their names: of the checkout, else as installed."""
    for directory in PLACES:
        found = {path.stem: path.read_text(encoding="utf-8") for path in directory.glob("*.sh")}
        if found:
            return found
    return {}
