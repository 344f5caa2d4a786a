"""The end of a daemon: what it still sends, and how a new image of the program replaces it."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from typing import Final

from keruta_agent.agent.daemon import lock
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.outbox import Lane
from keruta_agent.core.log import keys
from keruta_agent.core.process_tree import dispositions
from keruta_agent.core.signals import StopRequests

logger = logging.getLogger(__name__)

#: Seconds that a stopping daemon spends on draining the outbox.
DRAIN_S: Final = 15.0
#: Seconds between looks whether all is sent.
LOOK_S: Final = 0.1


def drain_outbox(agent: Agent) -> None:
    """Send the API what it takes now; the rest waits in the outbox.

    Files are sent by their worker meanwhile: a large one is cut off, not waited for.
    """
    deadline = time.monotonic() + DRAIN_S
    while agent.outbox_sender is not None and time.monotonic() < deadline:
        try:
            agent.outbox_sender.deliver(deadline - time.monotonic(), Lane.REPORTS)
        except sqlite3.OperationalError as exc:
            if not agent.disk.is_unwritable(exc):
                raise
            break
        dues = [agent.outbox_sender.due_in_s(lane) for lane in Lane]
        if dues == [None, None] or agent.outbox_sender.api_is_away:
            break
        agent.queue.outbox_filled()
        time.sleep(LOOK_S)
    left = agent.records.outbox.counts().pending
    if left:
        logger.warning(
            "%d messages could not be sent to the API; the next daemon sends them",
            left,
            extra={"action": "outbox_left"},
        )


def replace_process(requests: StopRequests, locked: int) -> None:
    """Put a new image of the program in the place of this one; a running script is adopted.

    The records need no closing: what is cut off here is what kill -9 would cut off.
    """
    logger.info("replaces itself", extra={"action": "agent_replaced", "pid": os.getpid()})
    logging.shutdown()
    requests.hand_over()
    dispositions.restore_ignored()
    lock.hand_over(locked)
    keys.hide(keys.secret_names(os.environ))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted
