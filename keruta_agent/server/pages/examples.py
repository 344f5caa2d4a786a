"""Finds the ready-made task scripts, which are offered where a task is filed."""

from __future__ import annotations

import functools
import sysconfig
from collections.abc import Mapping
from pathlib import Path


@functools.cache
def scripts() -> Mapping[str, str]:
    """Returns the texts of the scripts by their names: of the checkout, else as installed."""
    checkout = Path(__file__).parents[3] / "tasks"
    installed = Path(sysconfig.get_path("data")) / "share" / "keruta-agent" / "tasks"
    for directory in (checkout, installed):
        found = {path.stem: path.read_text(encoding="utf-8") for path in directory.glob("*.sh")}
        if found:
            return found
    return {}
