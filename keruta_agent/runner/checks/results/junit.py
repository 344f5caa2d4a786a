"""JUnit's XML, which most test frameworks can write."""

from __future__ import annotations

import dataclasses
import xml.parsers.expat as expat
from collections.abc import Iterable
from typing import Final

from keruta_agent.runner.checks.results.report import Outcome, Report

#: Nested elements; a real document has four.
_DEEPEST: Final = 50
_PROBLEMS: Final = {"failure": Outcome.FAILED, "error": Outcome.FAILED}


class _RefusedError(Exception):
    """A document is none that a framework would write."""


def parse(documents: Iterable[bytes], framework: str = "junit") -> Report | None:
    """Return what documents say, None when one of them is no JUnit XML."""
    reader = _Reader()
    for document in documents:
        try:
            reader.read(document)
        except (expat.ExpatError, _RefusedError, ValueError):
            return None
    return Report.of(framework, reader.named) if reader.documents else None


@dataclasses.dataclass
class _Reader:
    """The reader of documents, one after the other."""

    named: list[tuple[str, Outcome]] = dataclasses.field(default_factory=list)
    documents: int = 0
    _name: str = ""
    _outcome: Outcome = Outcome.PASSED
    _depth: int = 0

    def read(self, document: bytes) -> None:
        parser = expat.ParserCreate()
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse
        self._depth = 0
        parser.Parse(document, True)
        self.documents += 1

    def _refuse(self, *_declared: object) -> None:
        raise _RefusedError("a test report declares nothing")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST or (self._depth == 1 and tag not in ("testsuites", "testsuite")):
            raise _RefusedError("this is no test report")
        if tag == "testcase":
            place, name = attributes.get("classname", ""), attributes.get("name", "")
            self._name = f"{place}::{name}" if place else name
            self._outcome = Outcome.PASSED
        elif tag in _PROBLEMS:
            self._outcome = _PROBLEMS[tag]
            if attributes.get("message", "").startswith("collection "):  # of pytest
                self._outcome = Outcome.NOT_LOADED
        elif tag == "skipped" and self._outcome is Outcome.PASSED:
            is_expected = attributes.get("type", "") == "pytest.xfail"
            self._outcome = Outcome.XFAILED if is_expected else Outcome.SKIPPED

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if tag == "testcase":
            self.named.append((self._name, self._outcome))
