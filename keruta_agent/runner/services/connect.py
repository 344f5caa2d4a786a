"""The clients of the services whose addresses are configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keruta_agent.runner.config import RunnerConfig
from keruta_agent.runner.credentials import CredentialManager

if TYPE_CHECKING:
    from keruta_agent.runner.services.artifact_store import ArtifactStoreClient
    from keruta_agent.runner.services.repo_pool import RepoPoolClient
    from keruta_agent.runner.services.task_registry import TaskRegistryClient


def task_registry(config: RunnerConfig) -> TaskRegistryClient | None:
    """Return the client of the Task Registry, None without one."""
    if config.task_registry_url is None:
        return None
    from keruta_agent.runner.services.task_registry import TaskRegistryClient

    return TaskRegistryClient(config.task_registry_url, retry_config=config.network_retry_config)


def repo_pool(config: RunnerConfig) -> RepoPoolClient | None:
    """Return the client of the Repo Pool Manager, None without one."""
    if config.repo_pool_url is None:
        return None
    from keruta_agent.runner.services.repo_pool import RepoPoolClient

    return RepoPoolClient(config.repo_pool_url, retry_config=config.network_retry_config)


def artifact_store(
    config: RunnerConfig, credentials: CredentialManager
) -> ArtifactStoreClient | None:
    """Return the client of the Artifact Store, None without one."""
    if config.artifact_store_url is None:
        return None
    from keruta_agent.runner.services.artifact_store import ArtifactStoreClient

    key = credentials.get_api_key("artifact_store", config.artifact_store_api_key_env_var)
    return ArtifactStoreClient(
        config.artifact_store_url, api_key=key, retry_config=config.network_retry_config
    )
