"""The Agent Runner's settings. Their keys and variables are those of its migration guide."""

# ruff: noqa: RUF009 - setting returns a dataclass field, as dataclasses.field does

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from keruta_agent.core.settings.declaration import DAY_S, setting
from keruta_agent.core.settings.fields import (
    Choice,
    HttpUrl,
    Location,
    Names,
    Table,
    Text,
    Whole,
    YesNo,
)
from keruta_agent.core.units import Duration

MILLION = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunnerSettings:
    """The values in force for coding tasks."""

    execution_mode: str = setting(
        Choice("local-process"),
        key="execution_mode",
        environment=("KERUTA_RUNNER_EXECUTION_MODE",),
        default="local-process",
        help="Where coding tasks run: local-process. For a container, start the runner inside it.",
    )
    task_registry_url: str | None = setting(
        HttpUrl(example="http://localhost:8001"),
        key="task_registry_url",
        environment=("TASK_REGISTRY_URL",),
        help="Address of the Task Registry, which records how a coding task goes.",
    )
    repo_pool_url: str | None = setting(
        HttpUrl(example="http://localhost:8002"),
        key="repo_pool_url",
        environment=("REPO_POOL_URL",),
        help="Address of the Repo Pool Manager, which lends workspaces.",
    )
    artifact_store_url: str | None = setting(
        HttpUrl(example="http://localhost:8003"),
        key="artifact_store_url",
        environment=("ARTIFACT_STORE_URL",),
        help="Address of the Artifact Store, which keeps diffs, logs and test results.",
    )
    llm_model: str = setting(
        Text(),
        key="llm.model",
        environment=("KERUTA_LLM_MODEL",),
        default="gpt-4",
        help="Model that writes the changes.",
    )
    llm_endpoint: str | None = setting(
        HttpUrl(example="http://localhost:11434/v1"),
        key="llm.endpoint",
        environment=("OPENAI_BASE_URL",),
        help="Address of an OpenAI-compatible server; OpenAI's own when left out.",
    )
    llm_timeout_s: float = setting(
        Duration(minimum_s=0.1, maximum_s=DAY_S),
        key="llm.timeout_seconds",
        environment=("KERUTA_LLM_TIMEOUT",),
        default="120s",
        help="How long the model may take for an answer.",
    )
    llm_max_tokens: int = setting(
        Whole(minimum=1, maximum=MILLION),
        key="llm.max_tokens",
        environment=("KERUTA_LLM_MAX_TOKENS",),
        default=4000,
        help="Tokens that an answer may have, unless the task says otherwise.",
    )
    llm_prompt_tokens: int = setting(
        Whole(minimum=500, maximum=10 * MILLION),
        key="llm.prompt_tokens",
        environment=("KERUTA_LLM_PROMPT_TOKENS",),
        default=60_000,
        help="Tokens that a prompt may have; files are left out of it until it fits.",
    )
    llm_headers: dict[str, str] | None = setting(
        Table(masked=True),
        key="llm.headers",
        environment=("KERUTA_LLM_HEADERS",),
        secret=True,
        help="Headers that the model's server wants beside the key, by name; as JSON in the "
        "variable.",
    )
    llm_query: dict[str, str] | None = setting(
        Table(masked=True),
        key="llm.query",
        environment=("KERUTA_LLM_QUERY",),
        secret=True,
        help="What is added to the address of each request, by name.",
    )
    llm_extra_body: dict[str, Any] | None = setting(
        Table(any_value=True),
        key="llm.extra_body",
        environment=("KERUTA_LLM_EXTRA_BODY",),
        help="What is added to each request, such as {reasoning_effort: low}.",
    )
    llm_api_version: str | None = setting(
        Text(),
        key="llm.api_version",
        environment=("KERUTA_LLM_API_VERSION",),
        help="Version of Azure's API; with it the key goes into the header api-key.",
    )
    llm_ca_file: Path | None = setting(
        Location(),
        key="llm.ca_file",
        environment=("KERUTA_LLM_CA_FILE",),
        help="Certificate authorities (PEM) that the model's server is checked with, in place of "
        "those of the system and of SSL_CERT_FILE.",
    )
    llm_proxy: str | None = setting(
        HttpUrl(example="http://proxy:3128"),
        key="llm.proxy",
        environment=("KERUTA_LLM_PROXY",),
        help="Proxy to the model's server, in place of that of HTTPS_PROXY.",
    )
    llm_tool_calls: bool = setting(
        YesNo(),
        key="llm.tool_calls",
        environment=("KERUTA_LLM_TOOL_CALLS",),
        default=False,
        help="Whether the model may ask to see more by calling functions, too; for servers that "
        "take tools beside a form for answers.",
    )
    llm_input_price: int = setting(
        Whole(minimum=0, maximum=MILLION * 1000),
        key="llm.input_price",
        environment=("KERUTA_LLM_INPUT_PRICE",),
        default=0,
        help="Price of a million prompt tokens in thousandths of your currency; 0: not counted.",
    )
    llm_output_price: int = setting(
        Whole(minimum=0, maximum=MILLION * 1000),
        key="llm.output_price",
        environment=("KERUTA_LLM_OUTPUT_PRICE",),
        default=0,
        help="Price of a million answered tokens in thousandths of your currency.",
    )
    llm_api_key_env_var: str = setting(
        Text(),
        key="llm_api_key_env_var",
        environment=("KERUTA_LLM_API_KEY_ENV_VAR",),
        default="OPENAI_API_KEY",
        help="Variable that holds the key for the model.",
    )
    git_token_env_var: str = setting(
        Text(),
        key="git_token_env_var",
        environment=("KERUTA_GIT_TOKEN_ENV_VAR",),
        default="GIT_TOKEN",
        help="Variable that holds the token for git servers.",
    )
    artifact_store_api_key_env_var: str = setting(
        Text(),
        key="artifact_store_api_key_env_var",
        environment=("KERUTA_ARTIFACT_STORE_API_KEY_ENV_VAR",),
        default="ARTIFACT_STORE_API_KEY",
        help="Variable that holds the key for the Artifact Store.",
    )
    git_retry_count: int = setting(
        Whole(minimum=0, maximum=100),
        key="git_retry_count",
        environment=("KERUTA_RUNNER_GIT_RETRY_COUNT",),
        default=3,
        help="How often a push or fetch of a coding task is tried again.",
    )
    network_retry_count: int = setting(
        Whole(minimum=0, maximum=100),
        key="network_retry_count",
        environment=("KERUTA_RUNNER_NETWORK_RETRY_COUNT",),
        default=3,
        help="How often a request to one of the runner's services is tried again.",
    )
    llm_retry_count: int = setting(
        Whole(minimum=0, maximum=100),
        key="llm_retry_count",
        environment=("KERUTA_RUNNER_LLM_RETRY_COUNT",),
        default=3,
        help="How often the model is asked again after an error of its server.",
    )
    default_timeout_s: float = setting(
        Duration(minimum_s=1, maximum_s=7 * DAY_S),
        key="default_timeout_seconds",
        environment=("KERUTA_RUNNER_TIMEOUT",),
        default="1800s",
        help="Time that a coding task may take, unless it says otherwise.",
    )
    default_playbook_path: Path | None = setting(
        Location(),
        key="default_playbook_path",
        environment=("KERUTA_RUNNER_PLAYBOOK",),
        help="Playbook that a coding task runs, unless it names another.",
    )
    max_memory_mb: int | None = setting(
        Whole(minimum=1, maximum=10 * MILLION),
        key="max_memory_mb",
        environment=("KERUTA_RUNNER_MAX_MEMORY_MB",),
        help="Memory that the test commands of a coding task may use, in MB.",
    )
    pool_size: int = setting(
        Whole(minimum=1, maximum=1000),
        key="pool_size",
        environment=("KERUTA_POOL_SIZE",),
        default=5,
        help="Slots of one repository that keruta server --runner-services lends.",
    )
    runner_max_rounds: int = setting(
        Whole(minimum=1, maximum=100),
        key="runner.max_rounds",
        environment=("KERUTA_RUNNER_MAX_ROUNDS",),
        default=3,
        help="How often the model may try, with the failing tests' output before it.",
    )
    runner_max_steps: int = setting(
        Whole(minimum=0, maximum=1000),
        key="runner.max_steps",
        environment=("KERUTA_RUNNER_MAX_STEPS",),
        default=10,
        help="How often the model may ask to see more of the repository; 0: never.",
    )
    runner_max_tokens: int = setting(
        Whole(minimum=0, maximum=1000 * MILLION),
        key="runner.max_tokens",
        environment=("KERUTA_RUNNER_MAX_TOKENS",),
        default=500_000,
        help="Tokens that a coding task may use in all; 0: any.",
    )
    runner_max_cost: int = setting(
        Whole(minimum=0, maximum=1000 * MILLION),
        key="runner.max_cost",
        environment=("KERUTA_RUNNER_MAX_COST",),
        default=0,
        help="What a coding task may cost, in thousandths of your currency; 0: any.",
    )
    runner_baseline: bool = setting(
        YesNo(),
        key="runner.baseline",
        environment=("KERUTA_RUNNER_BASELINE",),
        default=True,
        help="Whether the tests of a coding task also run before the first change.",
    )
    runner_test_timeout_s: float = setting(
        Duration(minimum_s=0, maximum_s=7 * DAY_S),
        key="runner.test_timeout",
        environment=("KERUTA_RUNNER_TEST_TIMEOUT",),
        default="0s",
        help="Time that one test command may take; 0: a third of the task's.",
    )
    runner_test_files: tuple[str, ...] = setting(
        Names(),
        key="runner.test_files",
        environment=("KERUTA_RUNNER_TEST_FILES",),
        default=(),
        help="Files that belong to the tests and that no model may change, beside those that "
        "frameworks know: paths from the top of the repository, with * for anything.",
    )
    runner_solves_auto_fix: bool = setting(
        YesNo(),
        key="runner.solve_auto_fix",
        environment=("KERUTA_RUNNER_SOLVE_AUTO_FIX",),
        default=False,
        help="Whether auto-fix tasks are solved by the Agent Runner instead of a script.",
    )
