"""Lines as a terminal would show them: rewritten, coloured, and with nothing that does harm."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.agent.run.screen import has_controls, render, render_lines

HARMFUL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
PIECES = st.sampled_from(
    [
        *("\r", "\b", "\x1b[K", "\x1b[2K", "\x1b[1;31m", "\x1b[0m", "\x1b[3D", "\x1b[200C", "\x1b"),
        *("\x1b]0;title\x07", "\x1b]8;;u\x1b\\", "\x1b[", "\x9b", "\0", "日本", "text", "\t", " "),
    ]
)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("tab\tstays", "tab\tstays"),
        ("a Windows line\r", "a Windows line"),
        ("10%\r50%\r100%", "100%"),
        ("100%\r", "100%"),
        ("[     ]\r[##", "[##   ]"),
        ("done 100%\r         \r", ""),
        ("downloading\r\x1b[Kdone", "done"),
        ("downloading\x1b[2K\rdone", "done"),
        ("\x1b[2J\x1b[Hcleared", "cleared"),
        ("typo\b\bes", "tyes"),
        ("\b\bfirst", "first"),
        ("ab\x1b[2Dcd\x1b[1Cx", "cd x"),
        ("unit\x1b[10G[ OK ]", "unit     [ OK ]"),
        ("\x1b[1;31mred\x1b[0m rest", "red rest"),
        ("\x1b[38:2::1:2:3mdeep\x1b[m", "deep"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://host\x1b\\link\x1b]8;;\x1b\\ x", "link x"),
        ("\x1b]52;c;ZXZpbA==\x07", ""),
        ("\x1bP+q\x1b\\x\x1b(B\x1b=y", "xy"),
        ("ring\x07 the bell", "ring the bell"),
        ("nul\0 del\x7f vt\x0b c1\x9b1m", "nul\u2400 del\u2421 vt\u240b c1\ufffd1m"),
        ("a title without an end \x1b]0;oh", "a title without an end \u241b]0;oh"),
        ("cut in a sequence \x1b[3", "cut in a sequence \u241b[3"),
        ("cut before a colour \x1b\x1b[1;31mtext", "cut before a colour \u241btext"),
        ("cut before a colour \x1b[\x1b[1;31mtext", "cut before a colour \u241b[text"),
        ("進捗 10%\r進捗 99%", "進捗 99%"),
        ("trailing  ", "trailing  "),
    ],
)
def test_line_is_shown_as_a_terminal_leaves_it(line: str, shown: str) -> None:
    assert render(line) == shown


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("\x1b[31mred\x1b[0m rest", "\x1b[31mred\x1b[0m rest"),
        ("\x1b[31mred", "\x1b[31mred\x1b[0m"),
        ("\x1b[1m\x1b[31mboth\x1b[0;32mgreen", "\x1b[1m\x1b[31mboth\x1b[0m\x1b[0;32mgreen\x1b[0m"),
        ("\x1b[32m10%\r\x1b[33m99%\x1b[0m", "\x1b[32m\x1b[33m99%\x1b[0m"),
        ("\x1b[?25l\x1b[>4;1mx\x1b[c\x1b[6n", "x"),
        ("\x1b]0;title\x07\x1b[31mx", "\x1b[31mx\x1b[0m"),
    ],
)
def test_colours_are_all_that_can_be_kept(line: str, shown: str) -> None:
    assert render(line, colours=True) == shown


def test_line_ends_of_windows_are_ends_and_no_more() -> None:
    assert render_lines("one\r\ntwo\r\n\r\nx") == ["one", "two", "", "x"]


@given(st.lists(PIECES, max_size=20).map("".join))
def test_nothing_harmful_is_left_whatever_is_printed(line: str) -> None:
    assert not HARMFUL.search(render(line))
    coloured = render(line, colours=True)
    assert not HARMFUL.search(COLOURS.sub("", coloured))
    assert COLOURS.sub("", coloured) == render(line)
    assert render(render(line)) == render(line)


@given(st.text(max_size=60))
def test_text_without_controls_is_left_alone(line: str) -> None:
    if not has_controls(line.encode("utf-8", "surrogatepass")) and "\n" not in line:
        assert render(line) == line
        assert render_lines(line) == [line]


@pytest.mark.parametrize("piece", ["\x1b]", "\x1b[", "\x1b[1", "\r", "a\r", "a\b\x1b[200C", "\0"])
def test_long_line_of_sequences_stays_small(piece: str) -> None:
    """What grew with the square of the length would not come back from this."""
    assert len(render(piece * (64 * 1024 // len(piece)), colours=True)) <= 4 * 64 * 1024
