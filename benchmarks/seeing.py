"""What a model that may ask to see more costs, and what it gains.

``python -m benchmarks.seeing`` solves three tasks in a made repository of 600 modules, each without
and with steps. The model is scripted: it changes what it has seen, searches and reads where it may,
and guesses where it may not. Tokens are counted as the runner estimates them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keruta_agent.core.coding.model import (
    ImplementationResult,
    LLMConfig,
    SingleTestResult,
    TaskContext,
    TestResult,
    Workspace,
)
from keruta_agent.git.command import Git
from keruta_agent.runner import TaskExecutor
from keruta_agent.runner.budget import Limits
from keruta_agent.runner.model.reply import estimated_tokens
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes

_FILLER = "# Nothing that the task is about.\n"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A task: one line of one file is wrong."""

    title: str
    description: str
    path: str
    line: str
    right: str
    #: What a model looks for that has read the task.
    pattern: str


CASES = (
    Case(
        title="Round the tax half up",
        description="tax_of() rounds half to even.",
        path="area17/levies.py",
        line="    return round(amount * RATE)",
        right="    return int(amount * RATE + 0.5)",
        pattern=r"def tax_of\(",
    ),
    Case(
        title="Retry five times",
        description="The client gives up after two attempts.",
        path="zone/plumbing/knobs.py",
        line="ATTEMPTS = 2",
        right="ATTEMPTS = 5",
        pattern=r"ATTEMPTS\s*=",
    ),
    Case(
        title="Close the ledger at midnight",
        description="Ledger.close() keeps the day open until one o'clock.",
        path="books/ledger.py",
        line="        return hour >= 1",
        right="        return hour >= 0",
        pattern=r"def close\(",
    ),
)


def main() -> None:
    """Print a row for each task and number of steps."""
    rows = []
    for prompt_tokens in (8_000, 60_000):
        for case in CASES:
            for steps in (0, 10):
                result, requests = _solved(case, steps, prompt_tokens)
                end = "solved" if result.success else f"not solved ({result.error_type})"
                rows.append(
                    f"{prompt_tokens:>7} {case.title:<30} {steps:>9} {result.steps:>6} "
                    f"{result.rounds:>7} {requests:>9} {result.tokens_used or 0:>8}  {end}"
                )
    heading = f"{'prompt':>7} {'task':<30} {'max_steps':>9} {'steps':>6} {'rounds':>7}"
    sys.stdout.write(f"{heading} {'requests':>9} {'tokens':>8}  end\n")
    sys.stdout.write("\n".join(rows) + "\n")


def _solved(case: Case, steps: int, prompt_tokens: int) -> tuple[ImplementationResult, int]:
    def run_tests(context: TaskContext, workspace: Workspace) -> TestResult:
        success = case.right in (workspace.path / case.path).read_text()
        said = SingleTestResult("t", success, "", "E  assert False", int(not success), 0.1)
        return TestResult(success, [said], 0.1)

    def answer(request: Mapping[str, Any]) -> Turn:
        prompt = str(request["messages"][-1]["content"])
        text = _answer(case, prompt)
        used = {
            "prompt_tokens": sum(estimated_tokens(str(m["content"])) for m in request["messages"]),
            "completion_tokens": estimated_tokens(text),
        }
        return Turn(content=text, usage=used)

    with tempfile.TemporaryDirectory() as directory, ScriptedModel(answer).serving() as model:
        root = Path(directory)
        _make(root, case)
        config = LLMConfig(api_key="sk-benchmark", endpoint=model.endpoint)
        limits = Limits(rounds=3, steps=steps, tokens=500_000)
        executor = TaskExecutor(
            config, run_tests=run_tests, limits=limits, prompt_tokens=prompt_tokens
        )
        context = TaskContext(
            task_id="1", spec_name="seeing", title=case.title, description=case.description
        )
        result = executor.execute(context, Workspace(path=root, branch_name="feature/task-1"))
        return result, len(model.requests)


def _answer(case: Case, prompt: str) -> str:
    """Return what a model says that changes nothing which it has not seen."""
    if f"{case.line}\n" in prompt:
        edit = f"<<<<<<< SEARCH\n{case.line}\n=======\n{case.right}\n>>>>>>> REPLACE\n"
        return changes({"file_path": case.path, "operation": "edit", "content": edit})
    if "If You Need to See More" not in prompt:
        name = f"guess{len(prompt)}.py"
        return changes({"file_path": name, "operation": "create", "content": "x = 1\n"})
    found = re.search(rf"^{re.escape(case.path)}:(\d+): ", prompt, re.M)
    if found is None:
        asked = {"action": "search", "pattern": case.pattern, "path": ""}
    else:
        line = int(found[1])
        lines = f"{max(1, line - 10)}-{line + 30}"
        asked = {"action": "read", "path": case.path, "lines": lines}
    return json.dumps({"requests": [asked], "code_changes": [], "explanation": "to see"})


def _make(root: Path, case: Case) -> None:
    for number in range(600):
        name = f"area{number % 30}/part{number}.py"
        body = f"def part{number}(value):\n    return value + {number}\n"
        _write(root / name, f"{body}{_FILLER * 20}")
    named = f"# {case.title}\n"
    _write(root / "README.md", named)
    head = {"levies": "RATE = 0.1\ndef tax_of(amount):\n", "ledger": "class Ledger:\n"}
    stem = Path(case.path).stem
    inner = "    def close(self, hour):\n" if stem == "ledger" else ""
    # A model is shown the beginning and the end of a long file, and this lies between them.
    filler = _FILLER * 12_000
    _write(root / case.path, f"{filler}{head.get(stem, '')}{inner}{case.line}\n{filler}")
    git = Git(root, timeout_s=60)
    git.run("init", "--quiet", action="make a repository")
    git.run("add", "--all", action="add the files")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
