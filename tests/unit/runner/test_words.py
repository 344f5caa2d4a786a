"""What servers say in their own words: a row each, with who says so."""

from __future__ import annotations

import time

import pytest

from keruta_agent.runner.model.words import Meaning, Said, understood, wait_s


def too_long(most: int | None = None, prompt: int | None = None) -> Said:
    return Said(meaning=Meaning.TOO_LONG, most=most, prompt=prompt)


def at_most(tokens: int) -> Said:
    return Said(meaning=Meaning.ANSWER_LIMIT, most=tokens)


#: Who says it, what is said, and what it means. In brackets: an issue that quotes it.
TABLE = [
    (
        "OpenAI [ChatGPTNextWeb/NextChat#3195]",
        "This model's maximum context length is 8192 tokens. However, you requested 8256 tokens "
        "(64 in the messages, 8192 in the completion). Please reduce the length of the messages "
        "or completion.",
        too_long(8192, 64),
    ),
    (
        "OpenAI [mikavehns/BookGPT#18]",
        "This model's maximum context length is 4097 tokens. However, your messages resulted in "
        "4113 tokens. Please reduce the length of the messages.",
        too_long(4097, 4113),
    ),
    (
        "OpenAI completions [tatsu-lab/stanford_alpaca#47]",
        "This model's maximum context length is 4097 tokens, however you requested 4162 tokens "
        "(1090 in your prompt; 3072 for the completion). Please reduce your prompt",
        too_long(4097, 1090),
    ),
    (
        "OpenAI, 429 that never passes [vanna-ai/vanna-flask#11]",
        "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 342389. The "
        "input or output tokens must be reduced in order to run successfully.",
        too_long(30000),
    ),
    ("OpenAI and Azure, the code alone", "context_length_exceeded messages", too_long()),
    (
        "DeepSeek [evalstate/fast-agent#621]",
        "This model's maximum context length is 131072 tokens. However, you requested 131134 "
        "tokens (122942 in the messages, 8192 in the completion).",
        too_long(131072, 122942),
    ),
    (
        "vLLM [claude-code-best/claude-code#272]",
        "'max_tokens' or 'max_completion_tokens' is too large: 64000. This model's maximum context "
        "length is 64001 tokens and your request has 24235 input tokens (64000 > 64001 - 24235).",
        too_long(64001, 24235),
    ),
    (
        "vLLM 0.20 [vllm-project/vllm#42474]",
        "This model's maximum context length is 128000 tokens. \nHowever, you requested 65535 "
        "output tokens and your prompt contains at \nleast 62466 input tokens, for a total of",
        too_long(128000, 62466),
    ),
    (
        "llama.cpp [continuedev/continue#9797]",
        "the request exceeds the available context size, try increasing it",
        too_long(),
    ),
    (
        "llama-cpp-python [fedora-copr/logdetective-website#193]",
        "Requested tokens (2285) exceed context window of 2048",
        too_long(2048, 2285),
    ),
    (
        "Anthropic [docker/docker-agent#569]",
        "input length and `max_tokens` exceed context limit: 178959 + 64000 > 200000, decrease "
        "input length or `max_tokens` and try again",
        too_long(200000, 178959),
    ),
    (
        "LiteLLM before Anthropic [entropy-research/Devon#88]",
        "litellm.ContextWindowExceededError: AnthropicError - prompt is too long: 209353 tokens > "
        "199999 maximum",
        too_long(199999, 209353),
    ),
    (
        "Gemini [google-gemini/gemini-cli#4692]",
        "The input token count (2845475) exceeds the maximum number of tokens allowed (1048576).",
        too_long(1048576, 2845475),
    ),
    (
        "OpenAI [diffbot/code-gpt-docs#284]",
        "max_tokens is too large: 6000. This model supports at most 4096 completion tokens, "
        "whereas you provided 6000.",
        at_most(4096),
    ),
    (
        "Anthropic",
        "max_tokens: 64000 > 8192, which is the maximum allowed number of output tokens for m",
        at_most(8192),
    ),
    (
        "DeepSeek",
        "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
        at_most(8192),
    ),
    (
        "Groq",
        "`max_completion_tokens` must be less than or equal to `8192`, the maximum value for it",
        at_most(8192),
    ),
    (
        "Gemini",
        "Unable to submit request because it has a maxOutputTokens value of 9000 but the "
        "supported range is from 1 (inclusive) to 8193 (exclusive).",
        at_most(8192),
    ),
    (
        "OpenAI [koosoli/ESPHomeDesigner#379]",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        Said(meaning=Meaning.LIMIT_NAME),
    ),
    (
        "OpenAI [tailcallhq/forgecode#1177]",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        Said(meaning=Meaning.SYSTEM_ROLE),
    ),
    (
        "vLLM with Gemma [vllm-project/vllm#2964]",
        "System role not supported",
        Said(meaning=Meaning.SYSTEM_ROLE),
    ),
    (
        "vLLM with Gemma 3 [OpenSecretCloud/opensecret#120]",
        "Conversation roles must alternate user/assistant/user/assistant/...",
        Said(meaning=Meaning.SYSTEM_ROLE),
    ),
    (
        "OpenAI and Azure [cline/cline#341]",
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default "
        "(1) value is supported.",
        Said(meaning=Meaning.TEMPERATURE),
    ),
    (
        "a gateway [RooCodeInc/Roo-Code#83]",
        '"stream_options" is not allowed',
        Said(meaning=Meaning.USAGE),
    ),
    (
        "Azure AI [microsoft/semantic-kernel#10510]",
        "Validation error at #/stream_options: Extra inputs are not permitted",
        Said(meaning=Meaning.USAGE),
    ),
    (
        "OpenAI [continuedev/continue#8209]",
        "Your organization must be verified to stream this model.",
        Said(meaning=Meaning.STREAM),
    ),
    (
        "OpenAI o1 [langgenius/dify#8615]",
        "Unsupported value: 'stream' does not support true with this model.",
        Said(meaning=Meaning.STREAM),
    ),
    (
        "DashScope",
        "This model only support stream mode, please enable the stream parameter",
        Said(meaning=Meaning.ONLY_STREAM),
    ),
    (
        "DeepSeek [llm-exe/llm-exe#662]",
        "This response_format type is unavailable now",
        Said(meaning=Meaning.FORM),
    ),
    (
        "LM Studio [HKUDS/DeepTutor#344]",
        "'response_format.type' must be 'json_schema' or 'text'",
        Said(meaning=Meaning.FORM),
    ),
    ("Groq", "json_validate_failed Failed to generate JSON", Said(meaning=Meaning.FORM)),
    ("llama.cpp", "Failed to parse grammar", Said(meaning=Meaning.FORM)),
    (
        "OpenAI",
        "insufficient_quota You exceeded your current quota, please check your plan and billing",
        Said(meaning=Meaning.NO_MONEY),
    ),
]


@pytest.mark.parametrize(("said", "meaning"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_words_of_a_server_are_understood(said: str, meaning: Said) -> None:
    assert understood(said) == meaning


@pytest.mark.parametrize(
    "text", ["", "the model is overloaded", "invalid model id", "an upstream error occurred"]
)
def test_other_words_mean_nothing_known(text: str) -> None:
    assert understood(text) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        # OpenAI: FoundationAgents/MetaGPT#523, fwhite90ids .. micro-agent#86, gpt-pilot#608
        ("Please try again in 9.816s. Visit https://platform.openai.com/", 9.816),
        ("Please try again in 644ms.", 0.644),
        ("Please try again in 1m9.696s. Visit", 69.696),
        ("Please try again in 6m0s.", 360),
        # Azure: openai/openai-node#1108
        ("Please retry after 33 seconds. Please go here", 33),
        # Gemini: can1357/oh-my-pi#1253, Aider-AI/aider#3694
        ("Please retry in 41.820516331s.", 41.820516331),
        ('"retryDelay": "44s"', 44),
        ("Please wait 2 minutes and 5 seconds", 120),
        ("Please try again later", None),
        ("wait for it", None),
    ],
)
def test_wait_is_read_from_a_text(text: str, seconds: float | None) -> None:
    assert wait_s(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("piece", ["max_tokens ", "try again in 1s", "request too large ", "1 "])
def test_long_text_is_read_in_no_time(piece: str) -> None:
    began = time.process_time()
    understood(piece * 100_000)
    wait_s(piece * 100_000)
    assert time.process_time() - began < 3
