"""The Agent Runner: solves coding tasks with a language model in a lent git workspace.

Its public names are importable from here. They are loaded when they are used: the daemon, which
imports this package too, has no use for a language model.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from keruta_agent.core.coding.model import (
        Artifact,
        ArtifactType,
        CodeChange,
        ImplementationResult,
        LLMConfig,
        LLMResponse,
        Playbook,
        PlaybookStep,
        PushResult,
        RunnerResult,
        RunnerState,
        SingleTestResult,
        SlotAllocation,
        TaskContext,
        TestCounts,
        TestResult,
        Verification,
        Workspace,
    )
    from keruta_agent.core.errors import (
        ArtifactUploadError,
        AuthenticationError,
        BudgetExceededError,
        ConnectionError,
        HangingTestsError,
        ImplementationError,
        PlaybookExecutionError,
        PushError,
        ResourceLimitError,
        RunnerError,
        SecurityError,
        ServiceError,
        SlotAllocationError,
        TaskContextValidationError,
        TestExecutionError,
        TimeoutError,
        WorkspacePreparationError,
    )
    from keruta_agent.runner.artifacts import ArtifactUploader
    from keruta_agent.runner.changes.permission import PermissionValidator
    from keruta_agent.runner.checks.commands import CommandExecutor
    from keruta_agent.runner.checks.playbooks import PlaybookEngine, PlaybookResult, StepResult
    from keruta_agent.runner.checks.testing import TestRunner
    from keruta_agent.runner.config import ExecutionMode, RetryConfig, RunnerConfig
    from keruta_agent.runner.credentials import CredentialManager, SecretMasker
    from keruta_agent.runner.executor import TaskExecutor
    from keruta_agent.runner.model.client import LLMClient
    from keruta_agent.runner.orchestrator import RunnerOrchestrator
    from keruta_agent.runner.services.artifact_store import ArtifactStoreClient
    from keruta_agent.runner.services.repo_pool import RepoPoolClient
    from keruta_agent.runner.services.task_registry import TaskRegistryClient
    from keruta_agent.runner.workspace.workspaces import WorkspaceManager

#: The module of each public name.
_PLACES: Final = {
    **dict.fromkeys(
        (
            *("ArtifactUploadError", "AuthenticationError", "BudgetExceededError"),
            *("ConnectionError", "ImplementationError", "PlaybookExecutionError", "PushError"),
            *("ResourceLimitError", "RunnerError", "SecurityError", "ServiceError"),
            *("SlotAllocationError", "TaskContextValidationError", "TestExecutionError"),
            *("HangingTestsError", "TimeoutError", "WorkspacePreparationError"),
        ),
        "keruta_agent.core.errors",
    ),
    **dict.fromkeys(
        (
            *("Artifact", "ArtifactType", "CodeChange", "ImplementationResult", "LLMConfig"),
            *("LLMResponse", "Playbook", "PlaybookStep", "PushResult", "RunnerResult"),
            *("RunnerState", "SingleTestResult", "SlotAllocation", "TaskContext", "TestResult"),
            *("TestCounts", "Verification", "Workspace"),
        ),
        "keruta_agent.core.coding.model",
    ),
    "LLMClient": "keruta_agent.runner.model.client",
    "ArtifactUploader": "keruta_agent.runner.artifacts",
    "RunnerOrchestrator": "keruta_agent.runner.orchestrator",
    "CommandExecutor": "keruta_agent.runner.checks.commands",
    "CredentialManager": "keruta_agent.runner.credentials",
    "PlaybookEngine": "keruta_agent.runner.checks.playbooks",
    "PlaybookResult": "keruta_agent.runner.checks.playbooks",
    "SecretMasker": "keruta_agent.runner.credentials",
    "StepResult": "keruta_agent.runner.checks.playbooks",
    "TestRunner": "keruta_agent.runner.checks.testing",
    "WorkspaceManager": "keruta_agent.runner.workspace.workspaces",
    "PermissionValidator": "keruta_agent.runner.changes.permission",
    "TaskExecutor": "keruta_agent.runner.executor",
    "ArtifactStoreClient": "keruta_agent.runner.services.artifact_store",
    "RepoPoolClient": "keruta_agent.runner.services.repo_pool",
    "TaskRegistryClient": "keruta_agent.runner.services.task_registry",
    **dict.fromkeys(("ExecutionMode", "RetryConfig", "RunnerConfig"), "keruta_agent.runner.config"),
}

__all__ = [
    "Artifact",
    "ArtifactStoreClient",
    "ArtifactType",
    "ArtifactUploadError",
    "ArtifactUploader",
    "AuthenticationError",
    "BudgetExceededError",
    "CodeChange",
    "CommandExecutor",
    "ConnectionError",
    "CredentialManager",
    "ExecutionMode",
    "HangingTestsError",
    "ImplementationError",
    "ImplementationResult",
    "LLMClient",
    "LLMConfig",
    "LLMResponse",
    "PermissionValidator",
    "Playbook",
    "PlaybookEngine",
    "PlaybookExecutionError",
    "PlaybookResult",
    "PlaybookStep",
    "PushError",
    "PushResult",
    "RepoPoolClient",
    "ResourceLimitError",
    "RetryConfig",
    "RunnerConfig",
    "RunnerError",
    "RunnerOrchestrator",
    "RunnerResult",
    "RunnerState",
    "SecretMasker",
    "SecurityError",
    "ServiceError",
    "SingleTestResult",
    "SlotAllocation",
    "SlotAllocationError",
    "StepResult",
    "TaskContext",
    "TaskContextValidationError",
    "TaskExecutor",
    "TaskRegistryClient",
    "TestCounts",
    "TestExecutionError",
    "TestResult",
    "TestRunner",
    "TimeoutError",
    "Verification",
    "Workspace",
    "WorkspaceManager",
    "WorkspacePreparationError",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        _refuse_retired(name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def _refuse_retired(name: str) -> None:
    """Answer a name of the old runner with that of its replacement."""
    if name.startswith("_"):
        return
    from keruta_agent.runner.migration.names import NAMES

    if name in NAMES:
        # Not an AttributeError: an import would drop its text.
        raise ImportError(f"{name} is a name of the old runner. {NAMES[name]}")
