"""What ``keruta runner check`` says: only what it has seen."""

from __future__ import annotations

import pytest

from keruta_agent.runner import readiness
from keruta_agent.runner.config import RunnerConfig
from keruta_agent.runner.readiness import Finding
from keruta_agent.testing.language_model import ScriptedModel, Turn, changes, refusing

KEY = "sk-live-4f9aD03kq8ZbT71x"


def found(turns: list[Turn | str]) -> tuple[Finding, ScriptedModel]:
    with ScriptedModel(turns).serving() as model:
        config = RunnerConfig(llm_api_key=KEY, llm_endpoint=model.endpoint, llm_model="m")
        return {finding.name: finding for finding in readiness.look(config)}[
            "Language model"
        ], model


def test_model_is_asked_for_one_answer_and_what_it_shows_is_told() -> None:
    no_system = refusing(400, "System role not supported")
    no_stream = refusing(400, "This model does not support streaming")
    finding, model = found([no_system, no_stream, changes()])
    assert finding.is_well and finding.is_seen and len(model.requests) == 3
    for fact in ("answers", "100 + 20 tokens", "without streaming", "takes no system message"):
        assert fact in finding.text


@pytest.mark.parametrize(
    ("turn", "says"),
    [
        (refusing(401, "no"), "Invalid API key"),
        (refusing(404, "model_not_found"), "llm.model"),
        (refusing(503, "busy"), "busy"),
        (Turn(content="Hello! How can I help?"), "cannot be used"),
        (Turn(content=""), "cannot be used"),
        (Turn(raw=b"<html>a page</html>"), "llm.endpoint"),
    ],
)
def test_model_that_gives_no_answer_is_a_problem(turn: Turn, says: str) -> None:
    finding, _ = found([turn, turn])
    assert not finding.is_well and says in finding.text and KEY not in finding.text


def test_thoughts_that_are_cut_off_are_an_answer_whose_form_was_not_seen() -> None:
    finding, _ = found([Turn(content="", finish_reason="length")])
    assert finding.is_well and "its form was not seen" in finding.text


def test_what_is_not_tried_is_not_said_to_be_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TOKEN", "ghp_4f9aD03kq8ZbT71x4f9aD03kq8ZbT71x")
    with ScriptedModel([changes()]).serving() as model:
        config = RunnerConfig(llm_api_key=KEY, llm_endpoint=model.endpoint)
        findings = {finding.name: finding for finding in readiness.look(config)}
    assert findings["Git token"].text.startswith("GIT_TOKEN is set; no server was asked")
    unseen = {name for name, finding in findings.items() if not finding.is_seen}
    assert unseen == {"Task Registry", "Repo Pool Manager", "Artifact Store", "Git token"}
