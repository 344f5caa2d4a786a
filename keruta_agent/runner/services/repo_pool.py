"""The client of the Repo Pool Manager, which lends workspaces."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.core.coding.model import SlotAllocation
from keruta_agent.runner.services.service import RetryPolicy, ServiceClient

#: Seconds that an answer may take on top of the wait that is asked for: the pool may have to
#: clone. A request that takes longer is sent again with its key, and goes on waiting.
PREPARATION_S: Final = 120.0

#: Answers that say that all slots are lent.
_ALL_LENT: Final = frozenset({409, 423, 429, 503})


class RepoPoolClient(ServiceClient):
    """Slots: clones of a repository that are lent to one run at a time."""

    service = "Repo Pool Manager"
    setting = "repo_pool_url"
    port = 8002

    def __init__(
        self,
        base_url: str,
        timeout: float = 30,
        *,
        api_key: str | None = None,
        retry_config: RetryPolicy | None = None,
    ) -> None:
        super().__init__(base_url, timeout, api_key=api_key, retry_config=retry_config)
        self._guard = threading.Lock()
        #: Lease of each slot that was borrowed here and not given back.
        self._leases: dict[str, str] = {}

    def allocate_slot(
        self,
        repo_url: str,
        required_by: str,
        timeout_seconds: float | None = None,
        *,
        lease_seconds: float | None = None,
    ) -> SlotAllocation:
        """Borrow a clean clone of a repository.

        Args:
            repo_url: address of the repository.
            required_by: the client, shown in the state of the pool.
            timeout_seconds: how long the pool may wait until a slot is given back; not at all
                when left out.
            lease_seconds: after how many seconds without a heartbeat the pool takes the slot
                back; left out, the pool decides.

        Raises:
            SlotAllocationError: no slot is free, or none can be made.
            AuthenticationError: the pool does not accept the key.
            ConnectionError: the pool cannot be reached.
        """
        body: dict[str, Any] = {"repo_url": repo_url, "required_by": required_by}
        if timeout_seconds:
            body["timeout_seconds"] = timeout_seconds
        if lease_seconds:
            body["lease_seconds"] = lease_seconds
        answer = self._write(
            "allocate a slot",
            "POST",
            "/slots/allocate",
            body,
            # One for all tries: a slot whose answer was lost is found again instead of leaking.
            key=str(uuid.uuid4()),
            timeout_s=(timeout_seconds or 0) + max(self.timeout, PREPARATION_S),
        )
        return self._allocation(answer)

    def _allocation(self, answer: Any) -> SlotAllocation:
        values = answer if isinstance(answer, dict) else {}
        slot_id, path = values.get("slot_id"), values.get("slot_path")
        if not slot_id or not isinstance(slot_id, str) or not path or not isinstance(path, str):
            raise errors.SlotAllocationError(
                f"Invalid slot allocation response from {self.base_url}: "
                "it lacks slot_id or slot_path"
            )
        lease = values.get("lease_token")
        if isinstance(lease, str):
            with self._guard:
                self._leases[slot_id] = lease
        else:
            lease = None
        return SlotAllocation(slot_id=slot_id, slot_path=Path(path), lease_token=lease)

    def release_slot(self, slot_id: str, *, lease_token: str | None = None) -> None:
        """Give a slot back. Nothing happens when it was given back already.

        Raises:
            RunnerError: the pool refused (the slot is another's by now), or cannot be reached.
        """
        doing = f"release slot {slot_id!r}"
        path = f"{self._path(doing, 'slot', slot_id)}/release"
        body = self._lease_of(slot_id, lease_token)
        key = str(uuid.uuid4())
        may_be_done = False

        def once() -> None:
            nonlocal may_be_done
            try:
                self._http.write(self.service, "POST", path, body, key=key)
            except (errors.ApiAmbiguous, errors.ApiOverloaded, errors.ApiFailed):
                may_be_done = True
                raise
            except errors.ApiConflict:
                # The slot came back by the attempt whose answer was lost, and is lent anew.
                if not may_be_done:
                    raise

        self._tried(doing, once)
        with self._guard:
            self._leases.pop(slot_id, None)

    def heartbeat(self, slot_id: str, *, lease_token: str | None = None) -> None:
        """Renew the lease of a slot (heartbeat).

        Raises:
            RunnerError: the slot is another's by now, or the pool cannot be reached.
        """
        doing = f"keep slot {slot_id!r}"
        path = f"{self._path(doing, 'slot', slot_id)}/heartbeat"
        self._write(doing, "POST", path, self._lease_of(slot_id, lease_token))

    def get_slot_status(self, slot_id: str) -> dict[str, Any]:
        """Return what the pool knows of a slot.

        Raises:
            RunnerError: there is no such slot, or the pool cannot be reached.
        """
        doing = f"get the status of slot {slot_id!r}"
        return self._read(doing, self._path(doing, "slot", slot_id), "a slot")

    def get_pools_status(self) -> dict[str, Any]:
        """Return all slots, by repository.

        Raises:
            RunnerError: the pool cannot be reached.
        """
        return self._read("get the status of the pools", "/pools/status", "pools")

    def translated(self, doing: str, exc: errors.ApiError) -> errors.RunnerError:
        """Return an error of HTTP in the words of the runner."""
        error = super().translated(doing, exc)
        if doing != "allocate a slot" or exc.status is None or exc.status in (401, 403):
            return error
        if exc.status in _ALL_LENT:
            return errors.SlotAllocationError(
                f"No available slots at {self.base_url}: {exc.message}",
                advice="Wait for one (timeout_seconds), release one, or raise the pool's size",
            )
        return errors.SlotAllocationError(error.message)

    def _lease_of(self, slot_id: str, lease_token: str | None) -> dict[str, str]:
        with self._guard:
            token = lease_token or self._leases.get(slot_id)
        return {"lease_token": token} if token else {}
