"""The check whether the API takes writes; while it does not, none of its tasks start.

A script whose end cannot be reported would run, and look at the API as if it had not.
"""

from __future__ import annotations

import logging
import threading

from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import errors

logger = logging.getLogger(__name__)


class WriteCheck:
    """What is known of writes to the API; tested until one has arrived. Safe between threads."""

    def __init__(self) -> None:
        #: Why no write arrives; None when some do, and as long as it is not known.
        self.problem: errors.ApiError | None = None
        self._guard = threading.Lock()
        self._is_proved = False
        self._is_doubt_logged = False

    @property
    def is_proved(self) -> bool:
        """Whether the last write that was tested arrived."""
        return self._is_proved

    def test(self, api: KerutaApi) -> None:
        """Test a write, unless one is known to arrive."""
        with self._guard:
            if self._is_proved:
                return
            if self._look(api):
                self._is_proved = True
                if self.problem is not None:
                    self.problem = None
                    logger.info("the API takes reports now", extra={"action": "writes_arrive"})

    def doubt(self, api: KerutaApi) -> errors.ApiError | None:
        """Test a write again, since the API may have changed; return why none arrives.

        A problem that is known stays until ``test`` finds it gone: its caller has jobs to wake.
        """
        with self._guard:
            if self.problem is None:
                self._is_proved = self._look(api)
            return self.problem

    def _look(self, api: KerutaApi) -> bool:
        """Return whether a write surely arrives."""
        try:
            api.check_writes()
        except (errors.ApiBlocked, errors.ApiUnauthorized) as exc:
            self._refused(exc)
        except errors.ApiError as exc:  # it may be broken just now; the outbox keeps all
            if not self._is_doubt_logged:
                self._is_doubt_logged = True
                logger.warning(
                    "it is unknown whether the API takes reports; its tasks start all the same: %s",
                    exc,
                    extra={"action": "writes_in_doubt"},
                )
        else:
            return True
        return False

    def _refused(self, exc: errors.ApiError) -> None:
        if self.problem is None or self.problem.message != exc.message:
            logger.error(
                "starts none of the API's tasks, goes on trying: %s",
                exc,
                extra={"action": "writes_refused"},
            )
        self.problem = exc


def may_be_blocked(exc: errors.ApiError) -> bool:
    """Return whether a write may have failed because none reaches the API.

    Not one that got no answer, was asked to come later, or was not sent at all.
    """
    if isinstance(exc, errors.ApiUnsupported | errors.ApiOverloaded):
        # A route known to be missing is not asked; a page in place of an answer has no status.
        return (exc.status is None) == isinstance(exc, errors.ApiOverloaded)
    return not isinstance(exc, errors.ApiUnreachable | errors.ApiAmbiguous)
