"""The model's client against a real server with canned answers."""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding.model import CodeChange, LLMConfig, LLMResponse
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.model import limit as llm_limit
from keruta_agent.runner.model.client import LLMClient
from keruta_agent.runner.model.transcript import Transcript
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes, refusing

KEY = "sk-live-4f9aD03kq8ZbT71x"
ROOT = Path("/workspace")
GOOD = changes({"file_path": "a.py", "operation": "create", "content": "x = 1\n"})
NO_SCHEMA = refusing(400, "'response_format' of type 'json_schema' is not supported")


@dataclasses.dataclass
class Usage:
    """What a client counted."""

    prompt: int = 0
    completion: int = 0

    def spend(self, prompt: int, completion: int) -> None:
        self.prompt += prompt
        self.completion += completion


def client_of(model: ScriptedModel, **options: object) -> LLMClient:
    config = LLMConfig(api_key=KEY, endpoint=model.endpoint, timeout_seconds=20)
    return LLMClient(config, first_wait_s=0.01, **options)  # type: ignore[arg-type]


def asked(turns: Sequence[Turn | str], **options: object) -> tuple[LLMResponse, ScriptedModel]:
    with ScriptedModel(turns).serving() as model:
        return client_of(model, **options).generate_code("Create a User model", ROOT), model


def refused(turns: Sequence[Turn | str], **options: object) -> tuple[errors.RunnerError, int]:
    with ScriptedModel(turns).serving() as model:
        with pytest.raises(errors.RunnerError) as caught:
            client_of(model, **options).generate_code("Create a User model", ROOT)
        return caught.value, len(model.requests)


def test_request_is_the_one_of_the_contract() -> None:
    response, model = asked([GOOD])
    assert response.code_changes == [CodeChange("a.py", "create", "x = 1\n")]
    assert (response.tokens_used, response.prompt_tokens, response.completion_tokens) == (
        *(120, 100, 20),
    )
    (request,) = model.requests
    assert request["model"] == "gpt-4" and request["max_tokens"] == 4000
    assert request["temperature"] == 0.2 and request["stream"] is True
    assert [message["role"] for message in request["messages"]] == ["system", "user"]
    assert request["response_format"]["type"] == "json_schema"
    assert model.headers[0]["authorization"] == f"Bearer {KEY}"


def test_endpoint_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert asked([GOOD])[0].code_changes


def test_server_without_schemas_is_asked_plainly_from_then_on() -> None:
    turns = [NO_SCHEMA, refusing(400, "json_object is not known"), GOOD, GOOD]
    with ScriptedModel(turns).serving() as model:
        client = client_of(model)
        client.generate_code("one", ROOT)
        client.generate_code("two", ROOT)
        forms = [request.get("response_format", {}).get("type") for request in model.requests]
    assert forms == ["json_schema", "json_object", None, None]


def test_server_with_other_names_for_its_limits_is_understood() -> None:
    response, model = asked(
        [
            refusing(400, "'max_tokens' is not supported. Use 'max_completion_tokens' instead."),
            refusing(400, "'temperature' does not support 0.2 with this model."),
            GOOD,
        ]
    )
    assert response.code_changes
    assert model.requests[-1]["max_completion_tokens"] == 4000
    assert not {"max_tokens", "temperature"} & set(model.requests[-1])


@pytest.mark.parametrize(
    "turn",
    [
        refusing(429, "slow down", headers={"Retry-After": "0.05"}),
        refusing(500, "oops"),
        refusing(503, "overloaded"),
        Turn(raw=b"<html>busy</html>", status=502),
        Turn(raw=b"not json"),
        Turn(raw=b'{"error": {"message": "upstream is away"}}'),
        Turn(raw=b'{"choices": []}'),
        Turn(content=GOOD, cut_off_after=30),
        Turn(content=GOOD, cut_off_after=30, streams=False),
        Turn(content=GOOD, finish_reason="", stream_end=""),
        Turn(content=GOOD, finish_reason="", stream_end='data: {"error": {"code": 503}}\n\n'),
    ],
)
def test_what_passes_is_tried_again_once_each(turn: Turn) -> None:
    response, model = asked([turn, GOOD])
    assert response.code_changes and len(model.requests) == 2


def test_retry_after_is_waited_for() -> None:
    begin = time.monotonic()
    asked([refusing(429, "slow down", headers={"Retry-After": "1"}), GOOD])
    assert time.monotonic() - begin >= 1


def test_tries_are_limited_and_not_doubled_by_the_library() -> None:
    error, requests = refused([refusing(503, "overloaded")] * 9, retry_count=2)
    assert requests == 3
    assert "3 times" in str(error) and "overloaded" in str(error)


@pytest.mark.parametrize(
    ("turn", "advice"),
    [
        (refusing(429, "wait", headers={"Retry-After": "3600"}), "try again later"),
        (refusing(429, "insufficient_quota: pay first"), "billing"),
        (refusing(404, "no such model"), r"llm\.model"),
        (refusing(302, "", headers={"Location": "http://127.0.0.1:1/"}), r"set llm\.endpoint"),
        (refusing(400, "maximum context length is 8192 tokens"), r"llm\.prompt_tokens"),
        (Turn(raw=b"<!doctype html><html>login</html>"), r"llm\.endpoint"),
        (Turn(raw=b"<html>nothing here</html>", status=404), r"llm\.endpoint"),
        (refusing(429, "Request too large for m: Limit 3000, Requested 9000"), "prompt_tokens"),
        (Turn(content="", finish_reason="content_filter"), "differently"),
    ],
)
def test_what_does_not_pass_is_not_tried_again(turn: Turn, advice: str) -> None:
    error, requests = refused([turn, GOOD])
    assert isinstance(error, errors.ImplementationError) and requests == 1
    assert pytest.raises(errors.ImplementationError, match=advice).matches(error)


@pytest.mark.parametrize("status", [401, 403])
def test_wrong_key_is_reported_with_its_variable_and_without_the_key(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = refusing(status, f"Incorrect API key provided: {KEY}")
    error, requests = refused([echo], key_variable="MY_KEY")
    assert isinstance(error, errors.AuthenticationError) and requests == 1
    assert str(error).startswith("Invalid API key") and "MY_KEY" in str(error)
    assert KEY not in "".join(traceback.format_exception(error)) + caplog.text


def test_key_is_in_no_representation_and_no_message() -> None:
    error, _ = refused([refusing(400, f"header {KEY} is odd")] * 4)
    client = LLMClient(LLMConfig(api_key=KEY))
    shown = "".join(traceback.format_exception(error))
    assert KEY not in f"{client!r} {client.config!r} {client.config.to_dict()} {shown}"


@pytest.mark.parametrize("key", [None, "", "  ", "sk-a\nb", "sk-鍵"])
def test_key_that_is_none_is_refused_before_anything_is_sent(key: str | None) -> None:
    with pytest.raises(errors.AuthenticationError, match="OPENAI_API_KEY") as caught:
        LLMClient(LLMConfig(api_key=key))
    assert "鍵" not in str(caught.value)


def test_broken_answer_is_repaired_once_and_all_tokens_are_counted() -> None:
    usage = Usage()
    response, model = asked(["I would rather talk.", GOOD], on_usage=usage.spend)
    assert response.code_changes and response.tokens_used == 240
    assert (usage.prompt, usage.completion) == (200, 40)
    repair = model.requests[1]["messages"]
    assert [message["role"] for message in repair] == ["system", "user", "assistant", "user"]
    assert "no brace" in repair[-1]["content"]


def test_answer_broken_twice_is_an_error_that_says_why() -> None:
    usage = Usage()
    error, requests = refused(["{", "{}", GOOD], on_usage=usage.spend)
    assert requests == 2 and "no key code_changes" in str(error)
    assert usage.prompt == 200


def test_answer_that_was_cut_off_is_asked_for_with_twice_the_room() -> None:
    cut = Turn(content=GOOD[:20], finish_reason="length")
    _, model = asked([cut, GOOD])
    assert [request["max_tokens"] for request in model.requests] == [4000, 8000]
    error, requests = refused([cut, cut, GOOD])
    assert requests == 2 and "llm.max_tokens" in str(error)


def test_missing_usage_is_estimated_and_null_content_is_a_broken_answer() -> None:
    response, _ = asked([Turn(content=None), Turn(content=GOOD, usage=None)])
    assert response.tokens_used > 120 and response.prompt_tokens > 100


def test_no_server_is_a_connection_error_with_its_reason() -> None:
    config = LLMConfig(api_key=KEY, endpoint="http://127.0.0.1:1/v1", timeout_seconds=5)
    with pytest.raises(errors.ConnectionError, match=r"Failed to connect .* refused"):
        LLMClient(config, retry_count=1, first_wait_s=0.01).generate_code("x", ROOT)


def test_time_limit_holds_for_a_server_that_keeps_the_connection_alive() -> None:
    with ScriptedModel([Turn(content=GOOD, delay_s=60, trickles=True)]).serving() as model:
        config = LLMConfig(api_key=KEY, endpoint=model.endpoint, timeout_seconds=1)
        with pytest.raises(errors.ConnectionError, match="no answer in 1 s"):
            LLMClient(config, retry_count=0).generate_code("x", ROOT)


@pytest.mark.parametrize("status", [200, 500])
def test_answer_without_an_end_is_not_read_to_its_end(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm_limit, "LARGEST", 1000)
    turn = Turn(raw=b" " * 2000, status=status)
    with ScriptedModel([turn, GOOD]).serving() as model:
        with pytest.raises(errors.ImplementationError, match="longer than 1000 bytes"):
            client_of(model).generate_code("x", ROOT)
        assert len(model.requests) == 1


def test_call_is_interrupted_while_the_model_thinks() -> None:
    with ScriptedModel([Turn(content=GOOD, delay_s=60), GOOD]).serving() as model:

        def check() -> None:
            if model.requests:
                raise errors.TimeoutError("the task takes too long")

        client = client_of(model, check=check)
        with pytest.raises(errors.TimeoutError, match="takes too long"):
            client.generate_code("x", ROOT)
        assert len(model.requests) == 1 and model.abandoned.wait(20)


def test_probe_learns_from_one_tiny_answer() -> None:
    with ScriptedModel([NO_SCHEMA, changes()]).serving() as model:
        learned = client_of(model).probe()
    assert (learned.dialect.form, learned.complaint) == ("json_object", "")
    assert model.requests[0]["max_tokens"] < 1000
    with (
        ScriptedModel([refusing(401, "no")]).serving() as model,
        pytest.raises(errors.AuthenticationError, match="Invalid API key"),
    ):
        client_of(model).probe()
    with ScriptedModel(["hello"]).serving() as model:
        assert "no brace" in client_of(model).probe().complaint


def test_missing_library_is_reported_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(errors.ImplementationError, match=r"keruta-agent\[llm\]"):
        LLMClient(LLMConfig(api_key=KEY)).generate_code("x", ROOT)


TOO_MUCH = "maximum context length is 9000 tokens. However, you requested {} tokens ({} in the "


@pytest.mark.parametrize("turn", [Turn(content=GOOD), Turn(content=GOOD, streams=False)])
def test_server_is_served_whether_it_streams_or_not(turn: Turn) -> None:
    response, _ = asked([turn])
    assert response.code_changes and response.tokens_used == 120


@pytest.mark.parametrize(
    ("refusal", "has", "lacks"),
    [
        ("Your organization must be verified to stream this model", {"stream": False}, ""),
        ('"stream_options" is not allowed', {"stream": True}, "stream_options"),
        (
            "max_tokens is too large. It supports at most 99 completion tokens",
            {"max_tokens": 99},
            "",
        ),
        (TOO_MUCH.format(12000, 8000), {"max_tokens": 984}, ""),
    ],
)
def test_request_is_made_as_the_server_says(
    refusal: str, has: dict[str, object], lacks: str
) -> None:
    response, model = asked([refusing(400, refusal), GOOD])
    assert response.code_changes and len(model.requests) == 2
    assert has.items() <= model.requests[1].items() and lacks not in model.requests[1].keys() - {""}


def test_prompt_that_does_not_fit_is_no_matter_of_the_answers_length() -> None:
    error, requests = refused([refusing(400, TOO_MUCH.format(14000, 10000))])
    assert isinstance(error, errors.PromptTooLongError) and requests == 1
    assert 0.3 < error.share < 0.7


def test_room_beside_one_prompt_is_no_limit_of_the_next() -> None:
    full = refusing(400, TOO_MUCH.format(12000, 8000))
    with ScriptedModel([full, GOOD, GOOD]).serving() as model:
        client = client_of(model)
        for prompt in ("long", "short"):
            client.generate_code(prompt, ROOT)
    assert [request["max_tokens"] for request in model.requests] == [4000, 984, 4000]
    error, _ = refused([full, Turn(content=GOOD[:20], finish_reason="length")])
    assert isinstance(error, errors.PromptTooLongError) and "room for 984 tokens" in str(error)


def test_answer_that_breaks_off_is_counted_too() -> None:
    usage = Usage()
    broken = Turn(content="x" * 4000, finish_reason="", stream_end="")
    asked([broken, Turn(content=GOOD, usage=None)], on_usage=usage.spend)
    assert usage.completion > 50


def test_words_of_a_rate_limit_take_nothing_from_the_request() -> None:
    _, model = asked([refusing(429, "too many for this temperature. Try again in 10ms"), GOOD])
    assert model.requests[1] == model.requests[0]


def test_system_message_is_put_before_the_task_where_it_is_refused() -> None:
    response, model = asked([refusing(400, "System role not supported"), GOOD, GOOD])
    (message,) = model.requests[1]["messages"]
    assert response.code_changes and message["role"] == "user"
    assert "code generator" in message["content"] and "User model" in message["content"]


@pytest.mark.parametrize("streams", [True, False])
def test_answer_in_a_called_function_counts(streams: bool) -> None:
    calls = [{"index": 0, "function": {"name": "write", "arguments": GOOD}}]
    message = {"tool_calls": calls, "reasoning_content": "I call it."}
    turn = Turn(content=None, message=message, finish_reason="tool_calls", streams=streams)
    assert asked([turn])[0].code_changes == [CodeChange("a.py", "create", "x = 1\n")]


def test_complete_answer_counts_also_where_it_was_cut_off() -> None:
    response, model = asked([Turn(content=f"{GOOD}\n", finish_reason="MAX_TOKENS")])
    assert response.code_changes and len(model.requests) == 1


def test_room_for_thoughts_is_added_and_named() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 4000,
        "completion_tokens_details": {"reasoning_tokens": 4000},
    }
    cut = Turn(content="", finish_reason="length", usage=usage)
    error, _ = refused([cut, cut])
    assert "4000 of them for its thoughts" in str(error) and "reasoning_effort" in str(error)
    _, model = asked([cut, GOOD])
    assert model.requests[1]["max_tokens"] == 12_000


def test_wait_that_the_text_names_is_waited_for() -> None:
    begin = time.monotonic()
    asked([refusing(429, "Rate limit reached. Please try again in 1.1s."), GOOD])
    assert time.monotonic() - begin >= 1.1
    error, requests = refused([refusing(429, "Please try again in 6m0s."), GOOD])
    assert requests == 1 and "try again later" in str(error)


@pytest.mark.parametrize(
    "turn",
    [
        Turn(content=GOOD, delay_s=60),
        Turn(content=GOOD, delay_s=60, trickles=True),
        Turn(content=GOOD, part_delay_s=0.3),
        Turn(content=GOOD, delay_s=60, streams=False),
    ],
    ids=["silent", "drips in a header", "drips in the stream", "does not stream"],
)
def test_request_that_takes_too_long_ends_at_the_server_too(turn: Turn) -> None:
    with ScriptedModel([turn]).serving() as model:
        config = LLMConfig(api_key=KEY, endpoint=model.endpoint, timeout_seconds=1)
        with pytest.raises(errors.ConnectionError, match="no answer in 1 s"):
            LLMClient(config, retry_count=0).generate_code("x", ROOT)
        assert model.abandoned.wait(20)


def test_stream_that_stays_open_after_the_end_is_left() -> None:
    turn = Turn(content=GOOD, stream_end="\n" * 400, part_delay_s=0.05)
    begin = time.monotonic()
    response, _ = asked([turn])
    assert response.code_changes and time.monotonic() - begin < 19


def test_headers_query_and_body_are_sent_and_their_secrets_shown_nowhere() -> None:
    with ScriptedModel([refusing(400, "bad X-Key hdr-4f9aD03kq8ZbT71x"), GOOD]).serving() as model:
        config = LLMConfig(
            api_key=KEY,
            endpoint=model.endpoint,
            headers={"X-Key": "hdr-4f9aD03kq8ZbT71x"},
            query={"route": "fast"},
            extra_body={"reasoning_effort": "low"},
            api_version="2025-01-01",
        )
        client = LLMClient(config, retry_count=0)
        client.generate_code("x", ROOT)
    assert model.headers[0]["x-key"] == "hdr-4f9aD03kq8ZbT71x"
    assert model.headers[0]["api-key"] == KEY and "authorization" not in model.headers[0]
    assert model.requests[0]["reasoning_effort"] == "low"
    assert model.paths[0].endswith("?route=fast&api-version=2025-01-01")
    assert "hdr-4f9" not in f"{config!r} {config.to_dict()} {client!r}"


def test_all_that_is_said_is_kept_without_secrets_and_bounded() -> None:
    transcript = Transcript()
    asked([refusing(400, f"odd {KEY}"), "x" * 100_000, GOOD], transcript=transcript)
    first, second, third = map(json.loads, transcript.text(Redactor([KEY])).splitlines())
    assert first["request"]["messages"][1]["content"] == "Create a User model"
    assert "odd" in first["answer"]["message"] and KEY not in json.dumps(first)
    assert "characters left out" in second["answer"]["text"]
    assert third["answer"]["text"] == GOOD
