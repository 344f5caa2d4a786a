"""Agents and claims of the in-memory keruta API."""

from __future__ import annotations

import dataclasses
import time

from keruta_agent.core import errors
from keruta_agent.core.model import AgentIdentity, AgentRole, Registration, Task, TaskStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Seen:
    identity: AgentIdentity
    session_id: str
    role: AgentRole
    #: Monotonic seconds.
    lease_ends: float


class AgentRegister:
    """The agents that the double knows."""

    def __init__(self) -> None:
        self._agents: dict[str, _Seen] = {}

    def silence(self, agent_id: str) -> None:
        """Let an agent have been silent for its lease."""
        self._agents[agent_id] = dataclasses.replace(self._agents[agent_id], lease_ends=0.0)

    def role(self, agent_id: str) -> AgentRole:
        """Return what an agent is to its session."""
        return self._agents[agent_id].role

    def register(self, agent: AgentIdentity, session_id: str, lease_s: float) -> Registration:
        """Register an agent or renew its lease."""
        self.refuse_copy(agent)
        others = [
            seen
            for seen in self._agents.values()
            if seen.identity.id != agent.id
            and seen.session_id == session_id
            and seen.role is AgentRole.ACTIVE
            and _is_alive(seen)
        ]
        role = AgentRole.STANDBY if others or lease_s <= 0 else AgentRole.ACTIVE
        if role is AgentRole.ACTIVE:
            for one in self._agents.values():
                if one.session_id == session_id:
                    self._agents[one.identity.id] = dataclasses.replace(one, role=AgentRole.STANDBY)
        self._agents[agent.id] = _Seen(
            identity=agent,
            session_id=session_id,
            role=role,
            lease_ends=time.monotonic() + lease_s,
        )
        return Registration(role=role, active=f"agent {others[0].identity.id}" if others else "")

    def refuse_copy(self, agent: AgentIdentity) -> None:
        """Refuse an agent whose id another living one uses."""
        seen = self._agents.get(agent.id)
        if seen is not None and _is_alive(seen) and seen.identity.instance != agent.instance:
            raise errors.ApiConflict(
                f"Another agent has the id {agent.id}", status=409, code="AGENT_ID_IN_USE"
            )


def check_claim(task: Task, agent: AgentIdentity, *, begun: bool) -> None:
    """Refuse a claim as the server would."""
    if task.status.is_terminal:
        raise errors.ApiConflict(f"Task {task.id} is {task.status}", status=409, code="TASK_ENDED")
    if task.claimed_by not in (None, agent.id):
        raise errors.ApiConflict(
            f"Task {task.id} is claimed by the agent {task.claimed_by}", status=409, code="CLAIMED"
        )
    if task.claimed_by is None and task.status is not TaskStatus.PENDING and not begun:
        raise errors.ApiConflict(f"Task {task.id} is {task.status}", status=409, code="BEGUN")


def _is_alive(seen: _Seen) -> bool:
    return time.monotonic() < seen.lease_ends
