"""What runs around a task in its repository."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.workspace_world import BRANCH, OTHER_TASK, TASK, World


@pytest.fixture
def hooks_world(world: World) -> Iterator[World]:
    world.repository.commit(
        "main", {".keruta/install.sh": "echo installing $KERUTA_GIT_BRANCH; touch installed\n"}
    )
    yield world


def test_install_script_runs_once_per_clone_and_once_per_change_of_it(hooks_world: World) -> None:
    ids = [f"{number}f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10" for number in range(3)]
    hooks_world.run("true", task_id=ids[0])
    hooks_world.run("true", task_id=ids[1])
    hooks_world.repository.commit("main", {".keruta/install.sh": "echo installing anew\n"})
    hooks_world.run("true", task_id=ids[2])
    outputs = [hooks_world.output(task_id) for task_id in ids]
    assert outputs[0].startswith("installing keruta-task-")
    assert outputs[1:] == ["", "installing anew\n"]


def test_install_script_that_fails_fails_the_task_with_its_output(hooks_world: World) -> None:
    hooks_world.repository.commit("main", {".keruta/install.sh": "echo no compiler; exit 4\n"})
    task = hooks_world.run("echo ran")
    assert task.error_code == "NOT_STARTED"
    assert ".keruta/install.sh exited with code 4" in task.message
    assert hooks_world.output() == "no compiler\n"


def test_hooks_of_the_settings_run_around_the_task(world: World, tmp_path: Path) -> None:
    for name, text in {
        "before": "echo before",
        "after": "echo after $KERUTA_OUTCOME; echo formatted >> new.txt",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
    world.flags |= {"pre_task_hook": tmp_path / "before", "post_task_hook": tmp_path / "after"}
    world.run("echo script; echo x > new.txt")
    assert world.output().splitlines() == ["before", "script", "after succeeded"]
    assert world.repository.file(BRANCH, "new.txt") == "x\nformatted"
    entries = world.api.logs(TASK)
    groups = {e.message: e.metadata.get("keruta", {}).get("group") for e in entries}
    assert groups["before"] == "the pre-task hook"
    assert groups["script"] is None
    assert groups["after succeeded"] == "the post-task hook"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "The script exited with code 3"),
        (
            "echo ::group::tests; echo 1 failed; echo ::endgroup::; echo; exit 3",
            "The script exited with code 3: 1 failed",
        ),
    ],
)
def test_failure_is_not_explained_by_what_a_hook_wrote(
    hooks_world: World, script: str, message: str
) -> None:
    task = hooks_world.run(script)

    assert hooks_world.output().startswith("installing ")
    assert task.message.partition(" (")[0] == message


def test_hook_that_takes_too_long_is_ended(world: World, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\necho begins\nsleep 60\n")
    world.flags |= {"pre_task_hook": hook, "hook_timeout_s": "300ms"}
    task = world.run("echo ran")
    assert "the pre-task hook took longer than 300ms" in task.message
    assert world.output() == "begins\n"


HOOK = """\
#!/bin/sh
cat > /dev/null
echo "$(basename $0) $# $KERUTA_TASK_ID ${KERUTA_RUN_UID:+marked} ${OF_THE_AGENT:-clean}" >> LEDGER
"""


def write_hooks(world: World, tmp_path: Path, more: str = "") -> str:
    """Return a script that leaves hooks as husky does, and change a file."""
    hook = HOOK.replace("LEDGER", str(tmp_path / "ledger")) + more
    (tmp_path / "hook").write_text(hook)
    (tmp_path / "hook").chmod(0o755)
    names = "pre-commit prepare-commit-msg commit-msg post-commit pre-push post-checkout"
    return (
        f"mkdir .husky && for name in {names}; do cp {tmp_path}/hook .husky/$name; done\n"
        "git config core.hooksPath .husky && echo .husky > .git/info/exclude && echo 1 > n\n"
    )


def test_repositorys_own_hooks_are_not_run_and_the_log_says_so(
    world: World, tmp_path: Path
) -> None:
    task = world.run(write_hooks(world, tmp_path))
    assert world.repository.task_branches == [BRANCH], task.message
    assert not (tmp_path / "ledger").exists()
    assert "does not run the repository's pre-push hook: git.run_hooks is off" in world.log()


def test_repositorys_own_hooks_run_like_the_script_by_setting(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_AGENT", "secret")
    world.flags["git_run_hooks"] = True
    more = 'case $0 in */commit-msg) echo "Signed-off-by: x" >> "$1";; esac\n'
    task = world.run(write_hooks(world, tmp_path, more))
    assert world.repository.task_branches == [BRANCH], task.message
    assert (tmp_path / "ledger").read_text().splitlines() == [
        f"{name} {count} {TASK} marked clean"
        for name, count in {
            "pre-commit": 0,
            "prepare-commit-msg": 2,
            "commit-msg": 1,
            "post-commit": 0,
            "pre-push": 2,
        }.items()
    ]
    assert world.repository.message(BRANCH).endswith("Signed-off-by: x")


@pytest.mark.parametrize("name", ["pre-commit", "commit-msg", "pre-push"])
def test_hook_that_refuses_keeps_the_change_from_the_server(
    world: World, tmp_path: Path, name: str
) -> None:
    world.flags["git_run_hooks"] = True
    more = f"case $0 in */{name}) echo 'not like this'; exit 3;; esac\n"
    task = world.run(write_hooks(world, tmp_path, more))
    assert world.repository.task_branches == []
    assert f"the repository's {name} hook exited with code 3" in str(task.message)
    assert "not like this" in world.output()


def test_signing_is_a_setting(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text("[commit]\n\tgpgSign = true\n[gpg]\n\tprogram = false\n")
    world.run("echo 1 > n")
    assert world.repository.task_branches == [BRANCH]
    assert "does not sign commits" in world.log()
    world.flags["git_sign"] = True
    task = world.run("echo 2 > n", task_id=OTHER_TASK)
    assert world.repository.task_branches == [BRANCH]
    assert "sign" in str(task.message)
