"""The body of an answer as it arrives: a stream of events, or JSON from a server without one.

What comes decides, not what was asked for: some servers only stream, and some never do. A stream
becomes the body that a server without one would have sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from keruta_agent.runner.model import reply as llm_reply
from keruta_agent.runner.model.reply import Refusal, Reply


class Body:
    """An answer while it is read; another thread may look how far it is."""

    def __init__(self) -> None:
        self._line = bytearray()
        self._plain: list[bytes] = []
        self._event = ""
        self._is_stream = False
        self._error: Mapping[str, Any] | None = None
        self._model = ""
        self._usage: Any = None
        self._content: list[str] = []
        self._refusal: list[str] = []
        #: Arguments of called functions, in their order.
        self._calls: dict[int, list[str]] = {}
        self._names: dict[int, str] = {}
        self._reason: Any = None
        self._has_choice = False
        #: Parts that have arrived, which is about as many as tokens.
        self.parts = 0
        #: When the model said that it is done; servers tell what was used after that.
        self.finished_at: float | None = None
        #: Whether the server has said that nothing follows.
        self.is_done = False

    def feed(self, piece: bytes) -> None:
        """Take what has arrived."""
        if not self._is_stream:
            self._plain.append(piece)
        # Lines end with a newline here and with nothing else: JSON may hold the other characters
        # that text is split at.
        first, *others = piece.split(b"\n")
        self._line += first
        for following in others:
            self._take(bytes(self._line).rstrip(b"\r"))
            self._line = bytearray(following)

    def read(self) -> Reply | Refusal:
        """Return what the whole answer says."""
        if self._line:
            self._take(bytes(self._line))
        if not self._is_stream:
            return llm_reply.read(b"".join(self._plain).decode("utf-8", "replace"))
        if self._error is not None:
            return llm_reply.of_error(self._error)
        if self._reason is None and not (self.is_done and self._has_choice):
            return Refusal(status=502, message="its answer ends in the middle")
        calls = [
            {"function": {"name": self._names.get(index, ""), "arguments": "".join(parts)}}
            for index, parts in self._calls.items()
        ]
        message = {
            "content": "".join(self._content),
            "refusal": "".join(self._refusal),
            "tool_calls": calls,
        }
        body = {
            "choices": [{"message": message, "finish_reason": self._reason}],
            "model": self._model,
            "usage": self._usage,
        }
        return llm_reply.of_body(body)

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        if name not in (b"data", b"error"):
            return
        if not self._is_stream:
            self._is_stream = True
            self._plain.clear()
        text = value.decode("utf-8", "replace").strip()
        if text == "[DONE]":
            self.is_done = True
            return
        # One event may have several lines of data; most have one.
        self._event = f"{self._event}\n{text}" if self._event else text
        try:
            event = json.loads(self._event)
        except (ValueError, RecursionError):
            return
        self._event = ""
        if isinstance(event, dict):
            # Early llama.cpp: the error is a line of its own.
            self._read({"error": event} if name == b"error" else event)

    def _read(self, event: Mapping[str, Any]) -> None:
        if event.get("error"):
            self._error = self._error or event
            return
        self._model = self._model or str(event.get("model") or "")
        self._usage = event.get("usage") or self._usage
        choices = event.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):
                self._read_choice(choice)

    def _read_choice(self, choice: Mapping[str, Any]) -> None:
        self._has_choice = True
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self.parts += 1
            self._content.append(llm_reply.text_of(delta.get("content")))
            self._refusal.append(llm_reply.text_of(delta.get("refusal")))
            calls = delta.get("tool_calls")
            for place, call in enumerate(calls if isinstance(calls, list) else ()):
                self._read_call(call, place)
        if choice.get("finish_reason"):
            self._reason = choice["finish_reason"]
            self.finished_at = self.finished_at or time.monotonic()

    def _read_call(self, call: Any, place: int) -> None:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            return
        given = function.get("arguments")
        arguments = json.dumps(given) if isinstance(given, dict) else llm_reply.text_of(given)
        index = call.get("index")
        place = index if isinstance(index, int) else place
        self._calls.setdefault(place, []).append(arguments)
        if name := llm_reply.text_of(function.get("name")):
            self._names.setdefault(place, name)
