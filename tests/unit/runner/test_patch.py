"""Passages that are replaced."""

from __future__ import annotations

import difflib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.runner.changes.patch import MOST_PASSAGES, PatchError, passages, replaced

TEXT = "def a():\n    return 1\n\n\ndef b():\n    return 1\n"


def block(old: str, new: str) -> str:
    return f"<<<<<<< SEARCH\n{old}=======\n{new}>>>>>>> REPLACE\n"


def edited(text: str, content: str) -> str:
    return replaced(text, passages(content))


def test_block_replaces_the_passage_that_is_there_once() -> None:
    content = block("def b():\n    return 1\n", "def b():\n    return 2\n")
    assert edited(TEXT, content) == TEXT[: TEXT.rindex("1")] + "2\n"


def test_several_blocks_are_replaced_in_order_and_may_remove() -> None:
    content = block("def a():\n    return 1\n", "def a():\n    return 0\n") + block(
        "def b():\n", ""
    )
    assert edited(TEXT, content) == "def a():\n    return 0\n\n\n    return 1\n"


def test_hunk_is_applied_where_it_fits_whatever_its_numbers_say() -> None:
    head = "--- a/x.py\n+++ b/x.py\n@@ -90,3 +91,3 @@ def b\n"
    content = f"{head} \n def b():\n-    return 1\n+    return 3\n"
    assert edited(TEXT, content).endswith("def b():\n    return 3\n")


def test_hunk_number_chooses_between_passages_that_are_alike() -> None:
    content = "@@ -6,1 +6,1 @@\n-    return 1\n+    return 4\n"
    assert edited(TEXT, content) == TEXT[: TEXT.rindex("1")] + "4\n"
    assert edited(TEXT, content.replace("6", "2")).startswith("def a():\n    return 4\n")


def test_hunk_of_added_lines_goes_after_its_number_and_into_an_empty_file() -> None:
    assert edited("a\nb\n", "@@ -1,0 +2 @@\n+x\n") == "a\nx\nb\n"
    assert edited("", "@@ -0,0 +1 @@\n+x\n") == "x\n"
    assert edited("", block("", "x\n")) == "x\n"


def test_line_ends_stay_and_new_lines_get_those_of_the_file() -> None:
    windows = "a\r\nb\r\nc\r\n"
    assert edited(windows, block("b\n", "B\nBB\n")) == "a\r\nB\r\nBB\r\nc\r\n"
    assert edited("a\nb\r\nc\n", block("c\n", "d\n")) == "a\nb\r\nd\n"


def test_missing_line_end_at_the_end_stays_missing() -> None:
    assert edited("a\nb", block("b\n", "c\n")) == "a\nc"
    assert edited("a\nb", block("a\n", "c\n")) == "c\nb"
    assert edited("a\nb", block("b\n", "b\nc\n")) == "a\nb\nc"
    assert edited("a\nb", block("b\n", "")) == "a"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (block("    return 1\n", "    return 2\n"), "2 times"),
        (block("    return 7\n", "    return 2\n"), "passage 1 of 1 is not in the file"),
        (block("return 1\n", "return 2\n"), "not in the file"),
        (block("", "x\n"), "nothing to search for"),
        (block("def b():\n", "def b():\n"), "replaced by itself"),
        ("<<<<<<< SEARCH\ndef b():\n", "has no ======="),
        ("<<<<<<< SEARCH\ndef b():\n=======\nx\n", "has no >>>>>>> REPLACE"),
        ("<<<<<<< SEARCH\na\n<<<<<<< SEARCH\nb\n=======\nx\n>>>>>>> REPLACE", "has no ======="),
        ("def b():\n    return 2\n", "neither"),
        ("@@ -1 +1 @@\n-def z():\n+def y():\n", "not in the file"),
        ("@@ -1 +1 @@\n-def a():\nreturn\n", "begins with none of"),
    ],
)
def test_what_does_not_fit_is_refused(content: str, complaint: str) -> None:
    with pytest.raises(PatchError, match=complaint):
        edited(TEXT, content)


RST = "Title\n=======\ntext\n\nOther\n=====\nmore\n"


@pytest.mark.parametrize(
    ("old", "new", "right"),
    [
        ("Title\n=======\ntext\n", "Title\n=======\nnew\n", RST.replace("text", "new")),
        ("Other\n=====\n", "Another\n=======\n", RST.replace("Other\n=====", "Another\n=======")),
        ("Other\n=====\nmore\n", "", RST[: RST.index("Other")]),
        ("text\n", "A\n=======\ntext\n", RST.replace("text", "A\n=======\ntext")),
    ],
)
def test_heading_underlined_like_the_divider_is_told_from_it(
    old: str, new: str, right: str
) -> None:
    assert edited(RST, block(old, new)) == right


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Title\n=======\ntxet\n", "Title\n=======\nnew\n"),
        ("Title\n", "Heading\n=======\n"),
        # Its own divider was forgotten, or the title alone is meant: nobody knows.
        ("Title\n", "new text\n"),
        ("text\n", "text\n\nOther\n=======\nmore\n=======\n\n>>>>>>> REPLACE\n"),
    ],
)
def test_block_that_can_be_divided_in_several_ways_is_refused(old: str, new: str) -> None:
    with pytest.raises(PatchError, match="unified diff"):
        edited(RST, block(old, new))


def test_longer_marks_tell_the_divider_from_any_heading() -> None:
    content = "<<<<<<<<< SEARCH\nTitle\n=========\nHeading\n=======\n>>>>>>>>> REPLACE\n"
    assert edited("Title\n", content) == "Heading\n=======\n"
    alone = "<<<<<<<<< SEARCH\nTitle\n=========\nHeading\n>>>>>>>>> REPLACE\n"
    assert edited(RST, alone) == RST.replace("Title", "Heading")


@pytest.mark.parametrize(
    ("old", "hint"),
    [
        ("def b():\n\treturn 1\n", r"line 6 of the file is '    return 1', .* has '\\treturn 1'"),
        ("def a():\n    return 1\n\ndef b():\n", "only empty lines differ: it is in lines 1 to 5"),
        ("def a(): \n", r"line 1 of the file is 'def a\(\):'"),
    ],
)
def test_difference_in_blanks_is_named(old: str, hint: str) -> None:
    with pytest.raises(PatchError, match=hint):
        edited(TEXT, block(old, "x\n"))


LINES = st.lists(st.sampled_from(["a\n", "b\n", "\n", "    return 1\n", "日本\n"]), max_size=12)


@given(LINES, LINES, st.integers(0, 3))
def test_any_unified_diff_leads_from_one_text_to_the_other(
    old: list[str], new: list[str], context: int
) -> None:
    content = "".join(difflib.unified_diff(old, new, "a/x", "b/x", n=context))
    if content:
        assert edited("".join(old), content) == "".join(new)


def test_many_passages_of_a_large_file_are_replaced_in_no_time() -> None:
    text = "".join(f"line {number}\n" for number in range(50_000))
    blocks = "".join(
        f"<<<<<<< SEARCH\nline {number * 50}\n=======\nnew {number}\n>>>>>>> REPLACE\n"
        for number in range(MOST_PASSAGES)
    )
    began = time.process_time()
    assert replaced(text, passages(blocks)).count("new ") == MOST_PASSAGES
    assert time.process_time() - began < 5
    with pytest.raises(PatchError, match="1001 passages; 1000 are allowed"):
        passages(f"{blocks}<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n")
