"""How a program that starts others begins."""

from __future__ import annotations

import signal
from collections.abc import Iterable

from keruta_agent.core.process_tree import dispositions
from keruta_agent.core.process_tree.children import OWN


def take_charge(*, still_blocked: Iterable[signal.Signals] = ()) -> None:
    """Answer for all that this process starts: call it before it starts anything.

    Whatever the parent did to signals ends here, and whatever loses its own parent below this
    process becomes its child. Signals that are ``still_blocked`` wait for their handlers.
    """
    dispositions.start_children_afresh(still_blocked=still_blocked)
    OWN.adopt()
