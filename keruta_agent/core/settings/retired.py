"""Keys and variables of the old runner, and what takes their place.

A user of them gets the name of the replacement at once, instead of a TypeError.
"""

from __future__ import annotations

from typing import Final

_SERVICES = "Set task_registry_url, repo_pool_url and artifact_store_url instead"
_LLM = "Set llm.model, llm.endpoint and llm.timeout_seconds instead; the key is in OPENAI_API_KEY"
_LOGGING = "It is logging.{} now"
_CONTAINER = "Start `python -m keruta_agent.runner` inside the container, with TASK_CONTEXT"

#: By key of the old config file, or argument of the old RunnerConfig.
KEYS: Final = {
    "message_bus_url": _SERVICES,
    "message_bus_config": _SERVICES,
    "registry_storage": _SERVICES,
    "task_registry_path": "Set task_registry_url instead: the registry is a service now",
    "capabilities": "Remove it: a Dispatcher chooses the runner by the task's required_skill",
    "kiro_url": _LLM,
    "kiro_api_url": _LLM,
    "kiro_api_key_env_var": "Set llm_api_key_env_var instead",
    "structured_logging": _LOGGING.format("format, with the value json or text"),
    "log_file": _LOGGING.format("file"),
    "mask_secrets": "Remove it: secrets are always masked",
    "max_cpu_percent": "Remove it: limit the processor with a cgroup, such as CPUQuota of systemd",
    "max_parallel_runners": "Remove it: the size of the pool of the Repo Pool Manager is the limit",
    "persist_state": "Remove it: a runner keeps no state of its own, the Task Registry does",
    "state_file_path": "Remove it: a runner keeps no state of its own, the Task Registry does",
    "enable_health_check": "Remove it: `keruta runner serve` answers GET /health",
    "health_check_port": "Remove it: `keruta runner serve --port` answers GET /health",
    "health_check": "Remove it: `keruta runner serve` answers GET /health",
    "metrics_enabled": "Remove it: the daemon answers GET /metrics",
    "metrics_port": "Remove it: the daemon answers GET /metrics",
    **dict.fromkeys(
        (
            *("docker_image", "docker_network", "docker_volumes", "docker_env"),
            *("k8s_namespace", "k8s_service_account", "k8s_image", "k8s_image_pull_secrets"),
            *("k8s_secrets", "k8s_resource_requests", "k8s_resource_limits"),
        ),
        _CONTAINER,
    ),
}

#: By argument of the old RunnerConfig that a file still has under another key.
ARGUMENTS: Final = {**KEYS, "log_level": _LOGGING.format("level")}

#: By variable.
VARIABLES: Final = {
    "MESSAGE_BUS_URL": "Set TASK_REGISTRY_URL, REPO_POOL_URL and ARTIFACT_STORE_URL instead",
    "KIRO_URL": "Set OPENAI_API_KEY instead, and OPENAI_BASE_URL for a server of your own",
    "KIRO_API_URL": "Set OPENAI_API_KEY instead, and OPENAI_BASE_URL for a server of your own",
    "KIRO_API_KEY": "Set OPENAI_API_KEY instead",
}

#: By attribute of the old RunnerOrchestrator.
ATTRIBUTES: Final = {
    "workspace_manager": "Use WorkspaceManager: each run has its own",
    "load_state": "Remove it: a runner keeps no state of its own, ask TaskRegistryClient.get_task",
    "save_state": "Remove it: a runner keeps no state of its own, the Task Registry does",
    "test_runner": "Use TestRunner: each run has its own",
    "playbook_engine": "Use PlaybookEngine: each run has its own",
    "artifact_uploader": "Use ArtifactUploader: each run has its own",
}
