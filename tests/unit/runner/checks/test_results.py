"""What test frameworks print, read; and what nobody should be able to make of it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from keruta_agent.core.coding.model import SingleTestResult
from keruta_agent.runner.checks.results import junit, reading, texts
from keruta_agent.runner.checks.results.report import MOST_TESTS, Outcome, Report, merged

P, F, S, X, N = (
    *(Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED, Outcome.XFAILED, Outcome.NOT_LOADED),
)


def read(text: str) -> Report:
    report = merged(texts.parse(text))
    assert report is not None
    return report


JUNIT = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" errors="1" failures="1" skipped="2" tests="5">
<testcase classname="tests.test_a" name="test_ok" time="0.1"/>
<testcase classname="tests.test_a" name="test_bad[1]"><failure message="no">x</failure></testcase>
<testcase classname="tests.test_a" name="test_skip"><skipped type="pytest.skip"/></testcase>
<testcase classname="tests.test_a" name="test_xfail"><skipped type="pytest.xfail"/></testcase>
<testcase classname="" name="tests.test_b"><error message="collection failure">E</error></testcase>
</testsuite></testsuites>"""


def test_junit_names_each_test() -> None:
    report = junit.parse([JUNIT])
    assert report is not None
    assert dict(report.outcomes) == {
        "tests.test_a::test_ok": P,
        "tests.test_a::test_bad[1]": F,
        "tests.test_a::test_skip": S,
        "tests.test_a::test_xfail": X,
        "tests.test_b": N,
    }
    assert (report.ran, report.is_complete) == (3, True)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not xml",
        b"<html><testcase name='a'/></html>",
        b"<testsuite><testcase name='a'/>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><testsuite><testcase name="&b;"/></testsuite>',
        b"<testsuite>" + b"<a>" * 1000 + b"</a>" * 1000 + b"</testsuite>",
    ],
)
def test_what_no_framework_would_write_is_no_report(document: bytes) -> None:
    assert junit.parse([document]) is None


UNITTEST_V = """\
test_bad (test_a.A.test_bad)
A docstring. ... FAIL
test_loud (test_a.A.test_loud) ... printed ok or not
and more
ok
test_ok (test_a.A.test_ok) ... ok
test_skip (test_a.A.test_skip) ... skipped 'for now'
test_x (test_a.A.test_x) ... expected failure
test_b (unittest.loader._FailedTest.test_b) ... ERROR

======================================================================
ERROR: test_b (unittest.loader._FailedTest.test_b)
----------------------------------------------------------------------
ImportError: Failed to import test module: test_b

======================================================================
FAIL: test_bad (test_a.A.test_bad)
A docstring.
----------------------------------------------------------------------
AssertionError: 1 != 2

----------------------------------------------------------------------
Ran 6 tests in 0.001s

FAILED (failures=1, errors=1, skipped=1, expected failures=1)
"""


def test_unittest_names_each_test_when_it_is_talkative() -> None:
    report = read(UNITTEST_V)
    assert dict(report.outcomes) == {
        "test_bad (test_a.A.test_bad)": F,
        "test_loud (test_a.A.test_loud)": P,
        "test_ok (test_a.A.test_ok)": P,
        "test_skip (test_a.A.test_skip)": S,
        "test_x (test_a.A.test_x)": X,
        "test_b (unittest.loader._FailedTest.test_b)": N,
    }
    assert report.is_complete


def test_unittest_tells_the_numbers_and_what_failed_otherwise() -> None:
    quiet = ".F" + UNITTEST_V[UNITTEST_V.index("\n====") :]
    report = read(quiet)
    assert {outcome: report.count(outcome) for outcome in Outcome} == {P: 2, F: 1, S: 1, X: 1, N: 1}
    assert report.outcomes["test_bad (test_a.A.test_bad)"] is F
    assert not report.is_complete


def test_unittest_without_tests_ran_none() -> None:
    assert read("\nRan 0 tests in 0.000s\n\nNO TESTS RAN\n").ran == 0
    assert read("\nRan 0 tests in 0.000s\n\nOK\n").ran == 0


GO_V = """\
=== RUN   TestAdd
    calc_test.go:6: got -1
--- FAIL: TestAdd (0.00s)
=== RUN   TestHalf
=== RUN   TestHalf/even
--- PASS: TestHalf (0.00s)
    --- PASS: TestHalf/even (0.00s)
=== RUN   TestLater
    calc_test.go:9: later
--- SKIP: TestLater (0.00s)
FAIL
FAIL	example.com/calc	0.002s
FAIL
"""
GO_JSON = """\
{"Time":"2026-11-28T22:00:00Z","Action":"run","Package":"example.com/calc","Test":"TestAdd"}
{"Time":"2026-11-28T22:00:00Z","Action":"output","Package":"example.com/calc","Test":"TestAdd","Output":"{}"}
{"Time":"2026-11-28T22:00:00Z","Action":"fail","Package":"example.com/calc","Test":"TestAdd","Elapsed":0}
{"Time":"2026-11-28T22:00:00Z","Action":"pass","Package":"example.com/calc","Test":"TestHalf","Elapsed":0}
{"Time":"2026-11-28T22:00:00Z","Action":"fail","Package":"example.com/calc","Elapsed":0.002}
"""
TAP = """\
TAP version 13
# Subtest: adds
ok 1 - adds
  ---
  duration_ms: 15.8
  ...
# Subtest: bad
not ok 2 - bad
ok 3 - later # SKIP
ok 4 - some day # TODO
# Subtest: outer
    # Subtest: inner
    ok 1 - inner
    1..1
ok 5 - outer
# Subtest: /tmp/b.test.js
not ok 6 - /tmp/b.test.js
1..6
# tests 7
# pass 4
"""
NODE = """\
✔ adds (10.665045ms)
✖ bad (10.782485ms)
  AssertionError [ERR_ASSERTION]: 1 == 2

﹣ later (0.287029ms) # SKIP
✔ some day (0.234871ms) # TODO
▶ outer
  ✔ inner (0.217949ms)
✔ outer (0.635123ms)
ℹ tests 6
ℹ pass 3
ℹ fail 1
ℹ cancelled 0
ℹ skipped 1
ℹ todo 1

✖ failing tests:

test at a.test.js:2:40
✖ bad (10.782485ms)
"""
JEST = """\
FAIL ./a.test.js
  calc
    ✓ adds (2 ms)
    ✕ halves (1 ms)
    ○ skipped later

Test Suites: 1 failed, 1 total
Tests:       1 failed, 1 skipped, 1 passed, 3 total
"""
CARGO = """\
running 3 tests
test tests::adds ... FAILED
test tests::halves ... ok
test tests::later ... ignored

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out
"""


@pytest.mark.parametrize(
    ("text", "outcomes"),
    [
        (GO_V, {"TestAdd": F, "TestHalf": P, "TestHalf/even": P, "TestLater": S}),
        (GO_JSON, {"example.com/calc.TestAdd": F, "example.com/calc.TestHalf": P}),
        (
            TAP,
            {"adds": P, "bad": F, "later": S, "some day": P, "    inner": P, "outer": P}
            | {"/tmp/b.test.js": N},
        ),
        (NODE, {"adds": P, "bad": F, "later": S, "some day": P, "  inner": P, "outer": P}),
        (JEST, {"    adds": P, "    halves": F, "    skipped later": S}),
        (CARGO, {"tests::adds": F, "tests::halves": P, "tests::later": S}),
    ],
)
def test_framework_that_names_its_tests_is_read(text: str, outcomes: dict[str, Outcome]) -> None:
    assert dict(read(text).outcomes) == outcomes
    coloured = text.replace("✔", "\x1b[32m✔").replace("ok", "\x1b[1mok\x1b[0m")
    assert read(coloured).ran == read(text).ran


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("===== 1 failed, 2 passed, 1 xfailed in 0.12s =====", {P: 2, F: 1, X: 1}),
        ("1 error in 0.12s", {N: 1}),
        ("no tests ran in 0.01s", {}),
        ("5 passed, 1 warning in 61.20s (0:01:01)", {P: 5}),
        ("[ERROR] Tests run: 4, Failures: 1, Errors: 1, Skipped: 1", {P: 1, F: 2, S: 1}),
        ("4 examples, 1 failure, 1 pending", {P: 2, F: 1, S: 1}),
        ("  3 passing (12ms)\n  1 pending\n  2 failing\n", {P: 3, S: 1, F: 2}),
        ("      Tests  1 failed | 2 passed (3)\n", {P: 2, F: 1}),
    ],
)
def test_framework_that_tells_numbers_is_read(text: str, counts: dict[Outcome, int]) -> None:
    report = read(f"some output\n{text}\n")
    assert {key: value for key, value in report.counts.items() if value} == counts
    assert not report.is_complete


@pytest.mark.parametrize("text", ["", "ok\n", "all is well\n1..2\n", "Tests are fun: 3 passed\n"])
def test_output_without_a_framework_says_nothing(text: str) -> None:
    assert texts.parse(text) == []


@pytest.mark.parametrize(
    "line",
    [
        "test_a (a.A.test_a) ... \n",
        "not ok " + "- " * 200 + "\n",
        "1 passed, " * 300 + "\n",
        "  ✔ " + "(1ms) " * 200 + "\n",
        '{"Action":' + "[" * 500 + "\n",
        "test x ... test x ... \n",
        "  9 passing\n  9 pending\n",
    ],
)
def test_hostile_output_is_read_in_little_time(line: str) -> None:
    text = line * (250_000 // len(line))
    began = time.process_time()
    texts.parse(text)
    assert time.process_time() - began < 20


def test_equal_names_are_told_apart_and_their_number_is_bounded() -> None:
    report = Report.of("x", [("same", P), ("same", F)])
    assert dict(report.outcomes) == {"same": P, "same #2": F}
    many = Report.of("x", ((str(number), P) for number in range(MOST_TESTS + 5)))
    assert (len(many.outcomes), many.ran, many.is_complete) == (MOST_TESTS, MOST_TESTS + 5, False)


def _result(stdout: str) -> SingleTestResult:
    return SingleTestResult("test", True, stdout, "", 0, 0.1)


def test_report_that_a_command_has_just_written_is_found(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "target" / "surefire-reports").mkdir(parents=True)
    old = root / "junit.xml"
    old.write_bytes(JUNIT)
    began_ns = old.stat().st_mtime_ns + 1
    results = reading.Results(tmp_path)
    assert results.read(_result("BUILD SUCCESS"), root, began_ns) is None
    new = root / "target" / "surefire-reports" / "TEST-a.xml"
    new.write_bytes(JUNIT)
    report = results.read(_result("BUILD SUCCESS"), root, began_ns)
    assert report is not None
    assert report.ran == 3


def test_link_in_the_place_of_a_report_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.xml").write_bytes(JUNIT)
    results = reading.Results(tmp_path)
    (tmp_path / "pytest.xml").symlink_to(tmp_path / "elsewhere.xml")
    assert results.read(_result(""), tmp_path / "none", 0) is None


def test_output_with_a_gap_names_no_tests(tmp_path: Path) -> None:
    gap = "\n... 12345 bytes left out ...\n"
    results = reading.Results(tmp_path)
    assert results.read(_result(GO_V.replace("=== RUN   TestHalf\n", gap)), tmp_path, 0) is None
    told = results.read(_result(f"{gap}5 passed in 1.0s\n"), tmp_path, 0)
    assert told is not None
    assert told.ran == 5
