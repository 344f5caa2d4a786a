from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding.model import Workspace
from keruta_agent.runner.checks.guard import Guard
from keruta_agent.runner.config import RetryConfig
from keruta_agent.runner.deadline import Deadline, StoppedError
from keruta_agent.runner.workspace.policies import KEPT
from keruta_agent.runner.workspace.workspaces import WorkspaceManager
from tests.helpers.repositories import Repository, git, make_repository
from tests.helpers.superprojects import SUBMODULE, Superproject, commit_in

BRANCH = "feature/task-1"


@pytest.fixture
def server(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "server.git", {"a.py": "1\n", ".gitignore": "*.pyc\n"})


@pytest.fixture
def slot(tmp_path: Path, server: Repository) -> Path:
    git(tmp_path, "clone", "--quiet", str(server.path), "slot")
    return tmp_path / "slot"


def _manager(index: Path | None = None) -> WorkspaceManager:
    return WorkspaceManager(RetryConfig(max_retries=1, initial_delay_seconds=0.01), index=index)


def test_change_is_committed_and_pushed(slot: Path, server: Repository) -> None:
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")
    (slot / "新しい.py").write_text("x\n")
    (slot / "a.pyc").write_text("cache")

    diff = manager.get_diff(workspace)
    commit = manager.commit_changes(workspace, "feat(s): 表題 [Task 1]")
    pushed = manager.push_branch(workspace, BRANCH)

    assert workspace == Workspace(slot, BRANCH, "main")
    assert "-1\n+2\n" in diff
    assert "新しい.py" in diff
    assert pushed.commit_hash == commit
    assert server.branches[BRANCH] == commit
    assert server.files(BRANCH) == [".gitignore", "a.py", "新しい.py"]
    assert server.message(BRANCH).strip() == "feat(s): 表題 [Task 1]"
    assert git(slot, "status", "--porcelain") == ""


def test_what_tests_leave_stage_and_commit_is_not_part_of_the_change(
    slot: Path, server: Repository
) -> None:
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")
    tree = manager.stage(workspace)
    (slot / "dropping").write_text("x")
    (slot / "a.py").write_text("changed by the tests\n")
    git(slot, "add", "--all")
    git(slot, "commit", "--quiet", "--message", "by the tests")
    git(slot, "checkout", "--quiet", "-b", "elsewhere")
    (slot / "more").write_text("x")

    manager.restore(workspace, tree)
    commit = manager.commit_changes(workspace, "change", tree=tree)
    manager.push_branch(workspace, BRANCH, commit=commit)

    assert server.files(BRANCH) == [".gitignore", "a.py"]
    assert server.file(BRANCH, "a.py") == "2"
    assert server.count(BRANCH) == 2
    assert (slot / "a.py").read_text() == "2\n"
    assert not (slot / "dropping").exists()
    assert not (slot / "more").exists()


def test_second_run_goes_on_from_the_pushed_branch(slot: Path, server: Repository) -> None:
    first = _manager()
    workspace = first.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")
    commit = first.commit_changes(workspace, "one")
    first.push_branch(workspace, BRANCH)

    second = _manager()
    workspace = second.prepare_workspace(slot, BRANCH)
    assert (slot / "a.py").read_text() == "2\n"
    assert second.commit_changes(workspace, "the same once more") == commit
    assert second.push_branch(workspace, BRANCH).commit_hash == commit
    assert "-1\n+2\n" in second.get_diff(workspace)


def test_what_was_not_pushed_is_kept(slot: Path, server: Repository) -> None:
    first = _manager()
    workspace = first.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")
    lost = first.commit_changes(workspace, "never pushed")
    (slot / "a.py").write_text("never committed\n")

    _manager().prepare_workspace(slot, BRANCH)

    assert (slot / "a.py").read_text() == "1\n"
    kept = git(slot, "for-each-ref", "--format=%(refname) %(objectname)", "refs/keruta")
    assert f"{KEPT}/{BRANCH}-{lost[:12]} {lost}" in kept
    aside = next(line.split()[0] for line in kept.splitlines() if "aside" in line)
    assert git(slot, "show", f"{aside}:a.py") == "never committed"


def test_branches_that_became_directories_are_in_nobodys_way(
    slot: Path, server: Repository
) -> None:
    server.commit("base", {"b.py": "1\n"})
    _manager().prepare_workspace(slot, BRANCH, "base")
    git(slot, "checkout", "--quiet", "-B", "feature/other")
    git(slot, "branch", "-D", BRANCH)
    git(slot, "branch", "-m", "feature")
    git(server.path, "branch", "-m", "base", "base/new")

    workspace = _manager().prepare_workspace(slot, BRANCH, "base/new")

    assert workspace.base_branch == "base/new"
    assert "replaced/feature/" in git(slot, "for-each-ref", "--format=%(refname)", "refs/keruta")


def test_no_change_is_nothing_to_commit(slot: Path) -> None:
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)

    with pytest.raises(errors.ImplementationError, match="changed nothing"):
        manager.commit_changes(workspace, "nothing")


def test_base_branch_may_be_named(slot: Path, server: Repository) -> None:
    server.commit("release/1", {"only-there": "x"})

    workspace = _manager().prepare_workspace(slot, BRANCH, "release/1")

    assert workspace.base_branch == "release/1"
    assert (slot / "only-there").exists()
    with pytest.raises(errors.WorkspacePreparationError, match="no branch 'none'"):
        _manager().prepare_workspace(slot, BRANCH, "none")


@pytest.mark.parametrize(
    "name",
    ["main", "release/1", "feature/x:refs/heads/main", "feature/../main", "feature/ x",
     "feature/x.lock", "-feature/x", "feature/", "feature/a\nb", "feature/a*"],
)  # fmt: skip
def test_other_branches_are_never_pushed(slot: Path, server: Repository, name: str) -> None:
    before = server.branches

    with pytest.raises(errors.SecurityError, match="not allowed"):
        _manager().prepare_workspace(slot, name)
    with pytest.raises(errors.SecurityError, match="not allowed"):
        _manager().push_branch(Workspace(slot, name), name)
    assert server.branches == before


def test_base_branch_itself_is_never_pushed(slot: Path, server: Repository) -> None:
    server.commit("feature/base", {"x": "x"})

    with pytest.raises(errors.SecurityError, match="base"):
        _manager().prepare_workspace(slot, "feature/base", "feature/base")


def test_push_of_what_somebody_else_moved_on_is_an_error(slot: Path, server: Repository) -> None:
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")
    manager.commit_changes(workspace, "mine")
    theirs = server.commit(BRANCH, {"b.py": "theirs"})

    with pytest.raises(errors.PushError, match=r"refuses the branch .*fetch first.*run the task"):
        manager.push_branch(workspace, BRANCH)
    assert server.branches[BRANCH] == theirs


def test_server_that_is_gone_is_an_error_of_the_runner(slot: Path, server: Repository) -> None:
    server.path.rename(server.path.with_name("moved"))

    with pytest.raises(errors.WorkspacePreparationError):
        _manager().prepare_workspace(slot, BRANCH)


def test_directory_inside_of_a_repository_is_no_workspace(slot: Path) -> None:
    (slot / "inner").mkdir()

    with pytest.raises(errors.WorkspacePreparationError, match="not the top"):
        _manager().prepare_workspace(slot / "inner", BRANCH)


def test_end_of_the_run_ends_git(slot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Deadline(1000)
    deadline.stop("the slot is lost")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "remote.origin.uploadpack")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "sleep 1000 #")

    with pytest.raises(StoppedError, match="the slot is lost"):
        WorkspaceManager(deadline=deadline).prepare_workspace(slot, BRANCH)


def test_rollback_returns_to_where_the_run_began(slot: Path) -> None:
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")
    (slot / "new").write_text("x")

    manager.rollback(workspace)

    assert (slot / "a.py").read_text() == "1\n"
    assert git(slot, "status", "--porcelain") == ""


def test_hook_of_the_workspace_is_never_run(slot: Path, tmp_path: Path) -> None:
    for name in ("pre-commit", "pre-push", "post-checkout", "reference-transaction"):
        hook = slot / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/{name}.ran\n")
        hook.chmod(0o755)
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")

    manager.commit_changes(workspace, "change")
    manager.push_branch(workspace, BRANCH)

    assert not list(tmp_path.glob("*.ran"))


@pytest.mark.parametrize("mark", ["--assume-unchanged", "--skip-worktree"])
def test_file_that_tests_mark_as_unchanged_is_committed_as_it_was_tested(
    tmp_path: Path, slot: Path, server: Repository, mark: str
) -> None:
    manager = WorkspaceManager(index=tmp_path / "index")
    workspace = manager.prepare_workspace(slot, BRANCH)
    git(slot, "update-index", mark, "a.py")
    (slot / ".git" / "index.lock").touch()
    (slot / "a.py").write_text("2\n")

    tree = manager.stage(workspace)
    (slot / "a.py").write_text("changed by the tests\n")
    manager.restore(workspace, tree)
    commit = manager.commit_changes(workspace, "change", tree=tree)
    manager.push_branch(workspace, BRANCH, commit=commit)

    assert server.file(BRANCH, "a.py") == "2"
    assert (slot / "a.py").read_text() == "2\n"
    assert git(slot, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "name",
    ["config", "hooks/pre-push", "info/attributes", "info/exclude", "config.worktree"],
)
def test_tests_that_change_how_git_behaves_are_refused_and_undone(slot: Path, name: str) -> None:
    manager = _manager()
    manager.prepare_workspace(slot, BRANCH)
    guard = Guard.of(manager.git(slot))
    path = slot / ".git" / name
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_text('[core]\n\tfsmonitor = "touch /tmp/x"\n')

    with pytest.raises(errors.SecurityError, match=f"not allowed: .git/{name}"):
        guard.check()
    assert (path.read_bytes() if path.exists() else None) == before
    guard.check()


def test_submodules_are_there_and_clean_for_each_run(
    slot: Path, server: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    library = make_repository(tmp_path / "library.git", {"lib.txt": "lib\n"})
    Superproject(server, library, tmp_path / "person")
    _manager().prepare_workspace(slot, BRANCH)
    inner = slot / SUBMODULE
    (inner / "lib.txt").write_text("changed by tests\n")
    (inner / "left.txt").write_text("left by tests\n")

    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    assert (inner / "lib.txt").read_text() == "lib\n"
    assert not (inner / "left.txt").exists()
    (slot / "a.py").write_text("2\n")
    manager.commit_changes(workspace, "feat: change")
    assert git(slot, "show", "--name-only", "--format=", BRANCH) == "a.py"


@pytest.fixture
def superproject(
    server: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Superproject:
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    library = make_repository(tmp_path / "library.git", {"lib.txt": "lib\n"})
    return Superproject(server, library, tmp_path / "person")


@pytest.mark.parametrize("has_own_index", [False, True])
def test_submodules_are_cleaned_between_rounds(
    superproject: Superproject, slot: Path, tmp_path: Path, has_own_index: bool
) -> None:
    manager = _manager(tmp_path / "index" if has_own_index else None)
    workspace = manager.prepare_workspace(slot, BRANCH)
    (slot / "a.py").write_text("2\n")
    tree = manager.stage(workspace)
    inner = slot / SUBMODULE
    pinned = git(inner, "rev-parse", "HEAD")
    (inner / "left-by-tests").write_text("x")
    commit_in(inner, {"lib.txt": "by the tests\n"})

    manager.restore(workspace, tree)

    assert (inner / "lib.txt").read_text() == "lib\n"
    assert not (inner / "left-by-tests").exists()
    assert git(inner, "rev-parse", "HEAD") == pinned
    assert manager.stage(workspace) == tree


def test_pointer_to_a_commit_that_nobody_can_get_is_not_pushed(
    superproject: Superproject, server: Repository, slot: Path
) -> None:
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    commit_in(slot / SUBMODULE, {"lib.txt": "by the tests\n"})
    manager.commit_changes(workspace, "change")

    with pytest.raises(errors.PushError, match="does not have"):
        manager.push_branch(workspace, BRANCH)
    assert BRANCH not in server.branches


def test_repository_in_the_repository_is_not_pushed_as_a_mere_pointer(
    server: Repository, slot: Path
) -> None:
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    git(slot, "clone", "--quiet", str(server.path), "nested")
    manager.commit_changes(workspace, "change")

    with pytest.raises(errors.PushError, match="repository of its own"):
        manager.push_branch(workspace, BRANCH)


def test_large_file_is_not_pushed_as_a_plain_one(
    server: Repository, slot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")  # Git LFS may be set up there
    monkeypatch.setenv("HOME", str(slot.parent))
    manager = _manager()
    workspace = manager.prepare_workspace(slot, BRANCH)
    (slot / ".gitattributes").write_text("*.bin filter=lfs\n")
    (slot / "x.bin").write_text("plain\n")
    manager.commit_changes(workspace, "change")

    with pytest.raises(errors.PushError, match="plain file"):
        manager.push_branch(workspace, BRANCH)
