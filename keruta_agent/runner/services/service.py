"""What the clients of the runner's services share: tries, time limits, and words for errors.

Every write carries an Idempotency-Key, so that it may be sent again when its answer was lost.
Redirects are not followed: a service that is sent elsewhere is set up wrongly, or is not ours.
"""

from __future__ import annotations

import dataclasses
import logging
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, Self, TypeVar

import backoff

from keruta_agent import __version__
from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff, spread
from keruta_agent.http.client import answers
from keruta_agent.http.client.http import HttpClient, segment, waits

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for the question whether a service is there.
HEALTH_TIMEOUT_S: Final = 5.0
#: A service that asks to wait longer than this is given up.
LONGEST_WAIT_S: Final = 60.0

_USER_AGENT: Final = f"keruta-agent/{__version__} (runner)"


class RetryPolicy(Protocol):
    """How often something is tried again, and after how many seconds."""

    @property
    def max_retries(self) -> int:
        """Attempts after the first."""

    def get_delay(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt, counted from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Usual:
    max_retries: int = 3

    def get_delay(self, attempt: int) -> float:
        return Backoff(first_s=1.0, longest_s=10.0, jitter=0.0).delay_s(attempt + 1)


class ServiceClient:
    """One service over HTTP; safe to be used by several threads at once."""

    #: How people know the service.
    service: str
    #: Setting that holds its address.
    setting: str
    #: Where keruta serves it, unless told otherwise.
    port: int
    #: Variable that holds its key, if it has one of its own.
    key_variable = "the key that the service was started with"

    def __init__(
        self,
        base_url: str,
        timeout: float = 30,
        *,
        api_key: str | None = None,
        retry_config: RetryPolicy | None = None,
    ) -> None:
        """Take the service's address, and the seconds that it may take for an answer.

        Raises:
            SettingsError: the address or the key cannot be used.
        """
        self._http = self._connected(base_url, timeout, api_key)
        self._health = self._connected(base_url, min(timeout, HEALTH_TIMEOUT_S), api_key)
        self._retry: RetryPolicy = retry_config or _Usual()
        self.base_url = self._http.url
        self.timeout = timeout

    def _connected(self, base_url: str, timeout_s: float, key: str | None) -> HttpClient:
        try:
            return HttpClient(base_url, token=key, timeout_s=timeout_s, user_agent=_USER_AGENT)
        except errors.SettingsError as exc:
            what = "key" if "token" in exc.message else "address"
            advice = f"Set {self.setting} to something like http://localhost:{self.port}"
            if base_url.startswith("file:"):
                advice += (
                    "; directories are served by: keruta server --runner-services-only --data DIR"
                )
            if what == "key":
                advice = f"Check {self.key_variable}: a key is one line of ASCII"
            raise errors.SettingsError(
                f"the {what} of the {self.service} cannot be used", advice=advice
            ) from exc

    def health_check(self) -> bool:
        """Return whether the service answers, and say that it is well."""
        try:
            return self._health.fetch(self.service, "/health").status_code == 200
        except errors.ApiError as exc:
            logger.info(
                "the %s is not well: %s",
                self.service,
                exc.message,
                extra={"action": "runner_service_away"},
            )
            return False

    def close(self) -> None:
        """Close the connections."""
        self._http.close()
        self._health.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.base_url!r})"

    def _path(self, doing: str, kind: str, identifier: str) -> str:
        """Return the path of one thing of a kind.

        Raises:
            ServiceError: nothing has such an id.
        """
        try:
            return f"/{kind}s/{segment(identifier)}"
        except errors.ApiNotFound as exc:
            raise errors.ServiceError(f"Failed to {doing}: no {kind} has such an id") from exc

    def _read(
        self, doing: str, path: str, what: str, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the JSON object that tells of something."""

        def once() -> Any:
            response = self._http.get_once(self.service, path, params=params, anywhere=False)
            return answers.json_of(response, self.service)

        found = self._tried(doing, once)
        if not isinstance(found, dict):
            raise errors.ServiceError(
                f"Failed to {doing}: {self.base_url} answered something else than {what}"
            )
        return found

    def _write(
        self,
        doing: str,
        method: str,
        path: str,
        body: Mapping[str, Any],
        *,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send JSON and return that of the answer, None when it holds none."""
        key = key or str(uuid.uuid4())

        def once() -> Any:
            response = self._http.write(
                self.service, method, path, body, key=key, timeout_s=timeout_s
            )
            return answers.body_of(response)

        return self._tried(doing, once)

    def _tried(self, doing: str, once: Callable[[], T]) -> T:
        """Do something until it succeeds, may not pass, or was tried often enough.

        Raises:
            RunnerError: it did not succeed; the text begins with what could not be done.
        """
        retrying = backoff.on_exception(
            waits(lambda failures: spread(self._retry.get_delay(failures - 1))),
            errors.ApiError,
            max_tries=self._retry.max_retries + 1,
            jitter=None,
            giveup=lambda exc: not _may_pass(exc),
            on_backoff=lambda details: logger.info(
                "%s: trying again in %.1f s: %s",
                doing,
                details["wait"],
                details["exception"].message,
                extra={"action": "runner_service_retry"},
            ),
            logger=None,
        )
        try:
            done: T = retrying(once)()
        except errors.ApiError as exc:
            raise self.translated(doing, exc) from exc
        except ValueError as exc:  # a value that JSON does not have
            raise errors.RunnerError(f"Failed to {doing}: {exc}") from exc
        return done

    def translated(self, doing: str, exc: errors.ApiError) -> errors.RunnerError:
        """Return an error of HTTP in the words of the runner."""
        said = exc.message.removeprefix(self.service).removeprefix(" failed: ").strip()
        said = said.replace("KERUTA_API_URL", self.base_url)
        if isinstance(exc, errors.ApiUnreachable):
            why = said.rpartition("cannot be reached")[2]
            return errors.ConnectionError(
                f"Failed to connect to {self.base_url}{why}",
                advice=f"Check that the {self.service} runs and that {self.setting} is right",
            )
        if isinstance(exc, errors.ApiUnauthorized):
            return errors.AuthenticationError(
                f"Failed to {doing}: the {self.service} at {self.base_url} does not accept the key",
                advice=f"Check {self.key_variable}",
            )
        return errors.ServiceError(
            f"Failed to {doing} at {self.base_url}: {said}", advice="", status=exc.status
        )


def _may_pass(exc: errors.ApiError) -> bool:
    if exc.retry_after_s is not None and exc.retry_after_s > LONGEST_WAIT_S:
        return False
    if isinstance(exc, errors.ApiUnreachable | errors.ApiAmbiguous | errors.ApiOverloaded):
        return True
    return isinstance(exc, errors.ApiFailed) and exc.status is not None and exc.status >= 500
