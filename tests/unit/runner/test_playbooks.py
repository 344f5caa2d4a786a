from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding.model import Playbook, PlaybookStep
from keruta_agent.runner.checks.playbooks import PlaybookEngine

HOSTILE = "$(touch {0}/pwned) `touch {0}/pwned` '; touch {0}/pwned; ' \"; touch {0}/pwned #"


@pytest.mark.parametrize(
    "template",
    [
        "printf %s ${title} > out",
        'printf %s "${title}" > out',
        "printf %s '${title}' > out",
        "printf %s x'y'${title} > out",
        "printf %s \\'${title} > out",
        "cat > out <<END\n${title}\nEND",
        "printf %s \"$(printf %s '${title}')\" > out",
    ],
)
def test_no_value_is_ever_executed(tmp_path: Path, template: str) -> None:
    step = PlaybookStep(name="one", command=template)
    hostile = HOSTILE.format(shlex.quote(str(tmp_path)))

    result = PlaybookEngine().execute_playbook(Playbook("p", [step]), {"title": hostile}, tmp_path)

    assert result.step_results[0].exit_code in (0, 2), result
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    # Quotes within quotes within a substitution are misread: then the reference stays, unharmed.
    assert any(part in (tmp_path / "out").read_text() for part in ("touch", "${PLAYBOOK_0_title}"))


@pytest.mark.parametrize("template", ["${title}", '"${title}"', "'${title}'", "a'b'\"c${title}\""])
def test_value_arrives_unchanged(tmp_path: Path, template: str) -> None:
    value = "二つ  spaces * $HOME \\n \"q\" 'r'"
    command = f"printf '[%s]' {template}"

    result = PlaybookEngine().execute_playbook(
        Playbook("p", [PlaybookStep("one", command)]), {"title": value}, tmp_path
    )

    printed = result.step_results[0].stdout
    assert printed in (f"[{value}]", f"[abc{value}]")


def test_names_that_differ_in_a_sign_are_two_values(tmp_path: Path) -> None:
    step = PlaybookStep("one", "echo ${a-b} ${a_b} ${unknown}")

    result = PlaybookEngine().execute_playbook(
        Playbook("p", [step]), {"a-b": "1", "a_b": "2"}, tmp_path
    )

    assert result.step_results[0].stdout == "1 2\n"


def test_step_is_skipped_tried_again_and_ends_the_playbook(tmp_path: Path) -> None:
    again = "echo x >> tries; test $(wc -l < tries) -ge 3"
    steps = [
        PlaybookStep("skipped", "touch skipped", condition="lint_enabled == true"),
        PlaybookStep("again", again, retry_count=2),
        PlaybookStep("tolerated", "exit 3", fail_fast=False),
        PlaybookStep("failing", "exit 4"),
        PlaybookStep("never", "touch never"),
    ]

    result = PlaybookEngine().execute_playbook(Playbook("p", steps), {}, tmp_path)

    reported = [(step.step_name, step.exit_code, step.attempts) for step in result.step_results]
    assert reported == [("skipped", 0, 0), ("again", 0, 3), ("tolerated", 3, 1), ("failing", 4, 1)]
    assert result.step_results[0].skipped
    assert not result.success
    assert [entry.name for entry in tmp_path.iterdir()] == ["tries"]


def test_step_that_takes_too_long_fails(tmp_path: Path) -> None:
    step = PlaybookStep("slow", "sleep 60", timeout_seconds=1)

    result = PlaybookEngine().execute_playbook(Playbook("p", [step]), {}, tmp_path)

    assert not result.success
    assert "timed out" in result.step_results[0].stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: []", "name"),
        ("name: [", "parse YAML"),
        ("name: x\nsteps: [{name: a}]", "command"),
        ("name: x\nsteps: [{name: a, command: b, retry_count: -1}]", "retry_count"),
        ("name: x\nsteps: [{name: a, command: b, timeout_seconds: no}]", "timeout_seconds"),
        ("name: x\nsteps: [{name: a, command: b, condition: 'a &&'}]", "cannot be understood"),
        ("name: x\nsteps: [{name: a, command: b, what: 1}]", "what"),
        ("- x", "name"),
    ],
)
def test_wrong_playbook_is_refused_when_it_is_read(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)

    with pytest.raises(errors.PlaybookExecutionError, match=message):
        PlaybookEngine().load_playbook(path)
    assert PlaybookEngine().load_playbook_or_default(path).name == "Default Task Playbook"


def test_playbook_is_read_with_its_defaults(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text("name: 検査\nsteps:\n- {name: a, command: b}\nmetadata:\n")

    playbook = PlaybookEngine().load_playbook(path)

    assert playbook == Playbook(
        "検査",
        [PlaybookStep("a", "b", None, True, 300, 0)],
        {"source": "file", "file_path": str(path)},
    )


def test_missing_playbook_is_reported(tmp_path: Path) -> None:
    with pytest.raises(errors.PlaybookExecutionError, match="not found"):
        PlaybookEngine().load_playbook(tmp_path / "none.yaml")


def test_default_playbook_does_what_a_task_switches_on(tmp_path: Path) -> None:
    engine = PlaybookEngine()

    result = engine.execute_playbook(
        engine.get_default_playbook(), {"lint_enabled": True}, tmp_path
    )

    assert [step.skipped for step in result.step_results] == [True, False, True, True]
    assert result.success


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[3] / "tasks" / "playbooks").glob("*.yaml")), ids=str
)
def test_example_is_a_playbook(path: Path) -> None:
    assert PlaybookEngine().load_playbook(path).steps
