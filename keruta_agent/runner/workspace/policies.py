"""What a run does otherwise than the agent, when it checks a branch out and pushes it."""

from __future__ import annotations

import sys
from typing import Final

from keruta_agent.git import checkout, work_tree
from keruta_agent.git.checkout import CheckoutPolicy
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Say
from keruta_agent.git.push import PushPolicy
from keruta_agent.git.scan import Limits

#: Where commits of a branch are kept that a new run does not go on from.
KEPT: Final = f"{work_tree.KEPT}/runner"
#: The runner has bounds and secrets of its own; of files for Git LFS it has none.
PUSH: Final = PushPolicy(
    limits=Limits(largest_file=sys.maxsize, holds_secret=lambda _content: False)
)


def _make_room(clone: Clone, branch: str, _commit: str, say: Say) -> None:
    checkout.clear_branches(clone.git, branch, say)


#: What is in the way of a run was set aside before; all but the branch's files go.
CHECKOUT: Final = CheckoutPolicy(
    replaced="runner/{branch}-{commit}",
    overwrites=True,
    make_room=_make_room,
    removes_untracked=True,
)
