"""The outputs of test frameworks, as people read them.

Frameworks that name each test are read for the names, the others for their numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Final

from keruta_agent.runner.checks.results.report import Outcome, Report

_FAILED, _PASSED = Outcome.FAILED, Outcome.PASSED
_SKIPPED, _XFAILED, _NOT_LOADED = Outcome.SKIPPED, Outcome.XFAILED, Outcome.NOT_LOADED

_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

_UNITTEST_BEGIN: Final = re.compile(
    r"^ *(\S+ \([\w.<>$]+\)(?: \[.*?\])?(?: \(.*?\))?)(?= \.\.\. |$)(.*)$"
)
_UNITTEST_VERDICT: Final = re.compile(
    r"(?:^|[^\w])(ok|FAIL|ERROR|skipped .*|expected failure|unexpected success)$"
)
_UNITTEST_RAN: Final = re.compile(r"^Ran (\d{1,9}) tests? in ", re.M)
_UNITTEST_END: Final = re.compile(r"^(?:OK|FAILED|NO TESTS RAN)(?: \(([^)\n]*)\))?$", re.M)
_UNITTEST_PROBLEM: Final = re.compile(r"^(?:FAIL|ERROR): (\S+ \([^()\n]+\))", re.M)
_UNITTEST_OUTCOMES: Final = {
    "ok": _PASSED,
    "expected failure": _XFAILED,
    "unexpected success": _FAILED,
    "FAIL": _FAILED,
    "ERROR": _FAILED,
}
#: What unittest makes of a module that it cannot import.
_NOT_IMPORTED: Final = re.compile(r"unittest\.loader\.(?:_FailedTest|ModuleImportFailure)")


def unittest(text: str) -> Report | None:
    """Read Python's unittest: each test with ``-v``, else the numbers and what failed."""
    ran = [int(number) for number in _UNITTEST_RAN.findall(text)]
    if not ran:
        return None
    ends = [match[1] or "" for match in _UNITTEST_END.finditer(text)]
    numbers = {"skipped": 0, "expected failures": 0, "failures": 0, "errors": 0}
    for name, number in re.findall(r"([a-z ]+)=(\d{1,9})", ", ".join(ends)):
        numbers[name.strip()] = numbers.get(name.strip(), 0) + int(number)
    not_loaded = len(
        {name for name in _UNITTEST_PROBLEM.findall(text) if _NOT_IMPORTED.search(name)}
    )
    failed = numbers["failures"] + numbers["errors"] + numbers.get("unexpected successes", 0)
    failed = max(0, failed - not_loaded)
    others = failed + not_loaded + numbers["skipped"] + numbers["expected failures"]
    counts = {
        _PASSED: max(0, sum(ran) - others),
        _FAILED: failed,
        _SKIPPED: numbers["skipped"],
        _XFAILED: numbers["expected failures"],
        _NOT_LOADED: not_loaded,
    }
    named = Report.of("unittest", _unittest_names(text))
    if named.is_complete and sum(named.counts.values()) == sum(ran):
        return named
    outcomes = {
        name: _NOT_LOADED if _NOT_IMPORTED.search(name) else _FAILED
        for name in _UNITTEST_PROBLEM.findall(text)
    }
    return Report(framework="unittest", counts=counts, outcomes=outcomes)


def _unittest_names(text: str) -> Iterator[tuple[str, Outcome]]:
    """Yield the tests of ``-v``: between name and verdict stands whatever the test printed."""
    name, verdict = "", ""
    for line in text.splitlines():
        begin = _UNITTEST_BEGIN.match(line)
        is_end = line.startswith(("=" * 70, "-" * 70))
        if begin is not None or is_end:
            if name and verdict:
                yield name, _unittest_outcome(name, verdict)
            name, verdict = (begin[1], "") if begin is not None else ("", "")
        if is_end:
            return
        found = _UNITTEST_VERDICT.search(begin[2] if begin is not None else line)
        verdict = found[1] if found else verdict


def _unittest_outcome(name: str, verdict: str) -> Outcome:
    if _NOT_IMPORTED.search(name):
        return _NOT_LOADED
    return _UNITTEST_OUTCOMES.get(verdict, _SKIPPED)


_PYTEST_END: Final = re.compile(
    r"^(?:=+ )?((?:\d{1,9} [a-z]+(?:, )?)+|no tests ran) in \d[\d.]*s.*$", re.M
)
_PYTEST_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+::\S+)", re.M)
_PYTEST_COUNTS: Final = {
    "passed": _PASSED,
    "xpassed": _PASSED,
    "failed": _FAILED,
    "error": _NOT_LOADED,
    "errors": _NOT_LOADED,
    "skipped": _SKIPPED,
    "xfailed": _XFAILED,
}


def pytest(text: str) -> Report | None:
    """Read pytest's last line, and the names of what failed."""
    ends = [match[1] for match in _PYTEST_END.finditer(text)]
    if not ends:
        return None
    counts: dict[Outcome, int] = {}
    for number, word in re.findall(r"(\d+) ([a-z]+)", " ".join(ends)):
        outcome = _PYTEST_COUNTS.get(word)
        if outcome is not None:
            counts[outcome] = counts.get(outcome, 0) + int(number)
    outcomes = dict.fromkeys(_PYTEST_FAILED.findall(text), _FAILED)
    return Report(framework="pytest", counts=counts, outcomes=outcomes)


_GO_ACTIONS: Final = {"pass": _PASSED, "fail": _FAILED, "skip": _SKIPPED}
_GO_LINE: Final = re.compile(r"^( *)--- (PASS|FAIL|SKIP): (\S+) \([\d.]+s\)$", re.M)
_GO_PACKAGE: Final = re.compile(
    r"^(?:ok|FAIL|---|\?)[ \t]+(\S+)[ \t]+(?:\(cached\)|[\d.]+s|\[)", re.M
)


def go(text: str) -> Report | None:
    """Read ``go test``, with ``-json`` or ``-v``."""
    events = list(_go_events(text))
    if events:
        return Report.of("go test", events)
    found = [(name, _GO_ACTIONS[word.lower()]) for _, word, name in _GO_LINE.findall(text)]
    if not found or not _GO_PACKAGE.search(text):
        return None
    return Report.of("go test", found)


def _go_events(text: str) -> Iterator[tuple[str, Outcome]]:
    for line in text.splitlines():
        if not line.startswith('{"') or '"Action"' not in line:
            continue
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            continue
        outcome = _GO_ACTIONS.get(str(event.get("Action")))
        name, package = event.get("Test"), event.get("Package", "")
        if outcome is not None and isinstance(name, str):
            yield f"{package}.{name}", outcome


_TAP: Final = re.compile(
    r"^( *)(not ok|ok)\b(?: \d+)?(?: -)? ?(.*?)(?: # (SKIP|TODO)\b.*)?$", re.I | re.M
)
_TAP_BEGIN: Final = re.compile(r"^(?:TAP version \d+|1\.\.\d+)", re.M)
#: How node names what stands for a whole file: with its path.
_FILE: Final = re.compile(r"(?:/|[A-Za-z]:\\).*\.[cm]?[jt]sx?$")


def tap(text: str) -> Report | None:
    """Read the Test Anything Protocol, also with subtests: node, bats, prove."""
    named = list(_tap_names(text))
    if not _TAP_BEGIN.search(text) or not (named or "TAP version" in text):
        return None
    return Report.of("tap", named)


def _tap_names(text: str) -> Iterator[tuple[str, Outcome]]:
    for indent, verdict, name, directive in _TAP.findall(text):
        failed = verdict.lower().startswith("not")
        if _FILE.match(name):
            yield name, _NOT_LOADED if failed else _PASSED
        elif directive:
            skipped = directive.upper() == "SKIP"
            yield f"{indent}{name}", _SKIPPED if skipped else _XFAILED if failed else _PASSED
        else:
            yield f"{indent}{name}", _FAILED if failed else _PASSED


_SPEC: Final = re.compile(
    r"^( *)([✔✖﹣✓✕×○✎]) (.*?)(?: \(\d[\d.]* ?m?s\)| \d+ ?ms)?(?: # (SKIP|TODO).*)?$", re.M
)
_SPEC_MARKS: Final = {
    **dict.fromkeys("✔✓", _PASSED),
    **dict.fromkeys("✖✕×", _FAILED),
    **dict.fromkeys("﹣○✎", _SKIPPED),
}
_NODE_NUMBERS: Final = re.compile(r"^ℹ (pass|fail|skipped|todo|cancelled) (\d{1,9})$", re.M)
_NODE_COUNTS: Final = {
    "pass": _PASSED,
    "fail": _FAILED,
    "cancelled": _FAILED,
    "skipped": _SKIPPED,
    "todo": _XFAILED,
}


def node_spec(text: str) -> Report | None:
    """Read the reporter ``spec`` of ``node --test``."""
    numbers = _NODE_NUMBERS.findall(text)
    if not numbers:
        return None
    # What failed is repeated below.
    body = text.partition("✖ failing tests:")[0]
    named = [
        (f"{indent}{name}", _spec_outcome(name, mark, directive))
        for indent, mark, name, directive in _SPEC.findall(body)
    ]
    if named:
        return Report.of("node --test", named)
    counts: dict[Outcome, int] = {}
    for word, number in numbers:
        outcome = _NODE_COUNTS[word]
        counts[outcome] = counts.get(outcome, 0) + int(number)
    return Report(framework="node --test", counts=counts)


def _spec_outcome(name: str, mark: str, directive: str) -> Outcome:
    outcome = _SKIPPED if directive == "SKIP" else _SPEC_MARKS[mark]
    if outcome is _FAILED:
        return _NOT_LOADED if _FILE.match(name) else _XFAILED if directive == "TODO" else _FAILED
    return outcome


_JEST_END: Final = re.compile(r"^ *Tests:? +((?:\d+ [a-z]+(?:, | \| )?)+)", re.M)
_JEST_COUNTS: Final = {
    "passed": _PASSED,
    "failed": _FAILED,
    "skipped": _SKIPPED,
    "pending": _SKIPPED,
    "todo": _SKIPPED,
}


def jest(text: str) -> Report | None:
    """Read jest and vitest: ``--json``, ``--verbose``, else the numbers."""
    found = _jest_json(text)
    if found is not None:
        return found
    ends = [match[1] for match in _JEST_END.finditer(text)]
    if not ends:
        return None
    counts: dict[Outcome, int] = {}
    for number, word in re.findall(r"(\d{1,9}) ([a-z]+)", " ".join(ends)):
        outcome = _JEST_COUNTS.get(word)
        if outcome is not None:
            counts[outcome] = counts.get(outcome, 0) + int(number)
    named = Report.of(
        "jest", [(f"{i}{name}", _SPEC_MARKS[mark]) for i, mark, name, _ in _SPEC.findall(text)]
    )
    if sum(named.counts.values()) == sum(counts.values()):
        return named
    return Report(framework="jest", counts=counts)


def _jest_json(text: str) -> Report | None:
    for line in text.splitlines():
        if not (line.startswith("{") and '"numTotalTests"' in line):
            continue
        try:
            suites = json.loads(line)["testResults"]
            named = [
                (f"{case['fullName']}", _JEST_COUNTS.get(str(case["status"]), _SKIPPED))
                for suite in suites
                for case in suite["assertionResults"]
            ]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        return Report.of("jest", named)
    return None


_CARGO: Final = re.compile(r"^test (.+?)(?: - should panic)? \.\.\. (ok|FAILED|ignored)\b", re.M)
_CARGO_OUTCOMES: Final = {"ok": _PASSED, "FAILED": _FAILED, "ignored": _SKIPPED}


def cargo(text: str) -> Report | None:
    """Read ``cargo test``."""
    if "test result: " not in text:
        return None
    return Report.of(
        "cargo test", [(name, _CARGO_OUTCOMES[word]) for name, word in _CARGO.findall(text)]
    )


#: Of other frameworks the last line of numbers: what ran in all, failed and was skipped; or passed.
_NUMBERS: Final = (
    (
        "maven",
        re.compile(
            r"^(?:\[\w+\] )?Tests run: (?P<all>\d{1,9}), Failures: (?P<failed>\d{1,9}), "
            r"Errors: (?P<errors>\d{1,9}), Skipped: (?P<skipped>\d{1,9})\s*$",
            re.M,
        ),
    ),
    (
        "rspec",
        re.compile(
            r"^(?P<all>\d{1,9}) examples?, (?P<failed>\d{1,9}) failures?"
            r"(?:, (?P<skipped>\d{1,9}) pending)?",
            re.M,
        ),
    ),
    (
        "mocha",
        re.compile(
            r"^ +(?P<passed>\d{1,9}) passing(?: \(.*\))?$(?:\n +(?P<skipped>\d{1,9}) pending$)?"
            r"(?:\n +(?P<failed>\d{1,9}) failing$)?",
            re.M,
        ),
    ),
)


def numbers(text: str) -> Report | None:
    """Read frameworks that end with a line of numbers."""
    for framework, pattern in _NUMBERS:
        found = list(pattern.finditer(text))
        if found:
            groups = {name: int(value or 0) for name, value in found[-1].groupdict().items()}
            failed = groups.get("failed", 0) + groups.get("errors", 0)
            skipped = groups.get("skipped", 0)
            passed = groups.get("passed", groups.get("all", 0) - failed - skipped)
            counts = {_PASSED: max(0, passed), _FAILED: failed, _SKIPPED: skipped}
            return Report(framework=framework, counts=counts)
    return None


_READERS: Final[tuple[Callable[[str], Report | None], ...]] = (
    *(pytest, unittest, go, node_spec, tap, jest, cargo, numbers),
)


def parse(text: str) -> list[Report]:
    """Return the reports of the frameworks that speak in an output."""
    plain = _COLOURS.sub("", text).replace("\r\n", "\n")
    return [report for read in _READERS if (report := read(plain)) is not None]
