"""The runner's configuration: by hand, from the guide's file and variables, and from old ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keruta_agent import runner
from keruta_agent.core import errors
from keruta_agent.core.settings import retired
from keruta_agent.runner import ExecutionMode, LLMConfig, RetryConfig, RunnerConfig

GUIDE = """\
execution_mode: local-process

# 外部サービスのURL
task_registry_url: http://localhost:8001
repo_pool_url: http://localhost:8002
artifact_store_url: http://localhost:8003

# LLM設定
llm:
  model: gpt-4
  timeout_seconds: 120
llm_api_key_env_var: OPENAI_API_KEY
network_retry_count: 7
"""


def test_file_of_the_guide_is_read(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(GUIDE, encoding="utf-8")
    config = RunnerConfig.from_file(file, {"HOME": str(tmp_path)})
    assert config.execution_mode is ExecutionMode.LOCAL_PROCESS
    assert config.task_registry_url == "http://localhost:8001"
    assert config.repo_pool_url == "http://localhost:8002"
    assert config.artifact_store_url == "http://localhost:8003"
    assert config.llm_model == "gpt-4"
    assert config.llm_timeout_seconds == 120
    assert config.network_retry_config.max_retries == 7


def test_variables_of_the_guide_are_read(tmp_path):
    environment = {
        "HOME": str(tmp_path),
        "TASK_REGISTRY_URL": "http://registry:8001",
        "REPO_POOL_URL": "http://pool:8002/",
        "ARTIFACT_STORE_URL": "https://store",
        "OPENAI_API_KEY": "sk-from-the-environment",
    }
    config = RunnerConfig.from_file(None, environment)
    assert config.task_registry_url == "http://registry:8001"
    assert config.repo_pool_url == "http://pool:8002"
    assert config.artifact_store_url == "https://store"
    assert config.model(environment).api_key == "sk-from-the-environment"


def test_model_may_be_given_whole_or_in_parts():
    whole = LLMConfig(api_key="k", model="m", timeout_seconds=5)
    assert RunnerConfig(llm_config=whole).model({}) == whole
    parts = RunnerConfig(llm_api_key="k", llm_model="m", llm_timeout_seconds=5)
    assert parts.model({}) == whole
    another = RunnerConfig(llm_config=LLMConfig(model="m"), llm_api_key_env_var="MY_KEY")
    assert another.model({"MY_KEY": " k \n"}).api_key == "k"


def test_missing_key_is_said_with_the_variable_to_set():
    with pytest.raises(errors.AuthenticationError, match="Set MY_KEY"):
        RunnerConfig(llm_api_key_env_var="MY_KEY").model({})


@pytest.mark.parametrize("name", sorted(retired.ARGUMENTS))
def test_argument_of_the_old_runner_is_refused_with_its_replacement(name):
    with pytest.raises(errors.SettingsError) as refused:
        RunnerConfig(**{name: "http://localhost:5000"})
    assert name in str(refused.value)
    assert refused.value.advice == retired.ARGUMENTS[name]


@pytest.mark.parametrize("name", sorted(retired.VARIABLES))
def test_variable_of_the_old_runner_is_refused_with_its_replacement(name, tmp_path):
    with pytest.raises(errors.SettingsError, match=name) as refused:
        RunnerConfig.from_file(None, {"HOME": str(tmp_path), name: "http://localhost:6000"})
    assert "OPENAI_API_KEY" in str(refused.value) or "TASK_REGISTRY_URL" in str(refused.value)


def test_unknown_argument_is_refused():
    with pytest.raises(TypeError, match="surprise"):
        RunnerConfig(surprise=1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"execution_mode": "docker"}, "TASK_CONTEXT"),
        ({"execution_mode": "moon"}, "local-process"),
        ({"default_timeout_seconds": 0}, "positive"),
        ({"max_memory_mb": -1}, "positive"),
        ({"max_rounds": 0}, "positive"),
        ({"max_cost": 5}, "no price"),
    ],
)
def test_value_that_cannot_be_meant_is_refused(arguments, words):
    with pytest.raises(errors.SettingsError, match=words):
        RunnerConfig(**arguments)


def test_mode_may_be_text():
    assert RunnerConfig(execution_mode="local-process").execution_mode is (
        ExecutionMode.LOCAL_PROCESS
    )


def test_keys_are_neither_in_the_repr_nor_in_the_dict():
    config = RunnerConfig(llm_api_key="sk-one", llm_config=LLMConfig(api_key="sk-two"))
    text = repr(config) + json.dumps(config.to_dict())
    assert "sk-one" not in text
    assert "sk-two" not in text


def test_delay_doubles_up_to_its_limit():
    retry = RetryConfig(initial_delay_seconds=1, max_delay_seconds=5)
    assert [retry.get_delay(attempt) for attempt in (0, 1, 2, 3, 10_000)] == [1, 2, 4, 5, 5]


def test_every_public_name_can_be_imported():
    for name in runner.__all__:
        assert getattr(runner, name).__name__ == name
    with pytest.raises(AttributeError, match="NothingSuch"):
        _ = runner.NothingSuch
    assert Path(runner.__file__).name == "__init__.py"


def test_configuration_comes_back_from_its_values_without_what_was_masked():
    config = RunnerConfig(
        llm_api_key="sk-live-4f9aD03kq8ZbT71x",
        network_retry_config=RetryConfig(max_retries=7),
        llm_config=LLMConfig(api_key="sk-live-4f9aD03kq8ZbT71x", model="m"),
        evidence_dir=Path("/evidence"),
    )
    again = RunnerConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again.llm_api_key is None and again.llm_config == LLMConfig(model="m")
    assert (again.network_retry_config.max_retries, again.evidence_dir) == (7, Path("/evidence"))
    with pytest.raises(errors.SettingsError, match=r"'log_level'.*logging\.level"):
        RunnerConfig.from_dict({"log_level": "DEBUG"})
    with pytest.raises(errors.SettingsError, match="has no 'llm_modell'"):
        RunnerConfig.from_dict({"llm_modell": "m"})


def test_names_of_the_old_runner_are_answered_with_those_of_today():
    with pytest.raises(ImportError, match="TaskExecutor"):
        from keruta_agent.runner import KiroAgent  # noqa: F401
    with pytest.raises(ImportError, match="CommandExecutor"):
        _ = runner.create_secure_environment
    with pytest.raises(AttributeError, match="Use WorkspaceManager"):
        _ = runner.RunnerOrchestrator(RunnerConfig()).workspace_manager
    with pytest.raises(AttributeError, match="TaskRegistryClient"):
        runner.RunnerOrchestrator(RunnerConfig()).load_state("state.json")
    assert not hasattr(runner, "nothing_of_this_name")


@pytest.mark.parametrize(
    ("client", "says"),
    [
        (runner.ArtifactStoreClient, "localhost:8003"),
        (runner.RepoPoolClient, "localhost:8002"),
        (runner.TaskRegistryClient, "localhost:8001"),
    ],
)
def test_address_that_is_none_is_answered_with_one_of_that_service(client, says):
    with pytest.raises(errors.SettingsError) as refused:
        client("file:///var/artifacts")
    assert says in refused.value.advice and "keruta server" in refused.value.advice


def test_directory_as_the_artifact_store_in_a_file_is_answered_with_its_address(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("artifact_store_url: file:///var/artifacts\n", encoding="utf-8")
    with pytest.raises(errors.SettingsError, match="http://localhost:8003"):
        RunnerConfig.from_file(file, {"HOME": str(tmp_path)})
