"""The way to the model's server: an authority of one's own, a proxy, an end in time over TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding.model import LLMConfig
from keruta_agent.runner.model import connection
from keruta_agent.runner.model.client import LLMClient
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes
from tests.helpers.coding import RIGHT, runner_with, says, task
from tests.helpers.relays import Proxy, tls_end
from tests.helpers.repositories import Repository
from tests.helpers.tls import Authority

GOOD = changes({"file_path": "a.py", "operation": "create", "content": "x = 1\n"})
PASSWORD = "pass-of-the-proxy-8f31"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def _client(endpoint: str, **more: Any) -> LLMClient:
    options = {name: more.pop(name) for name in ("check", "on_progress") if name in more}
    values = {"timeout_seconds": 20, **more}
    return LLMClient(
        LLMConfig(api_key="sk-test-0123456789", endpoint=endpoint, **values),
        retry_count=0,
        **options,
    )


def _generate(client: LLMClient) -> int:
    try:
        return len(client.generate_code("x", Path("/w")).code_changes)
    finally:
        client.close()


@pytest.fixture
def over_tls(authority: Authority) -> Iterator[tuple[ScriptedModel, str]]:
    with (
        ScriptedModel([GOOD]).serving() as model,
        tls_end(model.endpoint, authority.server_context("localhost")) as endpoint,
    ):
        yield model, endpoint


def test_authority_of_ones_own_is_trusted_by_the_setting_and_not_without(
    over_tls: tuple[ScriptedModel, str], authority: Authority
) -> None:
    model, endpoint = over_tls
    with pytest.raises(errors.ConnectionError, match="certificate"):
        _generate(_client(endpoint))
    assert model.requests == []

    assert _generate(_client(endpoint, ca_file=authority.file)) == 1
    assert model.headers[0]["authorization"] == "Bearer sk-test-0123456789"


def test_file_without_certificates_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("none")
    with pytest.raises(errors.ConnectionError, match=r"empty\.pem"):
        _generate(_client("https://localhost:1/v1", ca_file=empty))


@pytest.mark.parametrize("is_tls", [False, True])
def test_proxy_is_used_also_for_the_loopback(
    over_tls: tuple[ScriptedModel, str], authority: Authority, is_tls: bool
) -> None:
    model, endpoint = over_tls
    proxy = Proxy("me", PASSWORD)
    address = endpoint if is_tls else model.endpoint
    with proxy.serving() as port:
        by = {"proxy": f"http://me:{PASSWORD}@127.0.0.1:{port}"}
        client = _client(address, ca_file=authority.file, **by)
        assert _generate(client) == 1

    assert len(model.requests) == 1
    (asked,) = proxy.asked
    assert asked.startswith("CONNECT localhost:" if is_tls else f"POST {model.endpoint}/")
    assert "proxy-authorization" not in model.headers[0] or not is_tls
    assert PASSWORD not in repr(client.config)


def test_proxy_that_refuses_is_an_error_without_its_password(
    over_tls: tuple[ScriptedModel, str], authority: Authority
) -> None:
    model, endpoint = over_tls
    with Proxy("me", "another").serving() as port:
        by = {"proxy": f"http://me:{PASSWORD}@127.0.0.1:{port}"}
        with pytest.raises(errors.RunnerError, match=r"llm\.proxy.* 407") as caught:
            _generate(_client(endpoint, ca_file=authority.file, **by))
    assert PASSWORD not in str(caught.value)
    assert model.requests == []


@pytest.mark.parametrize("turn", [Turn(delay_s=60), Turn(content=GOOD, part_delay_s=1)])
def test_cancel_closes_the_connection_over_tls(authority: Authority, turn: Turn) -> None:
    with (
        ScriptedModel([turn]).serving() as model,
        tls_end(model.endpoint, authority.server_context("localhost")) as endpoint,
    ):

        def check() -> None:
            if model.requests:
                raise errors.TimeoutError("stopped")

        with pytest.raises(errors.TimeoutError, match="stopped"):
            _generate(_client(endpoint, ca_file=authority.file, check=check))
        assert model.abandoned.wait(20)


def test_progress_of_a_long_answer_is_shown(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "_REPORT_S", 0.2)
    (answer,) = says(RIGHT)
    assert isinstance(answer, str)
    texts: list[str] = []
    with runner_with(
        tmp_path,
        [Turn(content=answer, part_delay_s=0.3)],
        on_step=lambda step: texts.append(step.text),
    ) as (runner, _):
        result = runner.run(task(repository))

    assert result.success, result.error
    told = [text for text in texts if text.startswith("the model writes: ")]
    assert told
    assert all(text.endswith(" s") and " tokens in " in text for text in told)
    assert any(told[-1] in line for line in runner.execution_logs)
