"""What the log of a coding task shows of its change and of its tests."""

from __future__ import annotations

from keruta_agent.core.coding import log_groups
from keruta_agent.core.coding.model import Verification
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


ACCOUNT = Verification(
    status="tested",
    basis="pytest: 2 passed",
    baseline=["pytest: 1 failed"],
    reverted=["テスト.py: deleted\n  line"],
    new_tests=["a", "b"],
)


def test_account_of_the_tests_reaches_the_page_as_it_is() -> None:
    lines: list[str] = []
    Follower(lines.append, grouped=True).verification(ACCOUNT)
    assert (lines[0], lines[-1]) == ("::group::verification", "::endgroup::")
    assert log_groups.account_of(lines) == ACCOUNT
    # The last run of a task counts.
    assert log_groups.account_of(['{"status": "untested"}', '{"flaky": "x"}', *lines]) == ACCOUNT


def test_long_account_is_cut_and_strange_lines_are_left_out() -> None:
    lines = [
        *("x", "[1]", '{"basis": "too early"}', '{"status": "tested"}', '{"status": 1, "a": "b"}'),
        *("{" * 100_000, *['{"flaky": "%s"}' % ("x" * 9999)] * 1000),
    ]
    account = log_groups.account_of(lines)
    assert account == Verification(
        status="tested", flaky=["x" * log_groups.LONGEST_FACT] * log_groups.MOST_FACTS
    )
    assert len(list(log_groups.lines_of(account))) <= log_groups.MOST_LINES


def test_output_of_tests_opens_no_group() -> None:
    lines: list[str] = []
    follower = Follower(lines.append, grouped=True)
    for line in ("::group::verification", " ::endgroup::", '{"status": "tested"}'):
        follower.line(line)
    follower.difference("+x\n::group::verification\n")
    assert lines == [
        *("| ::group::verification", "|  ::endgroup::", '{"status": "tested"}'),
        *("::group::diff", "+x", "| ::group::verification", "::endgroup::"),
    ]
