"""Uses of the old runner in code, and what replaces them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent import runner
from keruta_agent.core import file_trees
from keruta_agent.core.settings import retired
from keruta_agent.runner.migration.finding import Finding

OLD_PACKAGE: Final = "necrocode.agent_runner"
NEW_PACKAGE: Final = "keruta_agent.runner"
_MORE_PACKAGES: Final = {
    "a2a_protocol": "Remove it: TaskRegistryClient and RepoPoolClient take its place",
    "kiro_client": "Remove it: LLMClient takes its place",
    "message_bus": "Use TaskRegistryClient.add_event and update_task_status",
}
_SETTINGS_DO: Final = "Remove it: settings, logging and metrics of keruta do that"
#: Names of the old package that are gone.
NAMES: Final = {
    "RunnerStateSnapshot": "Remove it: a runner keeps no state of its own, the Task Registry does",
    "create_secure_environment": "Remove it: CommandExecutor hides the keys from what it starts",
    "MessageBus": "Use TaskRegistryClient.add_event and update_task_status",
    "AgentRegistry": "Use TaskRegistryClient and RepoPoolClient",
    "A2AClient": "Use RunnerOrchestrator.run: the Dispatcher hands over the TaskContext",
    "A2AProtocol": "Use TaskRegistryClient and RepoPoolClient",
    "KiroClient": "Use LLMClient.generate_code",
    "KiroAgent": "Use TaskExecutor",
    "StorageBackend": "Use ArtifactStoreClient",
    "FilesystemBackend": "Use ArtifactStoreClient",
    "AgentTestRunner": "Use TestRunner",
    "HealthCheckServer": "Remove it: `keruta runner serve` answers GET /health",
    "LocalProcessRunner": "Use RunnerOrchestrator",
    "DockerRunner": "Start `python -m keruta_agent.runner` inside the container",
    "KubernetesRunner": "Start `python -m keruta_agent.runner` inside the container",
    "create_runner": "Use RunnerOrchestrator",
    "ParallelCoordinator": "Remove it: the Repo Pool Manager's slots are the limit",
    "ParallelExecutionContext": "Remove it: the Repo Pool Manager's slots are the limit",
    "setup_logging": _SETTINGS_DO,
    "get_runner_logger": _SETTINGS_DO,
    "MetricsCollector": _SETTINGS_DO,
    "MetricsReporter": _SETTINGS_DO,
    "TimeoutManager": "Remove it: timeout_seconds of the TaskContext really interrupts",
    "ResourceMonitor": "Remove it: set max_memory_mb",
    "ExecutionMonitor": "Remove it: timeout_seconds and max_memory_mb are enforced",
}
#: Methods that only the old clients had.
_CALLS: Final = {
    "receive_task": "Make a TaskContext and give it to RunnerOrchestrator.run",
    "send_result": "Remove it: RunnerOrchestrator.run tells the Task Registry",
    "notify_artifact_created": "Use ArtifactStoreClient.upload and TaskRegistryClient.add_artifact",
}
_GENERATES: Final = frozenset({"generate_code", "implement"})
_LARGEST: Final = 4 * 1024 * 1024
_SKIPPED: Final = frozenset({"node_modules", "__pycache__", "venv"})


def find(directory: Path) -> Iterator[Finding]:
    """Yield the old imports, names and calls in the Python files below a directory."""
    for folder, inner, names in file_trees.walk(directory):
        inner[:] = sorted(
            name for name in inner if name not in _SKIPPED and not name.startswith(".")
        )
        for name in sorted(names):
            if name.endswith(".py"):
                yield from _in_file(Path(folder) / name)


def _in_file(path: Path) -> Iterator[Finding]:
    try:
        if path.stat().st_size > _LARGEST:
            return
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (OSError, SyntaxError, ValueError, RecursionError) as exc:
        advice = f"It cannot be read as Python: {type(exc).__name__}; look at it yourself"
        yield Finding(str(path), path.name, advice, needs_person=True)
        return
    found = [item for node in ast.walk(tree) for item in _in_node(node)]
    for line, old, advice in sorted(found):
        yield Finding(f"{path}:{line}", old, advice, needs_person=True)


def _in_node(node: ast.AST) -> Iterator[tuple[int, str, str]]:
    if isinstance(node, ast.ImportFrom):
        yield from _import_from(node)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if alias.name.startswith(OLD_PACKAGE):
                new = alias.name.replace(OLD_PACKAGE, NEW_PACKAGE, 1)
                yield node.lineno, f"import {alias.name}", f"Write: import {new}"
            elif alias.name.partition(".")[0] in _MORE_PACKAGES:
                advice = _MORE_PACKAGES[alias.name.partition(".")[0]]
                yield node.lineno, f"import {alias.name}", advice
    elif isinstance(node, ast.Call):
        yield from _call(node)


def _import_from(node: ast.ImportFrom) -> Iterator[tuple[int, str, str]]:
    module = node.module or ""
    if module.partition(".")[0] in _MORE_PACKAGES:
        yield node.lineno, f"from {module} import", _MORE_PACKAGES[module.partition(".")[0]]
    if not module.startswith(OLD_PACKAGE):
        return
    kept = [alias.name for alias in node.names if alias.name in runner.__all__]
    if kept:
        names = ", ".join(kept)
        yield (
            node.lineno,
            f"from {module} import {names}",
            f"Write: from {NEW_PACKAGE} import {names}",
        )
    for alias in node.names:
        if alias.name not in runner.__all__:
            yield node.lineno, alias.name, NAMES.get(alias.name, _SETTINGS_DO)


def _call(node: ast.Call) -> Iterator[tuple[int, str, str]]:
    name = _name_of(node.func)
    last = name.rpartition(".")[2]
    if last == "RunnerConfig":
        for keyword in node.keywords:
            if keyword.arg in retired.ARGUMENTS:
                advice = retired.ARGUMENTS[keyword.arg]
                yield node.lineno, f"RunnerConfig({keyword.arg}=...)", advice
    elif last in _CALLS and "." in name:
        yield node.lineno, f"{name}()", _CALLS[last]
    elif last in _GENERATES and "kiro" in name.lower():
        yield node.lineno, f"{name}()", "Use LLMClient.generate_code(prompt, workspace_path)"


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_name_of(node.value)}.{node.attr}"
    return ""
