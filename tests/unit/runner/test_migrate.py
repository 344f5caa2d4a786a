from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.settings import retired
from keruta_agent.runner.config import RunnerConfig
from keruta_agent.runner.migration import migration

OLD = """\
# 設定
execution_mode: local-process  # stays
message_bus_url: http://localhost:5000
kiro_url: http://localhost:6000
"""


def test_configuration_of_the_guide_becomes_the_new_one(tmp_path: Path) -> None:
    old, new = tmp_path / "config.old.yaml", tmp_path / "config.yaml"
    old.write_text(OLD)

    found = migration.migrate(old)
    migration.write(new, found.text)

    assert found.text.startswith("# 設定\nexecution_mode: local-process  # stays\n")
    assert [(item.place, item.old) for item in found.findings] == [
        (f"{old}:3", "message_bus_url"),
        (f"{old}:4", "kiro_url"),
    ]
    config = RunnerConfig.from_file(new, {"HOME": str(tmp_path)})
    assert config.task_registry_url == "http://localhost:8001"
    assert config.repo_pool_url == "http://localhost:8002"
    assert config.artifact_store_url == "http://localhost:8003"
    assert (config.llm_model, config.llm_timeout_seconds) == ("gpt-4", 120)
    with pytest.raises(errors.SettingsError, match="is there already"):
        migration.write(new, "x")


@pytest.mark.parametrize("key", sorted(retired.KEYS))
def test_no_old_key_is_left(tmp_path: Path, key: str) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(f"{key}: true\n")

    found = migration.migrate(old)

    assert [item.old for item in found.findings] == [key]
    new.write_text(found.text)
    if key not in ("log_file", "kiro_api_key_env_var"):  # whose values are text
        RunnerConfig.from_file(new, {"HOME": str(tmp_path)})


def test_key_that_is_not_known_is_left_out_and_named_also_in_a_section(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(
        "surprise: 1\nllm:\n  model: mine\n  api_key: sk-1\n"
        "runner: {execution_mode: docker, max_rounds: 2}\nlogging: text\n"
    )

    found = migration.migrate(old)

    assert [(item.place, item.old, item.needs_person) for item in found.findings] == [
        (f"{old}:1", "surprise", True),
        (f"{old}:4", "llm.api_key", True),
        (f"{old}:5", "runner.execution_mode", True),
        (f"{old}:6", "logging", True),
    ]
    new.write_text(found.text)
    assert RunnerConfig.from_file(new, {"HOME": str(tmp_path)}).llm_model == "mine"


def test_values_are_kept_where_a_key_only_moved(tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(
        "llm_model: my-model\nllm_max_tokens: 8000\nllm_endpoint: http://localhost:11434/v1\n"
        "git_retry_config: {max_retries: 7}\nlog_level: DEBUG\nstructured_logging: false\n"
        "llm_api_key: secret-of-mine\nartifact_store_url: file://~/x\nexecution_mode: docker\n"
    )

    found = migration.migrate(old)

    new.write_text(found.text)
    config = RunnerConfig.from_file(new, {"HOME": str(tmp_path)})
    assert (config.llm_model, config.llm_max_tokens) == ("my-model", 8000)
    assert config.llm_endpoint == "http://localhost:11434/v1"
    assert config.git_retry_config.max_retries == 7
    assert "secret-of-mine" not in f"{found}"
    needed = {item.old for item in found.findings if item.needs_person}
    assert needed == {
        "llm_api_key",
        "artifact_store_url: file://~/x",
        "execution_mode: docker",
    }


def test_old_variables_and_code_are_found_by_their_lines(tmp_path: Path) -> None:
    old, variables, code = tmp_path / "old.yaml", tmp_path / ".env", tmp_path / "src"
    old.write_text("")
    variables.write_text("# x\nexport MESSAGE_BUS_URL=m\nKIRO_URL=hidden-value\nGIT_TOKEN=t\n")
    code.mkdir()
    (code / "a.py").write_text(
        "from necrocode.agent_runner import RunnerOrchestrator, KiroClient\n"
        "config = RunnerConfig(kiro_url='x')\n"
        "task = a2a_client.receive_task()\n"
        "code = kiro_client.generate_code(task.description)\n"
        "message_bus.send_result(task.id, code)\n"
        "message_bus.notify_artifact_created(task_id, '/tmp/x')\n"
        "import a2a_protocol\n"
        "llm_client.generate_code('fine')\n"
    )
    (code / "broken.py").write_text("def (:\n")
    (code / ".venv").mkdir()
    (code / ".venv" / "b.py").write_text("import a2a_protocol\n")

    found = migration.migrate(old, env_file=variables, code=code)

    reported = {(Path(item.place).name, item.old): item.advice for item in found.findings}
    assert "hidden-value" not in f"{found}"
    assert set(reported) == {
        (".env:2", "MESSAGE_BUS_URL"),
        (".env:3", "KIRO_URL"),
        ("a.py:1", "KiroClient"),
        ("a.py:1", "from necrocode.agent_runner import RunnerOrchestrator"),
        ("a.py:2", "RunnerConfig(kiro_url=...)"),
        ("a.py:3", "a2a_client.receive_task()"),
        ("a.py:4", "kiro_client.generate_code()"),
        ("a.py:5", "message_bus.send_result()"),
        ("a.py:6", "message_bus.notify_artifact_created()"),
        ("a.py:7", "import a2a_protocol"),
        ("broken.py", "broken.py"),
    }
    assert reported["a.py:1", "KiroClient"] == "Use LLMClient.generate_code"


@pytest.mark.parametrize("text", ["- list\n", "a: [\n", "\udcff"])
def test_file_that_cannot_be_read_is_reported(tmp_path: Path, text: str) -> None:
    old = tmp_path / "old.yaml"
    old.write_bytes(text.encode("utf-8", "surrogateescape"))

    with pytest.raises(errors.SettingsError, match="old configuration"):
        migration.migrate(old)
