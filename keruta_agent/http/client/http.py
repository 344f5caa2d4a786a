"""HTTP to one service: authentication, time limits, back-off for reads, errors of our own.

Reads (GET) are tried again for a few seconds. Writes are sent once, because only the outbox knows
what may be repeated; the errors say whether a write surely did not arrive (``ApiUnreachable``) or
may have (``ApiAmbiguous``).
"""

from __future__ import annotations

import collections
import contextlib
import functools
import itertools
import json
import logging
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import backoff
import requests
import urllib3.exceptions

from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff
from keruta_agent.http.client import answers, auth, base_url, bodies, lost, redirects, trust
from keruta_agent.http.client.calls import CallCounter
from keruta_agent.http.client.multipart import MultipartBody

logger = logging.getLogger(__name__)

#: Making a connection takes milliseconds; a host that drops packets should not cost the whole
#: read limit.
CONNECT_TIMEOUT_S = 5.0
#: Tries of one read in all, and the time after which no further one begins.
READ_TRIES = 3
READ_RETRY_TIME_S = 6.0
#: A server that asks to wait longer than this is left alone until the caller comes again.
LONGEST_WAIT_S = 5.0

#: A whole answer may take this many times as long as the silence between two of its bytes.
ANSWER_TIMES = 3.0

_BACKOFF = Backoff(first_s=0.2, longest_s=LONGEST_WAIT_S, factor=3.0)


def segment(value: str) -> str:
    """Return an id as one segment of a path.

    Raises:
        ApiNotFound: no id looks like that; in a path it would name another resource.
    """
    has_halves = value != value.encode("utf-8", "replace").decode()
    if has_halves or value.strip() in ("", ".", ".."):
        raise errors.ApiNotFound(f"Nothing has the id {value!r}", advice="Give the complete id")
    return quote(value, safe="")


class HttpClient:
    """One service over HTTP; safe to be used by several threads at once."""

    def __init__(
        self,
        address: str,
        *,
        token: str | None,
        timeout_s: float,
        user_agent: str,
        ca_file: Path | None = None,
    ) -> None:
        """Take the service's address, and the authorities that its certificate is checked with.

        Raises:
            SettingsError: the address, the token or the authorities cannot be used.
        """
        self._base = base_url.parse(address)
        #: Where requests go: the address, or the one that it was moved to permanently.
        self._root = self._base.url
        self._token = auth.checked_token(token)
        self._auth = auth.auth_of(self._base, self._token)
        self._ca_file = ca_file
        self._trusted = functools.cache(functools.partial(trust.context, ca_file))
        if self._base.url.startswith("https:"):
            self._trusted()  # a wrong setting fails now, not at the first request
        self._timeout_s = timeout_s
        self._user_agent = user_agent
        # requests does not promise that one session serves several threads: each call takes one
        # out and puts it back, so that there are as many as calls at once.
        self._idle: collections.deque[requests.Session] = collections.deque()
        self._closed = False
        self.calls = CallCounter()

    @property
    def url(self) -> str:
        """Address of the service, without credentials."""
        return self._base.url

    def close(self) -> None:
        """Close the connections; calls that still run close theirs when they end."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def get(
        self,
        action: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        largest: int | None = None,
    ) -> requests.Response:
        """Read; tries again for a few seconds when the server is away or overloaded.

        An answer of more than ``largest`` bytes is refused; there is a limit in any case.
        """

        def once() -> requests.Response:
            return self.get_once(action, path, params=params, headers=headers, largest=largest)

        retrying = backoff.on_exception(
            waits(_BACKOFF.delay_s),
            (errors.ApiUnreachable, errors.ApiOverloaded),
            max_tries=READ_TRIES,
            max_time=READ_RETRY_TIME_S,
            jitter=None,
            giveup=_asks_for_too_long,
            on_backoff=lambda _: self.calls.retried(),
            logger=None,
        )
        response: requests.Response = retrying(once)()
        return response

    def get_once(
        self, action: str, path: str, *, anywhere: bool = True, **options: Any
    ) -> requests.Response:
        """Read once; ``options`` are those of ``get``.

        A redirect leads ``anywhere``, without the token, or no further than on its host.
        """
        response = self._send(action, "GET", path, anywhere=anywhere, **options)
        return self._checked(response, action)

    def fetch(self, action: str, path: str, **options: Any) -> requests.Response:
        """Read once and return whatever the server answered; ``options`` are those of ``get``."""
        return self._send(action, "GET", path, anywhere=True, **options)

    def write(
        self,
        action: str,
        method: str,
        path: str,
        body: object,
        *,
        key: str,
        timeout_s: float | None = None,
    ) -> requests.Response:
        """Send JSON once; a repeated write carries the same ``key``."""
        response = self.ask(action, method, path, body, key=key, timeout_s=timeout_s)
        return answers.stored(self._checked(response, action), action)

    def ask(
        self,
        action: str,
        method: str,
        path: str,
        body: object,
        *,
        key: str,
        timeout_s: float | None = None,
    ) -> requests.Response:
        """Send JSON once and return whatever was answered, a refusal too."""
        # Text with lone surrogates (bytes of a script that are no UTF-8) has no UTF-8 form and
        # would make the server fail.
        data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        return self._send(
            action, method, path, data=data, headers=headers, read_timeout_s=timeout_s
        )

    def upload(
        self, action: str, path: str, body: Any, *, content_type: str, key: str, timeout_s: float
    ) -> requests.Response:
        """Send a body that is read from disk while it leaves.

        A slow way or a slow server may stand still for ``timeout_s`` in the middle of it.
        """
        headers = {"Content-Type": content_type, "Idempotency-Key": key}
        response = self._send(
            action,
            "POST",
            path,
            data=body,
            headers=headers,
            # The library writes under this limit: that of a connection would break off, and have
            # a gigabyte begin anew, after seconds.
            connect_timeout_s=timeout_s,
            read_timeout_s=timeout_s,
        )
        return answers.stored(self._checked(response, action), action)

    @contextlib.contextmanager
    def stream(
        self,
        action: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        silence_s: float,
        anywhere: bool = True,
    ) -> Iterator[requests.Response]:
        """Open a stream; reading it fails after ``silence_s`` without a byte."""
        response = self._send(
            action,
            "GET",
            path,
            params=params,
            headers=headers,
            read_timeout_s=silence_s,
            anywhere=anywhere,
            stream=True,
        )
        with response:
            yield self._checked(response, action)

    def _send(
        self,
        action: str,
        method: str,
        path: str,
        *,
        connect_timeout_s: float | None = None,
        read_timeout_s: float | None = None,
        anywhere: bool = False,
        stream: bool = False,
        largest: int | None = None,
        **arguments: Any,
    ) -> requests.Response:
        read_timeout_s = self._timeout_s if read_timeout_s is None else read_timeout_s
        if connect_timeout_s is None:
            connect_timeout_s = min(CONNECT_TIMEOUT_S, self._timeout_s)
        arguments["timeout"] = (connect_timeout_s, read_timeout_s)
        try:
            with self._session() as session:
                response = self._follow(session, method, path, anywhere, arguments)
                if not stream:
                    bodies.read(response, ANSWER_TIMES * read_timeout_s, largest)
        except urllib3.exceptions.LocationParseError as exc:
            raise errors.SettingsError(
                f"{action} failed: the API's address is not a valid URL",
                advice="Check KERUTA_API_URL",
            ) from exc
        except errors.SettingsError as exc:  # a redirect led to TLS, and whom to trust is not known
            raise errors.ApiFailed(f"{action} failed: {exc.message}", advice=exc.advice) from exc
        except requests.RequestException as exc:
            error = lost.error_of(
                exc,
                action,
                self.url,
                read_only=method == "GET",
                trusted=trust.described(self._ca_file),
            )
            surely_not = isinstance(error, errors.ApiUnreachable)
            self.calls.unanswered("unreachable" if surely_not else "lost")
            raise error from exc
        self.calls.answered(response.status_code)
        return response

    def _follow(
        self,
        session: requests.Session,
        method: str,
        path: str,
        anywhere: bool,
        arguments: dict[str, Any],
    ) -> requests.Response:
        """Send a request to where it is led, and return the first answer that leads nowhere.

        The method and the body stay as they are. An answer that leads where this request may not
        go is returned as it is.
        """
        url, signature = f"{self._root}{path}", self._auth
        for _ in range(redirects.MOST + 1):
            response = session.request(
                method, url, auth=signature, allow_redirects=False, stream=True, **arguments
            )
            led_to = redirects.target(response)
            if led_to is None or redirects.gives_up_tls(url, led_to):
                return response
            if not redirects.stays(url, led_to):
                if not anywhere:
                    return response
                signature = auth.ANONYMOUS  # and stays so: nobody else leads the token back
            elif method != "GET" and response.status_code == redirects.SEE_OTHER:
                return response
            elif signature is self._auth:
                self._note_redirect(response, path)
            response.close()
            url = led_to
            arguments.pop("params", None)  # the new address brings its own
            if isinstance(body := arguments.get("data"), MultipartBody):
                body.rewind()
        raise requests.TooManyRedirects(request=response.request)

    def _note_redirect(self, response: requests.Response, path: str) -> None:
        """Remember an address that was moved permanently, and log it once."""
        base = redirects.moved_base(response, path)
        if base is None or base == self._root or not redirects.is_permanent(response):
            return
        logger.warning(
            "%s redirects to %s: set KERUTA_API_URL to that address",
            self._root,
            base,
            extra={"action": "api_moved"},
        )
        self._root = base

    @contextlib.contextmanager
    def _session(self) -> Iterator[requests.Session]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._new_session()
        try:
            yield session
        finally:
            if self._closed:
                session.close()
            else:
                self._idle.append(session)

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        # HTTP_PROXY would catch the loopback addresses as well. Whom TLS trusts is not affected.
        session.trust_env = not self._base.is_loopback
        session.auth = self._auth
        session.mount("https://", trust.TrustingAdapter(self._trusted))
        session.headers["Accept"] = "application/json"
        session.headers["User-Agent"] = self._user_agent
        return session

    def error_of(self, response: requests.Response, action: str) -> errors.ApiError | None:
        """Return the error that an answer reports, None when it is a success."""
        return answers.error_of(response, action, secret=self._token or self._base.password)

    def _checked(self, response: requests.Response, action: str) -> requests.Response:
        error = self.error_of(response, action)
        if error is None:
            return response
        if isinstance(error, errors.ApiUnauthorized) and self._left_the_origin(response):
            error.advice = (
                "It redirects to another address, where the token is not sent: "
                "set KERUTA_API_URL to that address"
            )
        raise error

    def _left_the_origin(self, response: requests.Response) -> bool:
        return not redirects.stays(self._base.url, response.url)


def waits(
    delay_s: Callable[[int], float],
) -> Callable[[], Generator[float, errors.ApiError, None]]:
    """Return what the library asks for the pauses between tries: the server's, else growing ones.

    ``delay_s`` takes the number of failures so far.
    """

    def each() -> Generator[float, errors.ApiError, None]:
        error = yield 0
        for failures in itertools.count(1):
            asked_s = error.retry_after_s
            error = yield delay_s(failures) if asked_s is None else asked_s

    return each


def _asks_for_too_long(error: errors.ApiError) -> bool:
    return error.retry_after_s is not None and error.retry_after_s > LONGEST_WAIT_S
