"""The end of a program with all that it started."""

from __future__ import annotations

import subprocess

from keruta_agent.core.process_tree import ending, proc
from keruta_agent.core.process_tree.children import OWN

#: So many that they are not all dead at once when they are killed.
CHILDREN = 50


def test_nothing_of_a_group_is_alive_when_its_end_returns() -> None:
    # They ignore SIGTERM, by which their leader ends.
    script = f"for i in $(seq {CHILDREN}); do (trap '' TERM; echo; exec sleep 300) & done; wait"
    leader = OWN.spawn(["/bin/sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
    assert leader.stdout is not None
    with leader.stdout as ready:
        for _ in range(CHILDREN):
            ready.readline()
    assert len(proc.group_members(leader.pid)) == CHILDREN + 1

    ending.end(leader, 5.0)

    assert proc.group_members(leader.pid) == []
