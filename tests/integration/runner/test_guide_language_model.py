"""The migration guide's words about the language model, run as they stand there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.testing.language_model import ScriptedModel, changes, refusing

SNIPPET = """
from necrocode.agent_runner import LLMClient, LLMConfig

config = LLMConfig(
    api_key="your-api-key",
    model="gpt-4",
    timeout_seconds=120
)

client = LLMClient(config)

# コードを生成
response = client.generate_code(
    prompt="Create a User model",
    workspace_path=Path("/workspace"),
    max_tokens=4000
)

# 生成されたコード変更を取得
for change in response.code_changes:
    print(f"{change.operation}: {change.file_path}")
""".replace("necrocode.agent_runner", "keruta_agent.runner")

CONFIGURATION = """
from necrocode.agent_runner import RunnerConfig, LLMConfig

# LLM設定を作成
llm_config = LLMConfig(
    api_key=os.getenv("OPENAI_API_KEY"),
    model="gpt-4",
    timeout_seconds=120
)

# Runner設定を作成
config = RunnerConfig(
    execution_mode="local-process",
    task_registry_url="http://localhost:8001",
    repo_pool_url="http://localhost:8002",
    artifact_store_url="http://localhost:8003",
    llm_config=llm_config
)
""".replace("necrocode.agent_runner", "keruta_agent.runner")


def test_snippet_of_the_client_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = changes({"file_path": "models/user.py", "operation": "create", "content": "x = 1\n"})
    with ScriptedModel([answer]).serving() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.endpoint)
        exec(SNIPPET, {"Path": Path})
    assert capsys.readouterr().out == "create: models/user.py\n"
    assert model.requests[0]["max_tokens"] == 4000


def test_wrong_key_is_the_error_of_the_guide(monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedModel([refusing(401, "no")]).serving() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.endpoint)
        with pytest.raises(errors.AuthenticationError, match=r"^Invalid API key.*OPENAI_API_KEY"):
            exec(SNIPPET, {"Path": Path})


def test_snippet_of_the_configuration_takes_the_key_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-from-the-environment-1")
    names = {"os": os}
    exec(CONFIGURATION, names)
    config = names["config"]
    assert config.model().api_key == "sk-from-the-environment-1"  # type: ignore[attr-defined]
    assert "sk-from" not in repr(config)
