"""What servers of language models answer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from keruta_agent.runner.model.reply import Refusal, Reply, estimated_tokens, read, refused


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({}, None),
    ],
)
def test_time_to_wait_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert refused(429, headers, "{}").retry_after_s == seconds


def test_time_to_wait_may_be_a_date() -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    waited = refused(429, {"retry-after": moment}, "{}").retry_after_s
    assert waited is not None and 200 < waited <= 300


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"error": {"message": "no", "code": "c"}}', "no"),
        ('{"error": "no"}', "no"),
        ('{"detail": "no"}', "no"),
        ('{"message": "no"}', "no"),
        ("no", "no"),
        ("<html>no</html>", "it answers a web page"),
        ("[]", ""),
    ],
)
def test_error_is_read_in_any_shape(text: str, message: str) -> None:
    assert refused(400, {}, text).message == message


def test_content_in_parts_and_reasons_to_refuse_are_read() -> None:
    message = {"content": [{"type": "text", "text": "a"}, {"text": "b"}], "refusal": None}
    found = read(json.dumps({"choices": [{"message": message, "finish_reason": "length"}]}))
    assert isinstance(found, Reply)
    assert (found.text, found.is_cut_off, found.refusal) == ("ab", True, "")
    refusal = read(json.dumps({"choices": [{"message": {"content": None, "refusal": "no"}}]}))
    assert isinstance(refusal, Reply) and refusal.refusal == "no"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"choices": [null]}', "[" * 100_000])
def test_answer_without_a_message_is_a_failure_that_passes(text: str) -> None:
    found = read(text)
    assert isinstance(found, Refusal) and found.is_passing


def test_tokens_are_estimated_by_script() -> None:
    assert estimated_tokens("abcdefgh") == 2
    assert estimated_tokens("日本語") == 3
    assert estimated_tokens("") == 0


def test_numbers_beside_a_message_of_llama_cpp_are_read() -> None:
    error = {
        "code": 400,
        "message": "the request exceeds the available context size",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 1407,
        "n_ctx": 256,
    }
    said = refused(400, {}, json.dumps({"error": error})).said
    assert said is not None and (said.most, said.prompt) == (256, 1407)


def test_error_of_gemini_in_a_list_is_read_with_its_wait() -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "44s"}]
    error = {"code": 429, "message": "Quota", "status": "RESOURCE_EXHAUSTED", "details": details}
    found = refused(429, {}, json.dumps([{"error": error}]))
    assert (found.message, found.code, found.retry_after_s) == ("Quota", "RESOURCE_EXHAUSTED", 44)


def test_advice_names_the_setting_that_the_sum_points_at() -> None:
    words = "maximum context length is 8192 tokens. However, you requested {} tokens ({} in the"
    long_answer = refused(400, {}, json.dumps({"error": {"message": words.format(9000, 8000)}}))
    long_prompt = refused(400, {}, json.dumps({"error": {"message": words.format(9500, 9000)}}))
    assert "llm.max_tokens below 192" in long_answer.advice
    assert long_prompt.advice == "Lower llm.prompt_tokens"
