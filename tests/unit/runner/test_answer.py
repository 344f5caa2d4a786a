"""Answers as models write them."""

from __future__ import annotations

import contextlib
import json
import time

import pytest

from keruta_agent.core.coding.model import CodeChange
from keruta_agent.runner.model.answer import AnswerError, parse

CHANGE = {"file_path": "日本/a.py", "operation": "create", "content": "print('{}')\n"}
PLAIN = json.dumps({"code_changes": [CHANGE], "explanation": "done"}, ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"\n\n{PLAIN}\n",
        f"```json\n{PLAIN}\n```",
        f"```\n{PLAIN}\n```",
        f"~~~~json\n{PLAIN}\n~~~~",
        f"Sure! Here it is:\n\n```json\n{PLAIN}\n```\nI hope it helps.",
        f"Here it is: {PLAIN} That was it.",
        f"The set {{1, 2}} is used. {PLAIN}",
        f"[1] shows it. {PLAIN}",
        f"<think>Maybe {{}} or {PLAIN.replace('create', 'delete')}</think>{PLAIN}",
        f"```python\nprint(1)\n```\n```json\n{PLAIN}\n```",
        json.dumps([CHANGE]),
        f"Changes: {json.dumps([CHANGE])}",
        json.dumps(CHANGE),
        PLAIN.replace("\\n", "\n"),
    ],
)
def test_answer_is_found_in_what_is_around_it(text: str) -> None:
    assert parse(text).changes == [CodeChange(**CHANGE)]


def test_answer_may_hold_fences_in_its_contents() -> None:
    content = "# Title\n```sh\nls\n```\n"
    change = {"file_path": "README.md", "operation": "modify", "content": content}
    text = f"```json\n{json.dumps({'code_changes': [change]}, indent=1)}\n```"
    assert parse(text).changes == [CodeChange(**change)]


def test_delete_needs_no_content_and_no_changes_is_an_answer() -> None:
    deletion = '{"code_changes": [{"file_path": "a", "operation": "delete", "content": null}]}'
    assert parse(deletion).changes == [CodeChange("a", "delete")]
    assert parse('{"code_changes": [], "explanation": "nothing to do"}').explanation


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("I cannot do that.", "no brace"),
        (PLAIN[:-10], "no complete JSON"),
        (PLAIN.replace("}]", "},]"), "no complete JSON"),
        (f"```json\n{PLAIN[:-3]}\n```", "no complete JSON"),
        (f"So: {json.dumps([CHANGE, CHANGE])[:-4]}", "no complete JSON"),
        ("{}", "no key code_changes"),
        ('{"code_changes": {}}', "no list"),
        ('{"code_changes": ["a.py"]}', "entry 1 of code_changes is no object"),
        (PLAIN.replace("create", "chmod"), "operation 'chmod'"),
        ('{"code_changes": [{"operation": "create", "content": ""}]}', "no file_path"),
        ('{"code_changes": [{"file_path": 3, "operation": "create"}]}', "no file_path"),
        ('{"code_changes": [{"file_path": "a", "operation": ["create"]}]}', "operation"),
        ('{"code_changes": [{"file_path": "a", "operation": "create"}]}', "no text"),
        ("[" * 100_000, "no brace"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("{" * 100_000, "no complete JSON"),
        ("[1" + "0" * 10_000 + "]", "no brace"),
        (json.dumps({"code_changes": [CHANGE] * 501}), "501 entries"),
        ("x" * (8 * 1024 * 1024 + 1), "longer than"),
    ],
)
def test_invalid_answer_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(AnswerError, match=complaint):
        parse(text)


def test_words_of_a_thought_stay_in_the_contents_of_a_file() -> None:
    change = {**CHANGE, "content": "THOUGHT = '<think>.*</think>'\n"}
    text = json.dumps({"code_changes": [change]})
    for answer in (text, f"<think>so</think>\n```json\n{text}\n```"):
        assert parse(answer).changes == [CodeChange(**change)]


DRAFT = PLAIN.replace("print", "draft")


@pytest.mark.parametrize(
    "text",
    [
        f"maybe {DRAFT} no, wrong.\n</think>\n{PLAIN}",
        f"one {DRAFT}</think> two {DRAFT}</think>{PLAIN}",
        f"<think>\nwell\n</think>\nhm </think>{PLAIN}",
        f"[THINK]{DRAFT}[/THINK]{PLAIN}",
        f"◁think▷\n{DRAFT}\n◁/think▷\n{PLAIN}",
        f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant"
        f"<|channel|>final<|message|>{PLAIN}",
        f"<think>\nI shall do it:\n\n{PLAIN}",
        f"<think>\nfor (a of b) {{ }}\n{'{ ' * 3000}\n```json\n{PLAIN}\n```\n",
        f"First {PLAIN.replace('create', 'chmod')} is wrong, so: {PLAIN}",
        f"{PLAIN}\nAgain, the same:\n{PLAIN}",
        PLAIN.replace("print", "</think> {} <think>"),
        PLAIN.replace("print", "</think> {} <think>").replace("\\n", "\n"),
    ],
)
def test_answer_is_the_one_after_all_thoughts(text: str) -> None:
    content = parse(text).changes[0].content
    assert content.replace("</think> {} <think>", "print") == CHANGE["content"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"```json\n{DRAFT}\n```\nThat is wrong. Correct:\n```json\n{PLAIN}\n```", "differ"),
        (f"{json.dumps(CHANGE)}\n{json.dumps({**CHANGE, 'file_path': 'b'})}", "no complete JSON"),
        (f"{DRAFT} No, rather: {PLAIN[:-20]}", "not complete"),
        (f"{DRAFT} No, rather: {PLAIN.replace('create', 'chmod')}", "operation 'chmod'"),
        (f"<think>\nmaybe {DRAFT} no, wrong.\n\n{PLAIN}", "differ"),
        (f"<think>\nmaybe {DRAFT} or not", "thoughts have no end"),
        (f"<think>\nmaybe {DRAFT}</think>\nI cannot do it.", "thoughts only"),
        (f"{DRAFT}\n</think>\n", "thoughts only"),
    ],
)
def test_draft_is_never_taken_for_the_answer(text: str, complaint: str) -> None:
    with pytest.raises(AnswerError, match=complaint):
        parse(text)


def test_answer_that_was_cut_off_counts_when_it_is_complete_and_last() -> None:
    for text in (PLAIN, f"```json\n{PLAIN}\n", f"<think>\nso\n</think>{PLAIN}\n"):
        assert parse(text, is_cut_off=True).changes == [CodeChange(**CHANGE)]
    with pytest.raises(AnswerError, match="cut off after"):
        parse(f"{PLAIN}\nBut wait, that is", is_cut_off=True)


@pytest.mark.parametrize("piece", [f"{PLAIN}<think>\n</think>", '{"a": 1}\n', "{\n", "[[{"])
def test_answer_of_many_values_is_read_in_no_time(piece: str) -> None:
    began = time.process_time()
    with contextlib.suppress(AnswerError):
        parse(f"x {piece * (200_000 // len(piece))}")
    assert time.process_time() - began < 5


@pytest.mark.parametrize("piece", ["<think>\n", "```x\n", "```x\n~~~\n", "</think><think>", '{["a'])
def test_answer_of_beginnings_without_an_end_is_read_in_no_time(piece: str) -> None:
    began = time.process_time()
    with pytest.raises(AnswerError):
        parse(piece * (400_000 // len(piece)))
    assert time.process_time() - began < 3
