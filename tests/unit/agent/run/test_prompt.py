"""The prompt: the end of the output as a person sees it."""

from __future__ import annotations

import os

import pytest

from keruta_agent.agent.run.input.prompt import (
    LONGEST_PROMPT,
    OutputEnd,
    is_secret,
    is_shaped,
    last_line,
)


@pytest.mark.parametrize(
    ("text", "prompt", "unfinished"),
    [
        ("", "", False),
        ("\n\n", "", False),
        ("Name: ", "Name:", True),
        ("one\ntwo\nName: ", "Name:", True),
        ("Type your name\n", "Type your name", False),
        ("Type your name\n\n  \n", "Type your name", False),
        ("Type your name\r\n", "Type your name", False),
        ("1) apple\n2) pear\n#? ", "#?", True),
        ("10%\r50%\r100%", "100%", True),
        ("100%\r", "100%", True),
        ("\x1b[1;32m?\x1b[0m Name \x1b[2m›\x1b[22m ", "? Name ›", True),
        ("\x1b[1G\x1b[0J? Name: \x1b[9G", "? Name:", True),
        ("\x1b]0;title\x07Name: ", "Name:", True),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\: ", "link:", True),
        ("\x1b(B\x1b[m\x1b[HFile\x1b[24;1HQuit?", "Quit?", True),
        ("bell\x07 and\x00 nul", "bell and nul", True),
        ("お名前は？ ", "お名前は？", True),
    ],
)
def test_last_line_is_what_a_person_sees(text, prompt, unfinished):
    assert last_line(text) == (prompt, unfinished)


def test_long_line_keeps_its_end():
    text, _ = last_line("x" * 5000 + "Sure? ")
    assert len(text) == LONGEST_PROMPT
    assert text.endswith("xSure?")


@pytest.mark.parametrize(
    "prompt",
    [
        *("Password:", "Enter passphrase for key '/x':", "[sudo] password for me:", "PIN?"),
        *(
            "GitHub token",
            "API key:",
            "Client secret:",
            "パスワード：",
            "暗証番号を入力",
            "Passcode",
        ),
    ],
)
def test_words_that_ask_for_a_secret(prompt):
    assert is_secret(prompt)


@pytest.mark.parametrize("prompt", ["", "Name:", "Pinning version?", "Which keyboard?", "お名前："])
def test_words_that_do_not(prompt):
    assert not is_secret(prompt)


@pytest.mark.parametrize(
    "prompt", ["Name:", "Sure?", "[y/N]", "$", "mysql>", "(yes/no)", "100 %", "名前：", "よいか？"]
)
def test_lines_that_look_like_prompts(prompt):
    assert is_shaped(prompt)


@pytest.mark.parametrize("line", ["", "working...", "done", "step 3 of 5", "compiling main.c"])
def test_lines_that_do_not(line):
    assert not is_shaped(line)


@pytest.mark.parametrize(
    ("stdout", "stderr", "prompt"),
    [
        (("Name: ", 10.0), ("", 20.0), "Name:"),
        (("Name: ", 10.0), ("a warning\n", 9.0), "Name:"),
        (("ready\n", 10.0), ("Password: ", 10.0), "Password:"),
        (("Name: ", 10.0), ("+ read name\n", 10.2), "Name:"),
        (("50% ", 10.0), ("Type yes to go on\n", 70.0), "Type yes to go on"),
        (("one: ", 10.0), ("two: ", 10.5), "two:"),
        (("", 1.0), ("", 2.0), ""),
    ],
)
def test_prompt_stands_in_the_stream_that_grew_last(tmp_path, stdout, stderr, prompt):
    for name, (text, at) in {"stdout": stdout, "stderr": stderr}.items():
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (at, at))
    assert OutputEnd(tmp_path).prompt()[0] == prompt


def test_only_the_end_of_a_long_output_is_read(tmp_path):
    (tmp_path / "stdout").write_text("日本" * 100_000 + "\nName: ")
    assert OutputEnd(tmp_path).prompt() == ("Name:", True)


def test_output_that_the_script_removed_has_no_prompt(tmp_path):
    assert OutputEnd(tmp_path).prompt() == ("", False)
    assert OutputEnd(tmp_path).sizes() == (0, 0)


def test_prompt_of_an_answered_question_is_no_part_of_the_next_one(tmp_path):
    output = OutputEnd(tmp_path)
    (tmp_path / "stdout").write_text("welcome\nname? ")
    output.question_at(output.sizes())
    assert output.prompt() == ("name?", True)
    (tmp_path / "stdout").write_text("welcome\nname? sure? ")
    for _ in range(2):  # seen again without new output, it is the same question
        output.question_at(output.sizes())
        assert output.prompt() == ("sure?", True)
    (tmp_path / "stderr").write_text("really? ")
    output.question_at(output.sizes())
    assert output.prompt() == ("really?", True)
