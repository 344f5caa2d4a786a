"""What a runner works with: made by hand, or from the settings that all of keruta shares."""

from __future__ import annotations

import dataclasses
import enum
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff
from keruta_agent.core.coding.model import LLMConfig
from keruta_agent.core.coding.record import MASK
from keruta_agent.core.redaction.values import url_passwords
from keruta_agent.core.settings import retired
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.settings.sources import load_settings


class ExecutionMode(enum.StrEnum):
    """Where a coding task runs."""

    LOCAL_PROCESS = "local-process"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


@dataclasses.dataclass(frozen=True)
class RetryConfig:
    """How often something is tried again, and how long to wait in between."""

    max_retries: int = 3
    initial_delay_seconds: float = 1.0
    max_delay_seconds: float = 60.0
    exponential_base: float = 2.0

    def get_delay(self, attempt: int) -> float:
        """Return the seconds to wait after an attempt, counted from 0."""
        delays = Backoff(
            self.initial_delay_seconds, self.max_delay_seconds, self.exponential_base, jitter=0.0
        )
        return delays.delay_s(attempt + 1)


def _refusing_retired(cls: type[RunnerConfig]) -> type[RunnerConfig]:
    """Answer an argument of the old runner with the name of its replacement."""
    create: Callable[..., None] = cls.__init__

    @functools.wraps(create)
    def init(self: RunnerConfig, *arguments: Any, **named: Any) -> None:
        for name in named:
            if name in retired.ARGUMENTS:
                raise errors.SettingsError(
                    f"RunnerConfig has no {name!r}: it is a setting of the old runner",
                    advice=retired.ARGUMENTS[name],
                )
        create(self, *arguments, **named)

    cls.__init__ = init  # type: ignore[method-assign]
    return cls


@_refusing_retired
@dataclasses.dataclass(frozen=True)
class RunnerConfig:
    """Everything that a runner needs to know.

    Raises:
        SettingsError: an argument of the old runner, or a value that cannot be used.
    """

    execution_mode: ExecutionMode = ExecutionMode.LOCAL_PROCESS
    default_timeout_seconds: int = 1800
    git_retry_config: RetryConfig = RetryConfig()
    network_retry_config: RetryConfig = RetryConfig()
    max_memory_mb: int | None = None
    git_token_env_var: str = "GIT_TOKEN"  # noqa: S105 - the name of a variable
    artifact_store_url: str | None = None
    artifact_store_api_key_env_var: str = "ARTIFACT_STORE_API_KEY"
    task_registry_url: str | None = None
    repo_pool_url: str | None = None
    default_playbook_path: Path | None = None
    #: The model; made of the ``llm_`` fields below when left out.
    llm_config: LLMConfig | None = None
    llm_api_key: str | None = dataclasses.field(default=None, repr=False)
    llm_api_key_env_var: str = "OPENAI_API_KEY"
    llm_model: str = "gpt-4"
    llm_endpoint: str | None = None
    llm_timeout_seconds: int = 120
    llm_max_tokens: int = 4000
    #: Tokens that a prompt may have.
    llm_prompt_tokens: int = 60_000
    llm_retry_count: int = 3
    #: Prices of a million tokens, in thousandths of a currency; 0: not counted.
    llm_input_price: int = 0
    llm_output_price: int = 0
    #: How often the model may try, with the failing tests' output before it.
    max_rounds: int = 3
    #: How often the model may ask to see more of the repository; 0: never.
    max_steps: int = 10
    #: Tokens, and thousandths of a currency, that a task may use in all; 0: any.
    max_total_tokens: int = 500_000
    max_cost: int = 0
    #: Globs of files that belong to tests, beside those that frameworks know.
    test_files: tuple[str, ...] = ()
    #: Whether the tests run before the first change, too.
    runs_baseline: bool = True
    #: Seconds that one test command may take; 0: a third of the task's.
    test_timeout_seconds: int = 0
    #: User name that goes with the token for git.
    git_username: str = "x-access-token"
    #: Hosts that the token for git is for; left out, the public server that it is from.
    git_token_hosts: tuple[str, ...] = ()
    #: Directory of mirrors that clones are made from.
    git_mirrors: Path | None = None
    #: Where evidence is kept that no Artifact Store has; below ~/.keruta when left out.
    evidence_dir: Path | None = None
    #: What the model's server wants beside the key; headers, query and proxy may hold secrets.
    llm_headers: dict[str, str] | None = dataclasses.field(default=None, repr=False)
    llm_query: dict[str, str] | None = dataclasses.field(default=None, repr=False)
    llm_extra_body: dict[str, Any] | None = None
    llm_api_version: str | None = None
    llm_ca_file: Path | None = None
    llm_proxy: str | None = dataclasses.field(default=None, repr=False)
    #: Whether the model may ask by calling functions, too.
    llm_tool_calls: bool = False
    #: Whether commits are signed, with the key that git is set up with.
    git_sign: bool = False

    def __post_init__(self) -> None:
        try:
            mode = ExecutionMode(self.execution_mode)
        except ValueError:
            raise errors.SettingsError(
                f"execution_mode {self.execution_mode!r} is not known",
                advice=f"Use {ExecutionMode.LOCAL_PROCESS.value}",
            ) from None
        if mode is not ExecutionMode.LOCAL_PROCESS:
            raise errors.SettingsError(
                f"execution_mode {mode.value!r} is not started from here",
                advice="Start `python -m keruta_agent.runner` inside the container, "
                "with TASK_CONTEXT in its environment",
            )
        object.__setattr__(self, "execution_mode", mode)
        self.validate()

    def validate(self) -> None:
        """Check the numbers.

        Raises:
            SettingsError: one of them cannot be meant.
        """
        for name in ("default_timeout_seconds", "llm_timeout_seconds", "max_rounds"):
            if getattr(self, name) <= 0:
                raise errors.SettingsError(
                    f"{name} is {getattr(self, name)}", advice="It must be positive"
                )
        if self.max_steps < 0:
            raise errors.SettingsError(
                f"max_steps is {self.max_steps}", advice="It must not be negative"
            )
        if self.max_memory_mb is not None and self.max_memory_mb <= 0:
            raise errors.SettingsError(
                f"max_memory_mb is {self.max_memory_mb}", advice="It must be positive"
            )
        if self.max_cost and not (self.llm_input_price or self.llm_output_price):
            raise errors.SettingsError(
                "runner.max_cost is set, and no price: nothing would be counted",
                advice="Set llm.input_price and llm.output_price",
            )

    @property
    def key_variables(self) -> tuple[str, ...]:
        """Variables that hold keys, which no command of a run may see."""
        return (
            self.llm_api_key_env_var,
            self.git_token_env_var,
            self.artifact_store_api_key_env_var,
            *("KERUTA_LLM_HEADERS", "KERUTA_LLM_QUERY", "KERUTA_LLM_PROXY"),
        )

    @property
    def llm_secrets(self) -> list[str]:
        """What goes to the model's server beside the key, and is nobody else's business."""
        tables = (self.llm_headers or {}, self.llm_query or {})
        values = [value for table in tables for value in table.values()]
        return [*values, *url_passwords(self.llm_proxy or "")]

    def to_dict(self) -> dict[str, Any]:
        """Return the values, ready for JSON; the key is masked."""
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, RetryConfig):
                value = dataclasses.asdict(value)
            elif isinstance(value, LLMConfig):
                value = value.to_dict()
            elif isinstance(value, Path):
                value = str(value)
            values[field.name] = value
        for name in ("llm_api_key", "llm_headers", "llm_query", "llm_proxy"):
            if values[name]:
                values[name] = MASK
        return values

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> RunnerConfig:
        """Return the configuration that has these values, such as those of ``to_dict``.

        Raises:
            SettingsError: a name is the old runner's, or unknown, or a value cannot be used.
        """
        # What is masked has left for ever; it comes from its variable again.
        values = {name: value for name, value in data.items() if value != MASK}
        names = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - names - retired.ARGUMENTS.keys())
        if unknown:
            raise errors.SettingsError(
                f"RunnerConfig has no {', '.join(map(repr, unknown))}",
                advice="See RunnerConfig().to_dict() for its names",
            )
        for name in ("git_retry_config", "network_retry_config"):
            if isinstance(given := values.get(name), Mapping):
                values[name] = RetryConfig(**given)
        for name in ("default_playbook_path", "evidence_dir", "llm_ca_file"):
            if isinstance(given := values.get(name), str):
                values[name] = Path(given)
        if isinstance(given := values.get("llm_config"), Mapping):
            kept = {name: value for name, value in given.items() if value != MASK}
            values["llm_config"] = LLMConfig.from_dict(kept)
        if "git_token_hosts" in values:
            values["git_token_hosts"] = tuple(values["git_token_hosts"])
        return cls(**values)

    def model(self, environment: Mapping[str, str] = os.environ) -> LLMConfig:
        """Return the model to ask, with its key from the variable that holds it.

        Raises:
            AuthenticationError: there is no key.
        """
        given = self.llm_config or LLMConfig(
            api_key=self.llm_api_key,
            model=self.llm_model,
            endpoint=self.llm_endpoint,
            timeout_seconds=self.llm_timeout_seconds,
            max_tokens=self.llm_max_tokens,
            headers=self.llm_headers or {},
            query=self.llm_query or {},
            extra_body=self.llm_extra_body or {},
            api_version=self.llm_api_version,
            ca_file=self.llm_ca_file,
            proxy=self.llm_proxy,
            tool_calls=self.llm_tool_calls,
        )
        key = given.api_key or environment.get(self.llm_api_key_env_var, "").strip()
        if not key:
            raise errors.AuthenticationError(
                "there is no key for the language model",
                advice=f"Set {self.llm_api_key_env_var}, or name another variable "
                "in llm_api_key_env_var",
            )
        return dataclasses.replace(given, api_key=key)

    @classmethod
    def from_settings(cls, settings: Settings) -> RunnerConfig:
        """Return what the settings say."""
        return cls(
            execution_mode=ExecutionMode(settings.execution_mode),
            default_timeout_seconds=int(settings.default_timeout_s),
            git_retry_config=RetryConfig(max_retries=settings.git_retry_count),
            network_retry_config=RetryConfig(max_retries=settings.network_retry_count),
            max_memory_mb=settings.max_memory_mb,
            git_token_env_var=settings.git_token_env_var,
            artifact_store_url=settings.artifact_store_url,
            artifact_store_api_key_env_var=settings.artifact_store_api_key_env_var,
            task_registry_url=settings.task_registry_url,
            repo_pool_url=settings.repo_pool_url,
            default_playbook_path=settings.default_playbook_path,
            llm_api_key_env_var=settings.llm_api_key_env_var,
            llm_model=settings.llm_model,
            llm_endpoint=settings.llm_endpoint,
            llm_timeout_seconds=int(settings.llm_timeout_s) or 1,
            llm_max_tokens=settings.llm_max_tokens,
            llm_prompt_tokens=settings.llm_prompt_tokens,
            llm_retry_count=settings.llm_retry_count,
            llm_input_price=settings.llm_input_price,
            llm_output_price=settings.llm_output_price,
            max_rounds=settings.runner_max_rounds,
            max_steps=settings.runner_max_steps,
            max_total_tokens=settings.runner_max_tokens,
            max_cost=settings.runner_max_cost,
            test_files=settings.runner_test_files,
            runs_baseline=settings.runner_baseline,
            test_timeout_seconds=int(settings.runner_test_timeout_s),
            git_username=settings.git_username,
            git_token_hosts=settings.git_token_hosts,
            git_mirrors=settings.git_mirrors,
            git_sign=settings.git_sign,
            evidence_dir=settings.base_dir / "runner" / "evidence",
            llm_headers=settings.llm_headers,
            llm_query=settings.llm_query,
            llm_extra_body=settings.llm_extra_body,
            llm_api_version=settings.llm_api_version,
            llm_ca_file=settings.llm_ca_file,
            llm_proxy=settings.llm_proxy,
            llm_tool_calls=settings.llm_tool_calls,
        )

    @classmethod
    def from_file(
        cls, path: Path | None = None, environment: Mapping[str, str] = os.environ
    ) -> RunnerConfig:
        """Return what a config file and the environment say; see ``etc/config.yaml``.

        Raises:
            SettingsError: the file cannot be used, or the environment is the old runner's.
        """
        refuse_retired_variables(environment)
        return cls.from_settings(load_settings({}, environment, config_path=path).settings)


def refuse_retired_variables(environment: Mapping[str, str]) -> None:
    """Refuse variables of the old runner, and name their replacements.

    Raises:
        SettingsError: one of them is set.
    """
    for name, advice in retired.VARIABLES.items():
        if environment.get(name):
            raise errors.SettingsError(
                f"{name} is set: it is a variable of the old runner", advice=advice
            )
