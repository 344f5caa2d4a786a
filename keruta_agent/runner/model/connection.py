"""Requests to the server of a language model, each of which ends in its time, here and there.

The official client sends them. A request that is given up shuts its connection down, also one
that waits for the first byte: the server sees that and stops its work.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import functools
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from keruta_agent.core import errors
from keruta_agent.core.coding.model import LLMConfig
from keruta_agent.http.client import base_url, trust
from keruta_agent.runner.model import limit as llm_limit
from keruta_agent.runner.model import reply as llm_reply
from keruta_agent.runner.model.reply import Refusal, Reply
from keruta_agent.runner.model.stream import Body

#: Seconds between looks whether the run is to be interrupted.
_LOOK_S: Final = 0.1
#: Seconds between reports of how far an answer is.
_REPORT_S: Final = 10.0
#: Seconds that a server may take to close a stream which the model has finished.
_CLOSE_S: Final = 5.0

#: Receives the parts of an answer so far, and its seconds.
OnProgress = Callable[[int, float], None]


class Connection:
    """The connections to one server."""

    def __init__(
        self, config: LLMConfig, *, check: Callable[[], None], on_progress: OnProgress
    ) -> None:
        self._config = config
        self._check = check
        self._on_progress = on_progress
        self._sockets: set[socket.socket] = set()

    @property
    def endpoint(self) -> str | None:
        """The address of the server, None for the library's own."""
        return self._config.endpoint or os.environ.get("OPENAI_BASE_URL") or None

    @property
    def host(self) -> str:
        """The name of the server."""
        try:
            return urlsplit(self.endpoint or "").hostname or ""
        except ValueError:
            return ""

    @functools.cached_property
    def client(self) -> Any:
        """The official client.

        Raises:
            ImplementationError: it is not installed.
            ConnectionError: the trusted certificates cannot be read.
        """
        openai, config = library(), self._config
        headers, query = dict(config.headers), dict(config.query)
        if config.api_version:  # Azure
            headers.setdefault("api-key", config.api_key or "")
            query.setdefault("api-version", config.api_version)
        # What a prompt holds does not follow a redirect to somebody else.
        options: dict[str, Any] = {
            "follow_redirects": False,
            "event_hooks": {"request": [self._watch], "response": [llm_limit.limit]},
        }
        if config.proxy is not None:
            options |= {"proxy": config.proxy, "trust_env": False}
        else:
            # A proxy of the environment would catch the loopback as well.
            options["trust_env"] = not base_url.is_loopback(self.host)
        if self.endpoint is not None and self.endpoint.startswith("http:"):
            # Reading all certificates takes a tenth of a second, and none is needed.
            options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        else:
            options["verify"] = self._trusted()
        return openai.OpenAI(
            api_key=config.api_key,
            base_url=self.endpoint,
            timeout=float(config.timeout_seconds),
            max_retries=0,
            default_headers=headers,
            default_query=query,
            http_client=openai.DefaultHttpxClient(**options),
        )

    def close(self) -> None:
        """Close the connections, also under a request that runs."""
        # Closing alone would not do: a thread that reads keeps the connection open.
        while self._sockets:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._sockets.pop(), socket.SHUT_RDWR)
        made = self.__dict__.pop("client", None)
        if made is not None:
            made.close()

    def ask(self, arguments: Mapping[str, Any]) -> Reply | Refusal:
        """Return the answer to one request, or why there is none."""
        body = Body()

        def send() -> None:
            create = self.client.chat.completions.with_streaming_response.create
            with create(**arguments, extra_body=dict(self._config.extra_body)) as response:
                for piece in response.iter_bytes():
                    body.feed(piece)
                    if body.is_done:
                        return

        refusal = self._sent(send, body)
        outcome = body.read() if refusal is None else refusal
        if isinstance(outcome, Refusal):
            return dataclasses.replace(outcome, parts=body.parts)
        if outcome.completion_tokens is None and body.parts:
            # Thoughts are not in the text, and cost as much.
            tokens = max(body.parts, llm_reply.estimated_tokens(outcome.text))
            return dataclasses.replace(outcome, completion_tokens=tokens)
        return outcome

    def _sent(self, send: Callable[[], None], body: Body) -> Refusal | None:
        """Send a request; return why there is no answer, if there is none."""
        openai = library()
        try:
            self._within(send, body)
        except openai.APIStatusError as exc:
            return llm_reply.refused(exc.status_code, exc.response.headers, exc.response.text)
        except openai.APITimeoutError:
            return Refusal(status=0, message=f"no answer in {self._config.timeout_seconds} s")
        except openai.APIConnectionError as exc:
            return llm_reply.unreachable(exc)
        except llm_limit.TooLongError as exc:
            return Refusal(status=200, message=str(exc))
        except openai.APIError as exc:
            return Refusal(status=502, message=exc.message)
        except Exception as exc:
            # While a body is read, the errors are those of the library below, which is not named.
            if not _is_of_transport(exc):
                raise
            return llm_reply.unreachable(exc)
        return None

    def _within(self, send: Callable[[], None], body: Body) -> None:
        """Send a request, in its time as a whole.

        The client's own limit begins anew with each byte, and a server that keeps a connection
        alive sends some; so the call has a thread.
        """
        openai = library()
        future: concurrent.futures.Future[None] = concurrent.futures.Future()

        def run() -> None:
            try:
                send()
            except BaseException as exc:
                future.set_exception(exc)
            else:
                future.set_result(None)

        threading.Thread(target=run, name="language-model", daemon=True).start()
        began = reported = time.monotonic()
        try:
            while not concurrent.futures.wait([future], _LOOK_S).done:
                self._check()
                now = time.monotonic()
                if body.finished_at is not None and now > body.finished_at + _CLOSE_S:
                    self.close()
                    return
                if now > began + self._config.timeout_seconds:
                    raise openai.APITimeoutError(request=None)
                if now > reported + _REPORT_S:
                    reported = now
                    self._on_progress(body.parts, now - began)
        except BaseException:
            self.close()
            raise
        future.result()

    def _watch(self, request: Any) -> None:
        """Let a request tell its sockets, and leave the key in one header."""
        request.extensions = {**request.extensions, "trace": self._trace}
        if self._config.api_version:
            request.headers.pop("authorization", None)

    def _trace(self, event: str, facts: Mapping[str, Any]) -> None:
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            connected = facts["return_value"].get_extra_info("socket")
            if isinstance(connected, socket.socket):
                self._sockets.add(connected)

    def _trusted(self) -> ssl.SSLContext:
        try:
            return trust.context(self._config.ca_file)
        except errors.SettingsError as exc:
            raise errors.ConnectionError(
                f"Failed to connect to the language model: {exc.message}", advice=exc.advice
            ) from exc


def _is_of_transport(exc: Exception) -> bool:
    """Return whether an error is of the library that the official client is built on."""
    below: str = library().DefaultHttpxClient.__mro__[2].__module__.partition(".")[0]
    return type(exc).__module__.partition(".")[0] == below


def library() -> Any:
    """Return the library; loaded when used, since it takes a third of a second."""
    try:
        import openai
    except ImportError:
        raise errors.ImplementationError(
            "The library that speaks to language models is not installed",
            advice="Install it with: pip install 'keruta-agent[llm]'",
        ) from None
    return openai
