"""Bodies of answers, in whatever pieces they arrive."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keruta_agent.runner.model.reply import Refusal, Reply
from keruta_agent.runner.model.stream import Body


def read(*pieces: str | bytes) -> Reply | Refusal:
    body = Body()
    for piece in pieces:
        body.feed(piece if isinstance(piece, bytes) else piece.encode())
    return body.read()


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> str:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    return f"data: {json.dumps({'choices': [choice], **more}, ensure_ascii=False)}\n\n"


def text_of(found: Reply | Refusal) -> str:
    assert isinstance(found, Reply), found
    return found.text


HELLO = chunk({"content": "日本\u2028"}) + chunk({"content": "\x85語"}, "stop") + "data: [DONE]\n\n"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_stream_is_read_in_any_pieces(size: int) -> None:
    for text in (HELLO, HELLO.replace("\n", "\r\n")):
        data = text.encode()
        pieces = [data[start : start + size] for start in range(0, len(data), size)]
        assert text_of(read(*pieces)) == "日本\u2028\x85語"


def test_stream_of_other_servers_is_read() -> None:
    azure = 'data: {"choices": [], "prompt_filter_results": [{}]}\n\n'
    usage = 'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\n'
    other = 'data: {"choices": [{"index": 1, "delta": {"content": "no"}}]}\n\n'
    thought = chunk({"reasoning_content": "hm", "content": None})
    found = read(": keep alive\n\n", azure, thought, other, chunk({"content": "a"}), usage, HELLO)
    assert text_of(found) == "a日本\u2028\x85語"
    assert isinstance(found, Reply) and (found.prompt_tokens, found.completion_tokens) == (3, 2)
    # Without the space, the empty line between, or the end that others send.
    tight = (chunk({"content": "x"}) + chunk({}, "MAX_TOKENS")).replace("data: ", "data:")
    found = read(tight.replace("\n\n", "\n"))
    assert text_of(found) == "x" and isinstance(found, Reply) and found.is_cut_off
    # One event in several lines.
    assert text_of(read('data: {"choices":\ndata: [{"delta": {"content": "y"},\n'
                        'data: "finish_reason": "stop"}]}\n\n')) == "y"  # fmt: skip


def test_arguments_of_functions_are_put_together() -> None:
    def call(index: int, arguments: str) -> str:
        return chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})

    end = chunk({}, "tool_calls")
    assert text_of(read(call(0, '{"a"'), call(1, "[2"), call(0, ": 1}"), call(1, "]"), end)) == (
        '{"a": 1}\n[2]'
    )


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        (chunk({"content": "half"}), 502, "ends in the middle"),
        ("data: [DONE]\n\n", 502, "ends in the middle"),
        ('data: {"error": {"code": 429, "message": "slow down"}}\n\n', 429, "slow down"),
        ('error: {"code": 400, "message": "too long"}\n\n', 400, "too long"),
        (chunk({"content": "x"}) + 'data: {"error": {"message": "oops"}}\n\n', 502, "oops"),
        ("data: {broken\n\n", 502, "ends in the middle"),
    ],
)
def test_stream_that_is_no_answer_is_a_refusal(text: str, status: int, message: str) -> None:
    found = read(text)
    assert isinstance(found, Refusal) and found.status == status and message in found.message
