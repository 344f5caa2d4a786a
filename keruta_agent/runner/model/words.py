"""What servers of language models say when they refuse, in their own words.

One table: the first row that fits says what is meant, and the numbers in it how much there is.
The words are those that the servers' users report; beside each row stands who says so.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import Final


class Meaning(enum.StrEnum):
    """What a server minds."""

    TOO_LONG = "prompt and answer do not fit into the model"
    ANSWER_LIMIT = "it writes fewer tokens than asked for"
    SYSTEM_ROLE = "it takes no system message"
    TOOLS = "its models call no functions, or not in this form"
    FORM = "it cannot hold the model to this form"
    LIMIT_NAME = "it wants max_completion_tokens"
    TEMPERATURE = "it takes no temperature"
    USAGE = "it takes no stream_options"
    STREAM = "it does not stream"
    ONLY_STREAM = "it only streams"
    NO_MONEY = "the account's quota is used up"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What a refusal means, with the numbers of tokens that it names."""

    meaning: Meaning
    #: Tokens that the model takes in all, or that an answer may have.
    most: int | None = None
    prompt: int | None = None


def _row(meaning: Meaning, pattern: str) -> tuple[Meaning, re.Pattern[str]]:
    return meaning, re.compile(pattern, re.I)


#: No pattern spans more than a few hundred characters: the text is a stranger's.
_ROWS: Final = (
    # Before all that is too long: "max_tokens ... is too large" names the same words.
    # OpenAI: max_tokens is too large: 6000. This model supports at most 4096 completion tokens
    _row(Meaning.ANSWER_LIMIT, r"supports at most (?P<most>\d+) completion tokens"),
    # Anthropic: max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens
    _row(
        Meaning.ANSWER_LIMIT,
        r"max_tokens: \d+ > (?P<most>\d+), which is the maximum allowed number of output tokens",
    ),
    # DeepSeek: Invalid max_tokens value, the valid range of max_tokens is [1, 8192]
    _row(Meaning.ANSWER_LIMIT, r"valid range of max_tokens is \[\d+, ?(?P<most>\d+)\]"),
    # Groq: `max_completion_tokens` must be less than or equal to `8192`, the maximum value
    _row(
        Meaning.ANSWER_LIMIT,
        r"max(?:_completion)?_tokens\W{0,3} must be less than or equal to \W{0,2}(?P<most>\d+)",
    ),
    # Gemini: ... supported range is from 1 (inclusive) to 8193 (exclusive)
    _row(
        Meaning.ANSWER_LIMIT,
        r"max_?output_?tokens.{0,120}range is from 1 \(inclusive\) to (?P<beyond>\d+) \(exclusive",
    ),
    # vLLM: ... is too large: 64000. This model's maximum context length is 64001 tokens and your
    # request has 24235 input tokens
    _row(
        Meaning.TOO_LONG,
        r"maximum context length is (?P<most>\d+) tokens and your request has (?P<prompt>\d+)",
    ),
    # vLLM 0.20: maximum context length is 128000 tokens. However, you requested 65535 output
    # tokens and your prompt contains at least 62466 input tokens
    _row(
        Meaning.TOO_LONG,
        r"maximum context length is (?P<most>\d+) tokens.{0,80}requested \d+ output tokens and "
        r"your prompt contains at least (?P<prompt>\d+)",
    ),
    # OpenAI, Azure, DeepSeek, earlier vLLM: ... you requested 4203 tokens (3703 in the messages,
    # 500 in the completion)
    _row(
        Meaning.TOO_LONG,
        r"maximum context length is (?P<most>\d+) tokens.{0,60}"
        r"requested (?:about )?\d+ tokens \((?P<prompt>\d+) (?:in|of)",
    ),
    # OpenAI: ... However, your messages resulted in 4113 tokens. llama-cpp-python says so, too.
    _row(
        Meaning.TOO_LONG,
        r"maximum context length is (?P<most>\d+) tokens.{0,80}resulted in (?P<prompt>\d+) tokens",
    ),
    # llama-cpp-python: Requested tokens (2285) exceed context window of 2048
    _row(
        Meaning.TOO_LONG,
        r"requested tokens \((?P<prompt>\d+)\) exceed context window of (?P<most>\d+)",
    ),
    # llama.cpp: request (9000 tokens) exceeds the available context size (8192 tokens)
    _row(
        Meaning.TOO_LONG,
        r"request \((?P<prompt>\d+) tokens\) exceeds the available context size "
        r"\((?P<most>\d+) tokens\)",
    ),
    # Anthropic: input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000
    _row(Meaning.TOO_LONG, r"exceed context limit: (?P<prompt>\d+) \+ \d+ > (?P<most>\d+)"),
    # Anthropic: prompt is too long: 209353 tokens > 199999 maximum
    _row(Meaning.TOO_LONG, r"prompt is too long: (?P<prompt>\d+) tokens > (?P<most>\d+)"),
    # Gemini: The input token count (2845475) exceeds the maximum number of tokens allowed (1048576)
    _row(
        Meaning.TOO_LONG,
        r"input token count \((?P<prompt>\d+)\) exceeds the maximum number of tokens allowed "
        r"\((?P<most>\d+)\)",
    ),
    # OpenAI, with 429, and it never passes: Request too large for gpt-4o ... on tokens per min
    # (TPM): Limit 30000, Requested 31538.
    _row(Meaning.TOO_LONG, r"request too large.{0,160}limit:? (?P<most>\d+), requested:? \d+"),
    # The same without numbers: codes of OpenAI, llama.cpp and LiteLLM, and words of smaller ones.
    _row(
        Meaning.TOO_LONG,
        r"context_length_exceeded|exceed_context_size|ContextWindowExceeded|string_above_max_length"
        r"|exceeds the available context size|context length|maximum context|too many tokens"
        r"|prompt is too long|input is too long|model_max_prompt_tokens_exceeded",
    ),
    # OpenAI: insufficient_quota; Azure and others say it in words.
    _row(
        Meaning.NO_MONEY,
        r"insufficient_quota|billing_hard_limit|credit balance|insufficient balance"
        r"|payment required|pay first",
    ),
    # OpenAI: Unsupported parameter: 'max_tokens' is not supported ... Use 'max_completion_tokens'
    _row(Meaning.LIMIT_NAME, r"max_tokens.{0,80}max_completion_tokens"),
    # OpenAI o1: 'messages[0].role' does not support 'system' with this model; Gemma's template in
    # llama.cpp, vLLM and SGLang: System role not supported; Mistral's: roles must alternate.
    _row(
        Meaning.SYSTEM_ROLE,
        r"does not support 'system'|system role (?:is )?not supported|roles must alternate"
        r"|only user and assistant roles|developer instruction is not enabled"
        r"|system messages? (?:are|is) not supported|input should be 'user'",
    ),
    # OpenAI: 'temperature' does not support 0.2 with this model. Only the default (1) value ...
    _row(Meaning.TEMPERATURE, r"temperature"),
    # Databricks, Mistral and gateways: "stream_options" is not allowed; Extra inputs are not ...
    _row(Meaning.USAGE, r"stream_options|include_usage"),
    # OpenAI: Your organization must be verified to stream this model; 'stream' does not support
    # true with this model
    _row(
        Meaning.STREAM,
        r"verified to stream|'stream' does not support true|stream(?:ing)?\W{0,2} (?:is |mode )?"
        r"(?:not|un)[ -]?(?:supported|available|allowed|enabled)"
        r"|does(?:n't| not) support stream",
    ),
    # DashScope: This model only support stream mode; Anthropic: Streaming is required for ...
    _row(
        Meaning.ONLY_STREAM,
        r"only supports? stream|stream(?:ing)? is (?:required|strongly recommended)"
        r"|requires stream|stream must be (?:set to )?true",
    ),
    # Ollama: ... does not support tools; OpenRouter: No endpoints found that support tool use;
    # llama.cpp: tools param requires --jinja flag; Cannot use custom grammar constraints with
    # tools; vLLM: "auto" tool choice requires --enable-auto-tool-choice; Gemini: Function calling
    # with a response mime type: 'application/json' is unsupported
    _row(
        Meaning.TOOLS,
        r"does not support tools|support tool use|tools param requires|constraints with tools"
        r"|enable-auto-tool-choice|function calling with a response mime type"
        r"|(?:tools|function calling)\W{0,3} (?:is |are )?(?:not|un)[ -]?(?:supported|enabled)",
    ),
    # DeepSeek: This response_format type is unavailable now; LM Studio: 'response_format.type' must
    # be ...; Groq: json_validate_failed; llama.cpp and vLLM: a grammar cannot be made of it.
    _row(
        Meaning.FORM,
        r"response_?format|json_schema|json_object|json_validate_failed|structured output"
        r"|grammar|guided_json|response_?schema|\bschema\b|additionalProperties",
    ),
)

_UNITS: Final = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
#: "Please try again in 1m9.696s", "in 644ms", "retry after 33 seconds", "retryDelay": "44s".
_WAIT: Final = re.compile(
    r"(?:try again in|retry after|retry in|wait(?: for)?|retry_?delay\W{1,5})\s{0,3}"
    r"((?:\d+(?:\.\d+)? ?(?:milliseconds?|ms|seconds?|s|minutes?|m|hours?|h|days?|d)\b ?){1,4}"
    r"|(?:\d+(?:\.\d+)?(?:ms|s|m|h|d)){1,4})",
    re.I,
)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?) ?(milliseconds?|ms|[smhd])", re.I)
#: Characters of a message that are looked at.
_MOST: Final = 4000


def understood(text: str) -> Said | None:
    """Return what a server says, None where it is not known."""
    text = " ".join(text[:_MOST].split())
    for meaning, pattern in _ROWS:
        if (found := pattern.search(text)) is not None:
            named = {name: int(number) for name, number in found.groupdict().items() if number}
            most = named.get("most") or (named["beyond"] - 1 if "beyond" in named else None)
            return Said(meaning=meaning, most=most, prompt=named.get("prompt"))
    return None


def wait_s(text: str) -> float | None:
    """Return the time to wait that a text names."""
    found = _WAIT.search(text[:_MOST])
    if found is None:
        return None
    return sum(
        float(number) * _UNITS["ms" if unit.lower().startswith("mi") else unit.lower()]
        for number, unit in _PART.findall(found[1])
    )
