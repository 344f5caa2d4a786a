"""Whether a runner could do a task now: services, keys, model, git."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from keruta_agent.core import errors
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.core.redaction.values import url_passwords
from keruta_agent.runner.config import RunnerConfig
from keruta_agent.runner.credentials import CredentialManager
from keruta_agent.runner.services import connect as services

if TYPE_CHECKING:
    from keruta_agent.runner.model.client import Learned


class Finding(NamedTuple):
    """One thing that a runner needs."""

    name: str
    is_well: bool
    text: str
    #: Whether it was tried: what was not is neither well nor a problem.
    is_seen: bool = True


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
            yield Finding(name, True, f"not used: {setting} is not set", is_seen=False)
            continue
        with client:
            is_well = client.health_check()
        answer = "answers" if is_well else "does not answer: start it, or correct"
        yield Finding(
            name, is_well, f"{client.base_url} {answer}{'' if is_well else f' {setting}'}"
        )


def _keys(config: RunnerConfig) -> Iterator[Finding]:
    yield _model(config)
    name = config.git_token_env_var
    has_token = bool(os.environ.get(name, "").strip())
    text = "is set; no server was asked whether it takes it" if has_token else "is not set"
    yield Finding("Git token", True, f"{name} {text}", is_seen=False)


def _model(config: RunnerConfig) -> Finding:
    """Ask the model for one tiny answer."""
    name = "Language model"
    try:
        model = config.model(os.environ)
        # Loaded when it is used: it takes a third of a second.
        from keruta_agent.runner.model.client import LLMClient

        client = LLMClient(model, retry_count=0, key_variable=config.llm_api_key_env_var)
        try:
            learned = client.probe()
        finally:
            client.close()
    except errors.KerutaError as exc:
        return Finding(name, False, str(exc))
    endpoint = model.endpoint or os.environ.get("OPENAI_BASE_URL") or "OpenAI"
    where = f"{model.model} at {Redactor(url_passwords(endpoint)).redact(endpoint)}"
    if learned.reply.refusal:
        return Finding(name, False, f"{where} refuses: {learned.reply.refusal[:200]}")
    if learned.complaint and not learned.reply.is_cut_off:
        return Finding(
            name,
            False,
            f"{where} answers, and cannot be used: {learned.complaint}; try another llm.model",
        )
    return Finding(name, True, f"{where} answers: {_learned(learned)}")


def _learned(learned: Learned) -> str:
    """Describe a server, by what it has done."""
    reply, dialect = learned.reply, learned.dialect
    forms = {"plain": "no form that it is held to", "json_object": "as JSON", "json_schema": ""}
    facts = [
        f"{learned.seconds:.1f} s",
        f"as {reply.model}" if reply.model else "",
        f"{reply.prompt_tokens} + {reply.completion_tokens} tokens"
        if reply.completion_tokens is not None
        else "it does not count tokens",
        "" if dialect.streams else "without streaming",
        forms[dialect.form] or "takes the schema of answers",
        "" if dialect.limit_name == "max_tokens" else f"takes {dialect.limit_name}",
        "" if dialect.has_temperature else "takes no temperature",
        "" if dialect.has_system else "takes no system message",
        f"answers of {dialect.most_answer} tokens at most" if dialect.most_answer else "",
        f"thinks ({reply.reasoning_tokens} tokens)" if reply.reasoning_tokens else "",
        "its tiny answer was cut off, so its form was not seen" if learned.complaint else "",
    ]
    return ", ".join(filter(None, facts))


def _git() -> Finding:
    path = shutil.which("git")
    return Finding("git", path is not None, path or "is not installed")
