"""Whether a runner could do a task now: services, keys, model, git."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from keruta_agent.core import errors
from keruta_agent.runner.config import RunnerConfig
from keruta_agent.runner.credentials import CredentialManager
from keruta_agent.runner.services import connect as services


class Finding(NamedTuple):
    """One thing that a runner needs."""

    name: str
    is_well: bool
    text: str


def look(config: RunnerConfig) -> list[Finding]:
    """Return what is there and what is missing."""
    return [*_services(config), *_keys(config), _git()]


def _services(config: RunnerConfig) -> Iterator[Finding]:
    clients = (
        ("Task Registry", "task_registry_url", services.task_registry(config)),
        ("Repo Pool Manager", "repo_pool_url", services.repo_pool(config)),
        (
            "Artifact Store",
            "artifact_store_url",
            services.artifact_store(config, CredentialManager()),
        ),
    )
    for name, setting, client in clients:
        if client is None:
            yield Finding(name, True, f"not used: {setting} is not set")
            continue
        with client:
            is_well = client.health_check()
        answer = "answers" if is_well else "does not answer: start it, or correct"
        yield Finding(
            name, is_well, f"{client.base_url} {answer}{'' if is_well else f' {setting}'}"
        )


def _keys(config: RunnerConfig) -> Iterator[Finding]:
    try:
        model = config.model(os.environ)
    except errors.AuthenticationError as exc:
        yield Finding("Language model", False, str(exc))
    else:
        from keruta_agent.runner.model.client import LLMClient

        try:
            LLMClient(model, key_variable=config.llm_api_key_env_var).check_access()
        except errors.KerutaError as exc:
            yield Finding("Language model", False, str(exc))
        else:
            where = model.endpoint or "OpenAI"
            yield Finding("Language model", True, f"{where} accepts the key, for {model.model}")
    name = config.git_token_env_var
    has_token = bool(os.environ.get(name, "").strip())
    yield Finding("Git token", True, f"in {name}" if has_token else f"{name} is not set")


def _git() -> Finding:
    path = shutil.which("git")
    return Finding("git", path is not None, path or "is not installed")
