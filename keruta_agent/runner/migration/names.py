"""Names of the old runner's package that are gone, and what takes their place."""

from __future__ import annotations

from typing import Final

_SETTINGS_DO: Final = "Remove it: settings, logging and metrics of keruta do that"
_UNKNOWN: Final = (
    "It is not known: import what you need from keruta_agent.runner, whose __all__ lists its names"
)
#: By name.
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


def advice(name: str) -> str:
    """Return what takes the place of a name that is not here any more."""
    return NAMES.get(name, _UNKNOWN)
