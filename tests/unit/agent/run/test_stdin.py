"""Answers as bytes: a line for a pipe, keys for a terminal."""

from __future__ import annotations

import os

import pytest

from keruta_agent.agent.run.input.stdin import write_line
from keruta_agent.core import errors


@pytest.mark.parametrize(
    ("text", "as_keys", "arrives"),
    [
        ("yes", False, b"yes\n"),
        ("yes\n", False, b"yes\n"),
        ("", False, b"\n"),
        ("one\ntwo", False, b"one\ntwo\n"),
        ("はい", False, "はい\n".encode()),
        ("\udcff", False, b"\xff\n"),
        ("yes", True, b"yes\r"),
        ("yes\n", True, b"yes\r"),
        ("yes\r\n", True, b"yes\r"),
        ("one\ntwo", True, b"one\rtwo\r"),
        ("", True, b"\r"),
        ("\x03", True, b"\x03"),
        ("\x1b[A", True, b"\x1b[A\r"),
        ("はい", True, "はい\r".encode()),
    ],
)
def test_answer_arrives_with_its_end(tmp_path, text, as_keys, arrives):
    fifo = tmp_path / "stdin"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_line(fifo, text, as_keys=as_keys)
        assert os.read(reading, 1000) == arrives
    finally:
        os.close(reading)


@pytest.mark.parametrize("as_keys", [False, True])
def test_answer_that_is_no_text_is_refused(tmp_path, as_keys):
    with pytest.raises(errors.InputRefused, match="no text"):
        write_line(tmp_path / "stdin", "\ud800", as_keys=as_keys)
