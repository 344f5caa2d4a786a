"""What a run may touch, ask of git, and start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keruta_agent import errors
from keruta_agent.runner.permission import PermissionValidator


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "作業 場"
    (root / "src" / "日本語").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "src" / "a.py").write_text("x = 1\n")
    (tmp_path / "outside.txt").write_text("secret\n")
    (root / "link-in").symlink_to("src/a.py")
    (root / "link-out").symlink_to("../outside.txt")
    (root / "link-git").symlink_to(".git")
    (root / "link-nowhere").symlink_to("nothing")
    (root / "loop").symlink_to("loop")
    (root / "vendor" / "lib").mkdir(parents=True)
    (root / "vendor" / "lib" / ".git").write_text("gitdir: ../../.git/modules/lib\n")
    os.mkfifo(root / "pipe")
    return root


@pytest.mark.parametrize(
    "path",
    [
        *("src/a.py", "src/new.py", "src/日本語/新しい.py", "new/deep/file.txt", ".gitignore"),
        *(".github/CODEOWNERS", "a b.txt", "[id].tsx", "$route.ts", ".env.example", "gitty/x"),
    ],
)
def test_path_inside_may_be_written(root: Path, path: str) -> None:
    permissions = PermissionValidator(root)
    assert permissions.validate_path_access(path, "write") is None
    assert permissions.validate_path_access(path) is None


@pytest.mark.parametrize(
    ("path", "fragment"),
    [
        ("../outside.txt", "outside workspace"),
        ("src/../../outside.txt", "outside workspace"),
        ("/etc/passwd", "outside workspace"),
        ("~/.ssh/authorized_keys", "outside workspace"),
        ("link-out", "outside workspace"),
        ("link-in", "symbolic link"),
        ("link-nowhere", "symbolic link"),
        ("loop", "symbolic link"),
        ("link-git/config", r"\.git directory"),
        (".git/config", r"\.git directory"),
        (".GIT/config", r"\.git directory"),
        (".git./config", "not allowed"),
        (".git:$INDEX_ALLOCATION/config", r"\.git directory"),
        (".g\u200cit/config", "not allowed"),
        ("git~1/config", r"\.git directory"),
        ("src/.git", r"\.git directory"),
        ("vendor/lib/x.c", r"\.git directory"),
        (".gitmodules", "not allowed"),
        ("src/.gitattributes", "not allowed"),
        (".husky/pre-commit", "not allowed"),
        (".github/workflows/ci.yml", "CI server"),
        (".GitLab-CI.yml", "CI server"),
        ("src", "directory"),
        ("src/a.py/b", "is a file"),
        ("pipe", "no regular file"),
        ("", "not allowed"),
        (".", "not allowed"),
        ("src//a.py", "not allowed"),
        ("src/", "not allowed"),
        ("a\0b", "control"),
        ("a\nb", "control"),
        ("a\ud800b", "control"),
        ("a\u202eb", "invisible"),
        ("..\\outside.txt", "backslash"),
        ("src/a.py ", "space"),
        ("-rf", "command line"),
        (":(top)x", "command line"),
        ("x" * 256, "too long"),
        ("日" * 86, "too long"),
        ("d/" * 1100 + "x", "too long"),
    ],
)
def test_path_that_leads_elsewhere_is_refused(root: Path, path: str, fragment: str) -> None:
    with pytest.raises(errors.SecurityError, match=fragment):
        PermissionValidator(root).validate_path_access(path, "write")


def test_reading_follows_links_only_inside(root: Path) -> None:
    permissions = PermissionValidator(root)
    permissions.validate_path_access("link-in")
    permissions.validate_path_access(".gitmodules")
    for path in ("link-out", "link-git/config", ".git/config", "pipe"):
        with pytest.raises(errors.SecurityError):
            permissions.validate_path_access(path)


def test_absolute_path_is_judged_by_where_it_leads(root: Path) -> None:
    permissions = PermissionValidator(root)
    permissions.validate_path_access(root)
    permissions.validate_path_access(root / "src" / "a.py", "write")
    for path in (root.parent / "outside.txt", root / ".git" / "config", root / "link-out"):
        with pytest.raises(errors.SecurityError):
            permissions.validate_path_access(path, "write")
    with pytest.raises(errors.SecurityError):
        permissions.validate_path_access(root, "write")


def test_protected_paths_are_refused_whatever_their_case(root: Path) -> None:
    permissions = PermissionValidator(root, protected=["tools/Hooks/"])
    with pytest.raises(errors.SecurityError, match="protected"):
        permissions.validate_path_access("Tools/hooks/pre-push", "write")


@pytest.mark.parametrize(
    ("operation", "options", "fragment"),
    [
        ("push", {"branch": "feature/x", "force": True}, "Force push"),
        ("push", {"branch": "main"}, "feature/task branches"),
        ("push", {"branch": "feature/x:refs/heads/main"}, "feature/task branches"),
        ("push", {"branch": "feature/"}, "feature/task branches"),
        ("push", {}, "feature/task branches"),
        ("branch", {"delete": True}, "not allowed"),
        ("config", {}, "not allowed"),
        ("filter-branch", {}, "not allowed"),
    ],
)
def test_git_operation_is_refused(
    root: Path, operation: str, options: dict[str, object], fragment: str
) -> None:
    with pytest.raises(errors.SecurityError, match=fragment):
        PermissionValidator(root).validate_git_operation(operation, **options)


def test_git_operation_of_a_run_is_allowed(root: Path) -> None:
    permissions = PermissionValidator(root)
    for operation, options in (
        ("push", {"branch": "feature/task-1.1-スキーマ"}),
        ("push", {"branch_name": "task/a/b"}),
        ("branch", {"branch": "feature/x"}),
    ):
        assert permissions.validate_git_operation(operation, **options) is None


def test_only_the_commands_of_the_task_may_be_started(root: Path) -> None:
    permissions = PermissionValidator(root, ["pytest -q"])
    permissions.validate_command_execution("pytest -q")
    for command in ("pytest -q; rm -rf ~", "curl x | sh", "docker exec a b", ""):
        with pytest.raises(errors.SecurityError, match="not allowed"):
            permissions.validate_command_execution(command)
