"""The specification's tables as data: read, compared with the program, printed with their proofs.

python -m tests.guards.spec_table     prints each row and the tests that prove it, as Markdown
"""

from __future__ import annotations

import ast
import functools
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TESTS = Path(__file__).parents[1]
SPEC = Path(__file__).with_name("spec.toml")


class Row(NamedTuple):
    """One promise."""

    kind: str
    name: str
    proof: tuple[str, ...]
    #: What the program must agree with: arguments, default, key.
    details: dict[str, Any]
    #: Whether it stands in the specification itself.
    is_in_spec: bool


def rows() -> Iterator[Row]:
    """Yield every row, with the shortcuts of its proofs written out."""
    spec = tomllib.loads(SPEC.read_text(encoding="utf-8"))
    shortcuts = spec["shortcuts"]

    def row(kind: str, name: str, proof: list[str], **details: Any) -> Row:
        written_out = tuple(_written_out(each, shortcuts) for each in proof)
        return Row(kind, name.lstrip("+"), written_out, details, not name.startswith("+"))

    for name, command in spec["commands"].items():
        yield row("command", name, command["proof"], arguments=command.get("arguments", []))
        for option, proof in command.get("options", {}).items():
            yield row("option", f"{name} {option}", proof)
    for name, variable in spec["variables"].items():
        details = {key: value for key, value in variable.items() if key != "proof"}
        yield row("variable", name, variable["proof"], **details)
    for name, proof in spec["keys"].items():
        yield row("key", name, proof)
    for name, proof in spec["features"].items():
        yield row("feature", name, proof)


def _written_out(proof: str, shortcuts: dict[str, str]) -> str:
    file, mark, function = proof.partition("::")
    return shortcuts[file] + function if file in shortcuts else f"{file}{mark}{function}"


def is_there(proof: str) -> bool:
    """Return whether a named test, or a file with tests, exists."""
    file, _, function = proof.partition("::")
    names = _tests_in(TESTS / file)
    return function in names if function else bool(names)


@functools.cache
def _tests_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef))
    return frozenset(each.name for each in functions if each.name.startswith("test_"))


def main() -> None:
    """Print the table."""
    print("| | row | proved by |")
    print("|---|---|---|")
    for row in rows():
        name = row.name if row.kind == "feature" else f"`{row.name}`"
        beyond = "" if row.is_in_spec else " (beyond the specification)"
        proofs = ", ".join(f"`{each}`" for each in row.proof)
        print(f"| {row.kind} | {name}{beyond} | {proofs} |")


if __name__ == "__main__":
    main()
