"""``keruta demo --runner``: a model fixes a failing test, with all services around it.

Everything is real but the model, which is a server on this machine with canned answers:
wrongly at first, and rightly when it sees how the test fails.
"""

from __future__ import annotations

import dataclasses
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from keruta_agent.cli.tables import print_table
from keruta_agent.core import errors, file_trees
from keruta_agent.git.command import Git
from keruta_agent.soak.demo_world import NOBODYS_GIT, Interruption, make_repository, stop
from keruta_agent.soak.sandbox import Sandbox, tail
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes

TASK: Final = "1.1"
SPEC: Final = "demo"
BRANCH: Final = "feature/task-1.1-average"
#: Seconds that each part may take.
TIMEOUT_S: Final = 60.0
_LOOK_S: Final = 0.05
_SERVICES: Final = ("Task Registry", "Repo Pool Manager", "Artifact Store")
_LISTENS: Final = re.compile(rf"({'|'.join(_SERVICES)}) on (http\S+)\n")

_BROKEN: Final = "def average(numbers):\n    return sum(numbers) / len(numbers)\n"
_WRONG: Final = "def average(numbers):\n    return sum(numbers) / max(1, len(numbers) - 1)\n"
_RIGHT: Final = "def average(numbers):\n    return sum(numbers) / max(1, len(numbers))\n"
_TEST: Final = """\
import unittest

from statistic import average


class AverageTest(unittest.TestCase):
    def test_of_some(self):
        self.assertEqual(average([1, 2, 3]), 2)

    def test_of_none(self):
        self.assertEqual(average([]), 0)


if __name__ == "__main__":
    unittest.main()
"""
FILES: Final = {
    "statistic.py": _BROKEN,
    "test_statistic.py": _TEST,
    "README.md": "# 統計\n",
    ".gitignore": "__pycache__/\n",
}
_SAYS_WRONG: Final = "AssertionError: 3.0 != 2"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that must be so after the demo."""

    what: str
    found: str
    is_well: bool


def answer(request: Mapping[str, Any]) -> Turn:
    """Return what the model says: wrong, until it has seen how its change fails."""
    has_seen = _SAYS_WRONG in str(request["messages"][-1]["content"])
    change = {
        "file_path": "statistic.py",
        "operation": "modify",
        "content": _RIGHT if has_seen else _WRONG,
    }
    return Turn(content=changes(change, explanation="The average of nothing is 0."))


class Showing:
    """One showing, in a directory of its own."""

    def __init__(self, interruption: Interruption, say: Callable[[str], None]) -> None:
        self._interruption = interruption
        self._say = say
        self._key = f"sk-demo-{secrets.token_hex(16)}"
        self._sandbox = Sandbox("demo")
        self._processes: list[subprocess.Popen[bytes]] = []

    def play(self) -> list[Fact]:
        """Run everything and return what came of it.

        Raises:
            RunError: a part did not start.
        """
        repository = self._sandbox.directory / "project.git"
        make_repository(repository, FILES)
        with ScriptedModel(answer).serving() as model:
            urls = self._start_services()
            began = time.monotonic()
            code = self._run_task(repository, model.endpoint, urls)
            took_s = time.monotonic() - began
            facts = [
                Fact(what="exit code", found=f"{code} after {took_s:.1f} s", is_well=code == 0),
                Fact(
                    what="asked the model",
                    found=f"{len(model.requests)} times",
                    is_well=len(model.requests) == 2,
                ),
            ]
        return [*facts, *self._git_facts(repository), *self._service_facts(urls), self._key_fact()]

    def remove(self) -> None:
        """End what still runs and remove the directory."""
        for process in self._processes:
            stop(process, requests=1)
        self._sandbox.remove()

    def _start_services(self) -> dict[str, str]:
        log = self._sandbox.directory / "services.log"
        ports = ("--registry-port", "0", "--pool-port", "0", "--store-port", "0")
        data = str(self._sandbox.directory / "server")
        process = self._start(["server", "--runner-services-only", *ports, "--data", data], {}, log)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            found = dict(_LISTENS.findall(log.read_text(errors="replace")))
            if len(found) == len(_SERVICES):
                return found
            self._interruption.pause(_LOOK_S)
        raise errors.RunError(f"the services did not start\n{tail(log)}")

    def _run_task(self, repository: Path, endpoint: str, urls: Mapping[str, str]) -> int:
        task = self._sandbox.directory / "task.json"
        task.write_text(json.dumps(_task(repository), ensure_ascii=False), encoding="utf-8")
        environment = {
            "TASK_REGISTRY_URL": urls[_SERVICES[0]],
            "REPO_POOL_URL": urls[_SERVICES[1]],
            "ARTIFACT_STORE_URL": urls[_SERVICES[2]],
            "OPENAI_BASE_URL": endpoint,
            "OPENAI_API_KEY": self._key,
            "KERUTA_LLM_MODEL": "scripted",
        }
        log = self._sandbox.directory / "runner.log"
        process = self._start(["runner", "run", "--context", str(task)], environment, log)
        shown = 0
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            has_ended = process.poll() is not None
            text = log.read_text(encoding="utf-8", errors="replace")
            for line in text[shown : text.rfind("\n") + 1].splitlines():
                self._say(line)
            shown = max(shown, text.rfind("\n") + 1)
            if has_ended:
                return process.returncode
            if time.monotonic() > deadline:
                raise errors.RunError(f"the task did not end in {TIMEOUT_S:g} s\n{tail(log)}")
            self._interruption.pause(_LOOK_S)

    def _start(
        self, arguments: list[str], variables: Mapping[str, str], log: Path
    ) -> subprocess.Popen[bytes]:
        process = self._sandbox.spawn(arguments, {**NOBODYS_GIT, **variables}, log)
        self._processes.append(process)
        return process

    def _git_facts(self, repository: Path) -> Iterator[Fact]:
        git = Git(repository, timeout_s=TIMEOUT_S, variables=NOBODYS_GIT).at_bare(repository)
        text = git.find("show", f"{BRANCH}:statistic.py") or ""
        yield Fact(what=f"branch {BRANCH}", found=_shown(text), is_well=text == _RIGHT.rstrip("\n"))
        files = git.find("diff", "--name-only", "main", BRANCH) or ""
        yield Fact(what="committed", found=files, is_well=files == "statistic.py")
        main = git.find("show", "main:statistic.py") or ""
        is_same = main == _BROKEN.rstrip("\n")
        yield Fact(what="branch main", found="as before" if is_same else main, is_well=is_same)

    def _service_facts(self, urls: Mapping[str, str]) -> Iterator[Fact]:
        from keruta_agent.runner import ArtifactStoreClient, RepoPoolClient, TaskRegistryClient

        registry_url, pool_url, store_url = (urls[name] for name in _SERVICES)
        with TaskRegistryClient(registry_url) as registry:
            task = registry.get_task(TASK, spec_name=SPEC)
        kinds = [str(event.get("event_type")) for event in task.get("events", [])]
        wanted = {"implementation_started", "tests_run", "pushed", "TaskCompleted"}
        yield Fact(
            what="Task Registry",
            found=f"{task.get('status')}, {len(kinds)} events",
            is_well=task.get("status") == "done" and wanted <= set(kinds),
        )
        with ArtifactStoreClient(store_url) as store:
            for artifact in task.get("artifacts", []):
                content = store.download(str(artifact["uri"]))
                yield Fact(
                    what=f"artifact {artifact['type']}",
                    found=f"{len(content)} bytes",
                    is_well=len(content) == artifact["size_bytes"] and len(content) > 0,
                )
        types = sorted(str(artifact["type"]) for artifact in task.get("artifacts", []))
        yield Fact(
            what="Artifact Store",
            found=", ".join(types),
            is_well=types == ["diff", "log", "test"],
        )
        with RepoPoolClient(pool_url) as pool:
            lent = sum(int(one["allocated"]) for one in pool.get_pools_status()["pools"])
        yield Fact(what="Repo Pool Manager", found=f"{lent} slots lent", is_well=lent == 0)

    def _key_fact(self) -> Fact:
        """Look for the key in every byte that the demo has written."""
        key = self._key.encode()
        found = [
            str(path.relative_to(self._sandbox.directory))
            for folder, _, names in file_trees.walk(self._sandbox.directory)
            for path in (Path(folder) / name for name in names)
            if path.is_file() and not path.is_symlink() and key in path.read_bytes()
        ]
        return Fact(
            what="the model's key", found=", ".join(found) or "in no file", is_well=not found
        )


def print_facts(facts: list[Fact]) -> None:
    """Print what came of it as a table."""
    print_table(
        ("WHAT", "FOUND", ""),
        [(fact.what, fact.found, "ok" if fact.is_well else "WRONG") for fact in facts],
    )


def _task(repository: Path) -> dict[str, Any]:
    return {
        "task_id": TASK,
        "spec_name": SPEC,
        "title": "平均: the average of nothing is 0",
        "description": "average([]) raises ZeroDivisionError; it has to return 0.",
        "acceptance_criteria": ["average([]) is 0", "the tests pass"],
        "branch_name": BRANCH,
        "related_files": ["statistic.py", "test_statistic.py"],
        "test_commands": [f"{sys.executable} -m unittest -q"],
        "timeout_seconds": int(TIMEOUT_S),
        "metadata": {"repo_url": str(repository)},
    }


def _shown(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "is not there"


def show(*, as_json: bool) -> int:
    """Show it; return the exit code."""
    from keruta_agent.cli.options import print_json

    def say(line: str) -> None:
        if not as_json:
            click.echo(line)

    with Interruption().heard() as interruption:
        showing = Showing(interruption, say)
        try:
            facts = showing.play()
        finally:
            showing.remove()
    if as_json:
        print_json({"facts": [dataclasses.asdict(fact) for fact in facts]})
    else:
        click.echo("")
        print_facts(facts)
        click.echo("No process and no file of it is left.")
    return 0 if all(fact.is_well for fact in facts) else 1
