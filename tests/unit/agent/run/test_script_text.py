"""Scripts as they were meant, whatever their editor made of line ends and encoding."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.agent.run.interpreter import check_line_ends, command_for, interpreter
from keruta_agent.agent.run.script_text import ScriptText, as_meant
from keruta_agent.core import errors

HEREDOC = "#!/bin/bash\ncat > request <<'E'\nGET / HTTP/1.0\r\n\r\nE\n"


@pytest.mark.parametrize(
    ("filed", "meant"),
    [
        ("#!/bin/bash\r\nset -e\r\necho a\r\n", "#!/bin/bash\nset -e\necho a\n"),
        ("#!/usr/bin/env node\r\nx()\r\n", "#!/usr/bin/env node\nx()\n"),
        ("echo a\r\r\necho b\r\r\n", "echo a\necho b\n"),
        ("echo a\r\necho b", "echo a\necho b"),
        ("echo a\r\necho b\r", "echo a\necho b"),
        ("cat <<E\r\nx\r\nE\r\n", "cat <<E\nx\nE\n"),
        ("printf '10%\r20%'\r\nexit 0\r\n", "printf '10%\r20%'\nexit 0\n"),
        ("#!/bin/bash\recho a\r", "#!/bin/bash\necho a"),
        ("echo a\recho b\r", "echo a\necho b"),
        ("\ufeff#!/usr/bin/env python3\nprint()\n", "#!/usr/bin/env python3\nprint()\n"),
        ("\ufeff\ufeffecho a\r\n", "echo a\n"),
        ("ï»¿#!/bin/sh\n", "#!/bin/sh\n"),
    ],
)
def test_a_script_of_another_system_is_run_as_it_was_meant(filed: str, meant: str) -> None:
    found = as_meant(filed)
    assert found.text == meant
    assert found.notes


@pytest.mark.parametrize(
    "text",
    ["echo a\n", "printf '10%\r20%'\n", "printf '10%\r20%'", "echo '\ufeff'\n", "", "a\0bcd"],
)
def test_a_script_that_means_what_it_holds_is_left_as_it_is(text: str) -> None:
    assert as_meant(text) == ScriptText(text=text)


def test_carriage_returns_among_plain_line_ends_are_left_and_named() -> None:
    found = as_meant(HEREDOC)
    assert found.text == HEREDOC
    assert "2 lines of the script have Windows line ends" in found.notes[0]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_a_script_in_utf16_is_refused(encoding: str) -> None:
    raw = "#!/bin/bash\necho a\n".encode(encoding)
    for text in (raw.decode("latin-1"), raw.decode("utf-8", errors="replace")):
        with pytest.raises(errors.RunError, match="UTF-16"):
            as_meant(text)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\0\ufeff"), max_size=5), min_size=2))
def test_line_ends_of_windows_make_no_difference(lines: list[str]) -> None:
    plain = "\n".join(["#!/bin/sh", *lines, ""])
    assert as_meant(plain.replace("\n", "\r\n")).text == plain


def test_the_interpreter_is_found_behind_a_mark_and_before_a_carriage_return() -> None:
    assert interpreter("\ufeff#!/usr/bin/env python3\r\n") == ["/usr/bin/env", "python3"]


@pytest.mark.parametrize("first", ["#!/bin/bash", "#!/usr/bin/env -S zsh -e", "set -e"])
def test_a_shells_file_with_windows_line_ends_is_refused_with_what_helps(
    tmp_path: Path, first: str
) -> None:
    file = tmp_path / "set up.sh"
    file.write_bytes(f"{first}\r\nmake\r\n".encode())
    with pytest.raises(errors.WorkspaceError, match="CRLF") as caught:
        command_for(file)
    assert f"sed -i 's/\\r$//' '{file}'" in caught.value.advice


@pytest.mark.parametrize("content", [b"#!/usr/bin/env python3\r\nx()\r\n", b"echo a\necho b\r\n"])
def test_other_files_are_started(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "script"
    file.write_bytes(content)
    command = command_for(file)
    check_line_ends(file, content, command[:-1])
    assert command[-1] == str(file)


@pytest.mark.parametrize("text", ["@echo off\r\necho done\r\n", "\ufeff@ECHO OFF\nexit /b 0\n"])
def test_a_batch_file_is_refused_and_not_half_run_by_a_shell(text: str) -> None:
    with pytest.raises(errors.RunError, match="batch file"):
        as_meant(text)


def test_a_script_that_speaks_of_batch_files_is_run() -> None:
    text = "printf '@echo off\\r\\n' > run.bat\n"
    assert as_meant(text).text == text
