"""Whether the API takes what the agent has to tell it; while it does not, none of its tasks start.

A script whose end cannot be told would run, and look at the API as if it had not.
"""

from __future__ import annotations

import logging

from keruta_agent import errors
from keruta_agent.ports import KerutaApi

logger = logging.getLogger(__name__)


class WriteCheck:
    """What is known of writes to the API; tested until one has arrived."""

    def __init__(self) -> None:
        #: Why no write arrives; None when some do, and as long as it is not known.
        self.problem: errors.ApiError | None = None
        self._is_proved = False
        self._is_doubt_told = False

    def test(self, api: KerutaApi) -> None:
        """Test a write, unless one is known to arrive."""
        if self._is_proved:
            return
        try:
            api.check_writes()
        except (errors.ApiBlocked, errors.ApiUnauthorized) as exc:
            self._refused(exc)
        except errors.ApiError as exc:  # it may be broken just now; the outbox keeps all
            if not self._is_doubt_told:
                self._is_doubt_told = True
                logger.warning(
                    "cannot tell whether the API takes reports, starts its tasks all the same: %s",
                    exc,
                    extra={"action": "writes_in_doubt"},
                )
        else:
            self._is_proved = True
            if self.problem is not None:
                self.problem = None
                logger.info("the API takes reports now", extra={"action": "writes_arrive"})

    def _refused(self, exc: errors.ApiError) -> None:
        if self.problem is None or self.problem.message != exc.message:
            logger.error(
                "starts none of the API's tasks, goes on trying: %s",
                exc,
                extra={"action": "writes_refused"},
            )
        self.problem = exc
