"""What a file defines."""

from __future__ import annotations

import pytest

from keruta_agent.runner.exploration import symbols

PYTHON = '''\
import os

LIMIT = 3
key = "not a constant"

class Store(base.Store, dict):
    """Keeps."""

    async def open(self, path, *, mode="secret-default", **more):
        def inner(): ...

def half(number): return number / 2
'''


def test_python_is_parsed_and_values_are_left_out() -> None:
    found = [(one.line, one.depth, one.text) for one in symbols.of("a.py", PYTHON)]
    assert found == [
        (3, 0, "LIMIT"),
        (6, 0, "class Store(Store, dict)"),
        (9, 1, "def open(self, path, *, mode, **more)"),
        (12, 0, "def half(number)"),
    ]


def test_python_with_a_fault_is_read_by_its_lines() -> None:
    text = "class Store:\n    def open(self:\n        x = (\n"
    assert [one.text for one in symbols.of("a.py", text)] == ["class Store:", "def open(self:"]


@pytest.mark.parametrize(
    ("path", "line", "shown"),
    [
        (
            "a.go",
            "func (s *Store) Open(path string) error {",
            "func (s *Store) Open(path string) error",
        ),
        ("a.ts", "export default class Store<T> {", "export default class Store<T>"),
        ("a.js", "export const half = (number) => number / 2;", None),
        ("a.js", "const total = 3;", ""),
        ("a.rs", "    pub(crate) async fn open(&self) {", "pub(crate) async fn open(&self)"),
        ("a.sh", "build-all() {", "build-all()"),
        ("A.java", "  public static final class Store {", "public static final class Store"),
        ("a.rb", "  def open(path)", "def open(path)"),
        ("a.c", "struct store {", "struct store"),
        ("a.go", "type Store struct {" + " " * 500, ""),
    ],
)
def test_other_languages_are_read_by_patterns(path: str, line: str, shown: str | None) -> None:
    found = [one.text for one in symbols.of(path, f"// first\n{line}\n")]
    assert found == ([] if shown == "" else [line.strip() if shown is None else shown])


@pytest.mark.parametrize(
    "text",
    ["(" * 300_000, "-" * 300_000 + "1", "x = " + "{" * 500, "a\0b", "lambda:" * 40_000 + "1"],
    ids=["parentheses", "signs", "braces", "zero byte", "lambdas"],
)
def test_python_that_no_parser_takes_breaks_nothing(text: str) -> None:
    assert symbols.of("a.py", text) == []


def test_long_line_of_beginnings_is_no_work() -> None:
    assert symbols.of("a.ts", "export " * 200_000) == []
