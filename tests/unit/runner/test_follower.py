"""What the log of a coding task shows of its change."""

from __future__ import annotations

from keruta_agent.runner.process import MOST_DIFF_LINES, Follower


def test_change_stands_in_a_group_of_the_tasks_log() -> None:
    lines: list[str] = []
    Follower(lines.append, grouped=True).difference("@@ -1 +1 @@\n-old\n+new\n")
    assert lines == ["::group::diff", "@@ -1 +1 @@", "-old", "+new", "::endgroup::"]


def test_large_change_is_cut_and_says_so() -> None:
    lines: list[str] = []
    Follower(lines.append, grouped=True).difference("+x\n" * (MOST_DIFF_LINES + 7))
    assert len(lines) == MOST_DIFF_LINES + 3
    assert lines[-2] == "(and 7 lines more)"


def test_person_at_a_terminal_has_the_branch_and_no_change_is_no_group() -> None:
    lines: list[str] = []
    Follower(lines.append, grouped=False).difference("+x\n")
    Follower(lines.append, grouped=True).difference("")
    assert lines == []
