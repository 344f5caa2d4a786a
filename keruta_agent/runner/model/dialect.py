"""What one server of a language model understands, as far as it has said so."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

from keruta_agent.runner.exploration import requests
from keruta_agent.runner.model.answer import schema
from keruta_agent.runner.model.reply import Refusal
from keruta_agent.runner.model.words import Meaning

Message = dict[str, str]

TEMPERATURE: Final = 0.2
#: Tokens below which an answer is not worth asking for: the prompt has to become shorter.
LEAST_ANSWER: Final = 256
#: Tokens that are left free where a server counts: chat templates differ by some.
_MARGIN: Final = 16
#: Statuses with which servers refuse a part of a request.
_REFUSING: Final = frozenset({400, 403, 404, 405, 413, 415, 422, 429, 500, 501})
_SIMPLER: Final = {"json_schema": "json_object", "json_object": "plain"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a server is asked; what it does not understand is left out from then on."""

    form: str = "json_schema"
    limit_name: str = "max_tokens"
    has_temperature: bool = True
    has_system: bool = True
    streams: bool = True
    has_usage: bool = True
    #: Tokens that an answer may have, where the server allows fewer than asked for.
    most_answer: int | None = None
    #: Whether a model may call functions in order to ask.
    has_tools: bool = False
    #: Whether the form of an answer has room for requests to see more.
    may_ask: bool = False

    def arguments(self, limit: int) -> dict[str, Any]:
        """Return the part of a request that differs between servers."""
        arguments: dict[str, Any] = {self.limit_name: self.room(limit), "stream": self.streams}
        if self.streams and self.has_usage:
            arguments["stream_options"] = {"include_usage": True}
        if self.has_tools and self.may_ask:
            arguments["tools"] = requests.tools()
        if self.has_temperature:
            arguments["temperature"] = TEMPERATURE
        if self.form == "json_schema":
            form = {"name": "code_changes", "strict": True, "schema": schema(may_ask=self.may_ask)}
            arguments["response_format"] = {"type": "json_schema", "json_schema": form}
        elif self.form == "json_object":
            arguments["response_format"] = {"type": "json_object"}
        return arguments

    def room(self, limit: int) -> int:
        """Return how many tokens of those that are wanted an answer may have."""
        return limit if self.most_answer is None else min(limit, self.most_answer)

    def messages(self, messages: Sequence[Message]) -> list[Message]:
        """Return messages with the roles that the server takes."""
        first, *others = messages
        if self.has_system or first["role"] != "system" or not others:
            return list(messages)
        joined = {**others[0], "content": f"{first['content']}\n\n{others[0]['content']}"}
        return [joined, *others[1:]]

    def without(self, refusal: Refusal, limit: int) -> Dialect | None:
        """Return what is left after a refusal, None when the server minds something else.

        Each step takes something away, so that there are few of them.
        """
        if refusal.status not in _REFUSING:
            return None
        if refusal.status in (403, 429) and not (
            refusal.is_too_long or refusal.means(Meaning.STREAM)
        ):
            return None  # its words are about the account, whatever else they name
        simpler = self._simpler(refusal, limit)
        if simpler is None and refusal.said is None:
            # Smaller servers say only that something is wrong.
            is_vague = refusal.status in (400, 422)
            plainer = dataclasses.replace(self, form="plain", has_tools=False)
            simpler = plainer if is_vague else None
        return simpler if simpler != self else None

    def _simpler(self, refusal: Refusal, limit: int) -> Dialect | None:
        said = refusal.said
        if said is None:
            return None
        match said.meaning:
            case Meaning.TOO_LONG | Meaning.ANSWER_LIMIT:
                return self._with_room(refusal, limit)
            case Meaning.LIMIT_NAME:
                return dataclasses.replace(self, limit_name="max_completion_tokens")
            case Meaning.TEMPERATURE:
                return dataclasses.replace(self, has_temperature=False)
            case Meaning.SYSTEM_ROLE:
                return dataclasses.replace(self, has_system=False)
            case Meaning.USAGE:
                return dataclasses.replace(self, has_usage=False)
            case Meaning.STREAM:
                return dataclasses.replace(self, streams=False)
            case Meaning.ONLY_STREAM:
                return dataclasses.replace(self, streams=True)
            case Meaning.TOOLS:
                return dataclasses.replace(self, has_tools=False)
            case Meaning.FORM if self.form != "plain":
                return dataclasses.replace(self, form=_SIMPLER[self.form])
        return None

    def _with_room(self, refusal: Refusal, limit: int) -> Dialect | None:
        """Return one that asks for a shorter answer, if the prompt leaves room for any."""
        said = refusal.said
        if said is None or said.most is None:
            return None
        if said.meaning is Meaning.ANSWER_LIMIT:
            room = said.most
        elif said.prompt is not None:
            room = said.most - said.prompt - _MARGIN
        else:
            return None
        is_less = room < self.room(limit)
        if said.meaning is Meaning.TOO_LONG and room < LEAST_ANSWER:
            return None
        return dataclasses.replace(self, most_answer=room) if is_less and room > 0 else None
