"""Imports of the old runner's package, rewritten in the code of whoever comes from it."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

from keruta_agent import runner
from keruta_agent.core.settings import retired
from keruta_agent.runner.migration import code, names
from keruta_agent.runner.migration.finding import Finding

OLD = "necrocode.agent_runner"


def _rewritten(tmp_path: Path, text: str | bytes) -> tuple[bytes, list[Finding]]:
    path = tmp_path / "a.py"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    findings = list(code.find(tmp_path, rewrites=True))
    return path.read_bytes(), findings


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (
            f"from {OLD} import TaskContext  # 説明\n",
            "from keruta_agent.runner import TaskContext  # 説明\n",
        ),
        (
            f"from  {OLD}.models  import (\n    TaskContext as T,  # one\n    Workspace,\n)\nT\n",
            "from  keruta_agent.runner  import (\n    TaskContext as T,  # one\n    Workspace,\n)"
            "\nT\n",
        ),
        (
            f"if 1:\n\tx = '日本'; from \\\n   {OLD} import TaskContext\n",
            "if 1:\n\tx = '日本'; from \\\n   keruta_agent.runner import TaskContext\n",
        ),
        (
            f"import os, {OLD}.models as m\r\nm.TaskContext.from_dict\r\n",
            "import os, keruta_agent.runner as m\r\nm.TaskContext.from_dict\r\n",
        ),
        (
            f"import {OLD}\nimport {OLD}.config\n"
            f"x = [{OLD}.RunnerConfig(), {OLD}.config.RetryConfig]",
            "import keruta_agent.runner\nimport keruta_agent.runner\n"
            "x = [keruta_agent.runner.RunnerConfig(), keruta_agent.runner.RetryConfig]",
        ),
        (
            "from necrocode import agent_runner\nagent_runner.RunnerOrchestrator()\n",
            "from keruta_agent import runner as agent_runner\nagent_runner.RunnerOrchestrator()\n",
        ),
    ],
)
def test_imports_are_rewritten_and_nothing_else(tmp_path: Path, old: str, new: str) -> None:
    written, findings = _rewritten(tmp_path, old)

    assert written.decode() == new
    assert findings
    assert not any(finding.needs_person for finding in findings)
    assert (tmp_path / f"a.py{code.BACKUP}").read_bytes() == old.encode()
    # A second time there is nothing to do.
    assert list(code.find(tmp_path, rewrites=True)) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", f"a.py{code.BACKUP}"]


@pytest.mark.parametrize(
    "encoded",
    [
        f"# coding: shift_jis\nx = '表'; from {OLD} import TaskContext\n".encode("shift_jis"),
        f"\ufeffx = '表'; from {OLD} import TaskContext\n".encode(),
    ],
)
def test_bytes_around_an_import_stay_in_their_encoding(tmp_path: Path, encoded: bytes) -> None:
    (tmp_path / "a.py").touch(mode=0o755)

    written, _ = _rewritten(tmp_path, encoded)

    assert written == encoded.replace(OLD.encode(), b"keruta_agent.runner")
    assert (tmp_path / "a.py").stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    "text",
    [
        f"from {OLD} import TaskContext, KiroClient\n",
        f"from {OLD} import *\n",
        f"from {OLD} import something_of_its_own\n",
        f"import {OLD}.docker as d\nd.DockerRunner()\n",
        f"import {OLD}\nimport necrocode.repo_pool\nnecrocode.repo_pool.Pool()\n",
        f"import {OLD} as ar\nprint(ar)\n",
        f"import importlib\nimportlib.import_module('{OLD}.models')\n",
        "from necrocode import agent_runner, repo_pool\n",
        f"from {OLD} . models import TaskContext\n",
        f"from {OLD} import TaskContext\ndef (:\n",
        b"# coding: ascii\n# \xe3\x81\x82\nfrom necrocode.agent_runner import TaskContext\n",
    ],
)
def test_what_a_person_has_to_decide_is_left_and_named(tmp_path: Path, text: str | bytes) -> None:
    written, findings = _rewritten(tmp_path, text)

    assert written == (text.encode() if isinstance(text, str) else text)
    assert any(finding.needs_person for finding in findings)
    assert [path.name for path in tmp_path.iterdir()] == ["a.py"]


@pytest.mark.parametrize(
    "text", ["from necrocode.agent_runner_plus import X\n", "from .a import b"]
)
def test_other_packages_are_none_of_it(tmp_path: Path, text: str) -> None:
    assert _rewritten(tmp_path, text) == (text.encode(), [])


def test_link_is_named_and_a_backup_of_before_is_kept(tmp_path: Path) -> None:
    text = f"from {OLD} import TaskContext\n"
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere.py"
    project.mkdir()
    elsewhere.write_text(text)
    (project / "link.py").symlink_to(elsewhere)
    (project / "a.py").write_text(text)
    (project / f"a.py{code.BACKUP}").write_text("of before")

    findings = list(code.find(project, rewrites=True))

    assert elsewhere.read_text() == text
    refused = next(finding for finding in findings if "it is a link" in finding.advice)
    assert refused.needs_person
    assert (project / f"a.py{code.BACKUP}").read_text() == "of before"
    assert (project / f"a.py{code.BACKUP}-2").read_text() == text


def _all_advice(tmp_path: Path) -> list[str]:
    (tmp_path / "a.py").write_text(
        f"import {OLD}\nimport {OLD}.models\nimport {OLD}.models as m\nfrom necrocode import "
        f"agent_runner\nfrom {OLD}.models import TaskContext, Unknown\nfrom {OLD} import *\n"
        f"x = '{OLD}.models'\nimport a2a_protocol, kiro_client, message_bus\n"
        "a.receive_task()\na.send_result()\na.notify_artifact_created()\nkiro.generate_code()\n"
    )
    tables = (names.NAMES, retired.ARGUMENTS, retired.VARIABLES, retired.ATTRIBUTES)
    told = [finding.advice for finding in code.find(tmp_path)]
    return [*told, *(text for table in tables for text in table.values())]


def test_advice_names_only_what_there_is(tmp_path: Path) -> None:
    advice = _all_advice(tmp_path)

    modules = {name for text in advice for name in re.findall(r"keruta_agent[\w.]*\w", text)}
    assert modules
    for module in modules:
        importlib.import_module(module)
    statements = [text.partition("Write: ")[2] for text in advice if text.startswith("Write: ")]
    assert len(statements) >= 5
    for statement in statements:
        exec(compile(ast.parse(statement.partition(";")[0]), "advice", "exec"), {})
    # Names of classes, alone or with one of their attributes.
    classes = {
        name for text in advice for name in re.findall(r"\b(?:[A-Z][a-z]+){2,}(?:\.[a-z_]+)?", text)
    }
    assert "TaskRegistryClient.add_event" in classes
    for name in classes:
        owner, _, attribute = name.partition(".")
        if owner in runner.__all__:
            assert not attribute or hasattr(getattr(runner, owner), attribute), name
        else:
            assert owner in ("CPUQuota",), name
