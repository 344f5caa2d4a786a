"""What a server of a language model answers: a reply, or why there is none.

Read from the plain JSON: servers leave fields away, send nulls, and say 200 to errors.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from keruta_agent.http.client import answers
from keruta_agent.runner.model import words
from keruta_agent.runner.model.words import Meaning

_PASSING: Final = frozenset({0, 408, 409, 425, 429, 500, 502, 503, 504, 520, 522, 524, 529})
#: What servers call it when the limit of the answer's length has ended it.
_CUT_OFF: Final = frozenset(
    {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"}
)
_HELD_BACK: Final = frozenset(
    {"content_filter", "safety", "recitation", "prohibited_content", "blocklist", "refusal"}
)


#: Where servers put the name of an error: OpenAI and most; others; Gemini.
_CODES: Final = ("code", "type", "status")


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
    #: Of these, what the model has thought with.
    reasoning_tokens: int = 0
    #: Names of the functions that it calls, with their arguments.
    calls: tuple[tuple[str, str], ...] = ()

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
    #: Whether a web page has answered: it is no model's address.
    is_page: bool = False
    #: Parts of an answer that had arrived, which is about as many as tokens.
    parts: int = 0

    @functools.cached_property
    def said(self) -> words.Said | None:
        """What the server minds, where its words are known."""
        return words.understood(f"{self.code} {self.parameter} {self.message}")

    def means(self, meaning: Meaning) -> bool:
        """Return whether this is what the server says."""
        return self.said is not None and self.said.meaning is meaning

    @property
    def is_too_long(self) -> bool:
        """Whether prompt and answer do not fit into the model."""
        return self.means(Meaning.TOO_LONG)

    @property
    def has_no_money(self) -> bool:
        """Whether the account needs a payment first."""
        return self.status == 402 or self.means(Meaning.NO_MONEY)

    @property
    def is_passing(self) -> bool:
        """Whether trying again may help."""
        is_lasting = self.has_no_money or self.is_too_long or self.is_page
        return self.status in _PASSING and not is_lasting

    @property
    def advice(self) -> str:
        """What to do now."""
        if self.has_no_money:
            return "The account's quota is used up: look at its billing"
        if self.is_too_long:
            return self._advice_on_length()
        if self.is_page:
            return (
                "Check llm.endpoint: it is the address before /chat/completions, "
                "which mostly ends with /v1"
            )
        if self.status == 429:
            return "It is asked too often: try again later"
        if self.status == 404:
            return "Check llm.model and llm.endpoint"
        if 300 <= self.status < 400:
            return "It redirects: set llm.endpoint to the address that it redirects to"
        return "Try again later" if self.is_passing else "Check llm.model and llm.endpoint"

    def _advice_on_length(self) -> str:
        said = self.said
        if said is None or said.most is None or said.prompt is None or said.prompt > said.most:
            return "Lower llm.prompt_tokens"
        return f"Lower llm.max_tokens below {said.most - said.prompt}, or llm.prompt_tokens"


def read(text: str) -> Reply | Refusal:
    """Return what the body of a successful answer says."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        if text.lstrip().startswith("<"):
            return Refusal(status=200, message="it answers a web page", is_page=True)
        return Refusal(status=502, message="its answer is no JSON")
    if not isinstance(body, dict):
        return Refusal(status=502, message="its answer is no JSON object")
    return of_body(body)


def of_body(body: Mapping[str, Any]) -> Reply | Refusal:
    """Return what the JSON of a successful answer says."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(choice, dict) or not isinstance(message, dict):
        return of_error(body) if body.get("error") else _senseless()
    found = body.get("usage")
    usage = found if isinstance(found, dict) else {}
    reason = text_of(choice.get("finish_reason")).lower()
    refusal = text_of(message.get("refusal"))
    if reason in _HELD_BACK:
        refusal = refusal or "its content filter holds the answer back"
    details = usage.get("completion_tokens_details")
    calls = tuple(_called(message))
    return Reply(
        text=text_of(message.get("content")) or "\n".join(text for _, text in calls if text),
        calls=calls,
        model=text_of(body.get("model")),
        refusal=refusal,
        is_cut_off=reason in _CUT_OFF,
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(details, "reasoning_tokens") or 0
        if isinstance(details, dict)
        else 0,
    )


def of_error(body: Mapping[str, Any]) -> Refusal:
    """Return what an error says that came with a status of success."""
    error = body.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    return dataclasses.replace(_refusal(status, body), retry_after_s=words.wait_s(json.dumps(body)))


def _called(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the functions that a model calls instead of answering, with their arguments."""
    calls = message.get("tool_calls")
    functions = [call.get("function") for call in calls or () if isinstance(call, dict)]
    for function in [*functions, message.get("function_call")]:
        if isinstance(function, dict):
            given = function.get("arguments") or ""
            arguments = given if isinstance(given, str) else json.dumps(given)
            if arguments or function.get("name"):
                yield text_of(function.get("name")), arguments


def refused(status: int, headers: Mapping[str, str], text: str) -> Refusal:
    """Return what an answer with an error status says."""
    is_page = False
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        is_page = text.lstrip().startswith("<") and status in (404, 405)
        body = {"error": {"message": text if "<" not in text else "it answers a web page"}}
    if isinstance(body, list):  # Gemini
        body = next((item for item in body if isinstance(item, dict)), {})
    found = _refusal(status, body if isinstance(body, dict) else {})
    wait = _retry_after_s(headers)
    if wait is None and status in (429, 503):
        wait = words.wait_s(text)
    return dataclasses.replace(found, retry_after_s=wait, is_page=is_page)


def unreachable(exc: BaseException) -> Refusal:
    """Return why there was no answer; the library's own text only says that."""
    cause: BaseException | None = exc
    while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
        cause = cause.__cause__ or cause.__context__
    below = exc.__cause__ or exc
    reason = cause.strerror if isinstance(cause, OSError) else type(below).__name__
    if type(below).__name__ == "ProxyError":
        reason = f"the proxy (llm.proxy, or of the environment) says: {below}"
    return Refusal(status=0, message=str(reason))


def _senseless() -> Refusal:
    return Refusal(status=502, message="its answer holds no message")


def _refusal(status: int, body: Mapping[str, Any]) -> Refusal:
    error = body.get("error", body.get("detail", body.get("message", "")))
    if not isinstance(error, dict):
        return Refusal(
            status=status, message=text_of(error) or (json.dumps(error) if error else "")
        )
    message = text_of(error.get("message"))
    if isinstance(size := error.get("n_ctx"), int) and "n_prompt_tokens" in error:  # llama.cpp
        message += f": request ({error['n_prompt_tokens']} tokens) exceeds the available context "
        message += f"size ({size} tokens)"
    return Refusal(
        status=status,
        message=message,
        code=text_of(error.get("code"))
        or text_of(error.get("type"))
        or text_of(error.get("status")),
        parameter=text_of(error.get("param")),
    )


def text_of(value: Any) -> str:
    """Return text that may come in parts."""
    if isinstance(value, list):
        return "".join(text_of(part.get("text")) for part in value if isinstance(part, dict))
    return value if isinstance(value, str) else ""


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and value >= 0 else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    milliseconds = answers.seconds_to_wait(headers.get("retry-after-ms", ""))
    if milliseconds is not None:
        return milliseconds / 1000
    return answers.seconds_to_wait(headers.get("retry-after", ""))
