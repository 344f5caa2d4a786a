"""What a server of a language model answers: a reply, or why there is none.

Read from the plain JSON: servers leave fields away, send nulls, and say 200 to errors.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from keruta_agent.http.client import answers

_PASSING: Final = frozenset({0, 408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
_NO_MONEY: Final = ("insufficient_quota", "billing_hard_limit", "credit balance", "payment")
_TOO_LONG: Final = ("context_length", "context length", "maximum context", "too many tokens")


def estimated_tokens(text: str) -> int:
    """Return about how many tokens a text has.

    Four ASCII characters make a token, one of any other script does: a little too much for most
    models, which is the safe side of a limit.
    """
    other = len(text) - len(text.encode("ascii", "ignore"))
    return math.ceil((len(text) - other) / 4) + other


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model said."""

    text: str
    model: str = ""
    refusal: str = ""
    is_cut_off: bool = False
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def tokens(self, messages: Iterable[Mapping[str, str]]) -> tuple[int, int]:
        """Return the tokens of prompt and answer: estimated where the server does not tell."""
        prompt, completion = self.prompt_tokens, self.completion_tokens
        if prompt is None:
            prompt = sum(estimated_tokens(message["content"]) for message in messages)
        if completion is None:
            completion = estimated_tokens(self.text)
        return prompt, completion


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why there is no reply."""

    #: HTTP status; 0 without an answer.
    status: int
    message: str = ""
    #: What the server calls it, and which parameter it means.
    code: str = ""
    parameter: str = ""
    retry_after_s: float | None = None

    def names(self, *words: str) -> bool:
        """Return whether the server speaks of one of these parameters."""
        said = f"{self.parameter} {self.message}".lower()
        return any(word in said for word in words)

    @property
    def is_too_long(self) -> bool:
        """Whether the prompt does not fit into the model."""
        said = f"{self.code} {self.message}".lower()
        return any(words in said for words in _TOO_LONG)

    @property
    def has_no_money(self) -> bool:
        """Whether the account needs a payment first."""
        said = f"{self.code} {self.message}".lower()
        return self.status == 402 or any(words in said for words in _NO_MONEY)

    @property
    def is_passing(self) -> bool:
        """Whether trying again may help."""
        return self.status in _PASSING and not self.has_no_money

    @property
    def advice(self) -> str:
        """What to do now."""
        if self.has_no_money:
            return "The account's quota is used up: look at its billing"
        if self.is_too_long:
            return "Lower llm.prompt_tokens"
        if self.status == 429:
            return "It is asked too often: try again later"
        if self.status == 404:
            return "Check llm.model and llm.endpoint"
        if 300 <= self.status < 400:
            return "It redirects: set llm.endpoint to the address that it redirects to"
        return "Try again later" if self.is_passing else "Check llm.model and llm.endpoint"


def read(text: str) -> Reply | Refusal:
    """Return what the body of a successful answer says."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return Refusal(status=502, message="its answer is no JSON")
    if not isinstance(body, dict):
        return Refusal(status=502, message="its answer is no JSON object")
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return _refusal(502, body) if body.get("error") else _senseless()
    found = body.get("usage")
    usage = found if isinstance(found, dict) else {}
    reason = choice.get("finish_reason")
    refusal = _text(message.get("refusal"))
    if reason == "content_filter":
        refusal = refusal or "its content filter holds the answer back"
    return Reply(
        text=_text(message.get("content")),
        model=_text(body.get("model")),
        refusal=refusal,
        is_cut_off=reason == "length",
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
    )


def refused(status: int, headers: Mapping[str, str], text: str) -> Refusal:
    """Return what an answer with an error status says."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = {"error": {"message": text if "<" not in text else "it answers a web page"}}
    found = _refusal(status, body if isinstance(body, dict) else {})
    return dataclasses.replace(found, retry_after_s=_retry_after_s(headers))


def unreachable(exc: BaseException) -> Refusal:
    """Return why there was no answer; the library's own text only says that."""
    cause: BaseException | None = exc
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__cause__ or cause.__context__
    reason = cause.strerror if isinstance(cause, OSError) else type(exc.__cause__ or exc).__name__
    return Refusal(status=0, message=str(reason))


def _senseless() -> Refusal:
    return Refusal(status=502, message="its answer holds no message")


def _refusal(status: int, body: Mapping[str, Any]) -> Refusal:
    error = body.get("error", body.get("detail", body.get("message", "")))
    if not isinstance(error, dict):
        return Refusal(status=status, message=_text(error) or (json.dumps(error) if error else ""))
    code = _text(error.get("code")) or _text(error.get("type"))
    return Refusal(
        status=status,
        message=_text(error.get("message")),
        code=code,
        parameter=_text(error.get("param")),
    )


def _text(value: Any) -> str:
    """Return text that may come in parts."""
    if isinstance(value, list):
        return "".join(_text(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    milliseconds = answers.seconds_to_wait(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    return answers.seconds_to_wait(headers.get("retry-after", ""))
