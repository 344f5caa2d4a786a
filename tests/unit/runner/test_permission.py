"""What a run may touch, ask of git, and start."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding import validation
from keruta_agent.core.coding.model import TaskContext
from keruta_agent.runner.changes import protected
from keruta_agent.runner.changes.permission import PermissionValidator
from tests.helpers.repositories import git


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
    "path",
    [
        *(".cirrus.yml", ".cirrus.star", "appveyor.yml", ".appveyor.yml", "buildspec-release.yaml"),
        *("cloudbuild.json", ".semaphore/semaphore.yml", ".build.yml", ".builds/arch.yml"),
        *(".tekton/push.yaml", ".drone.jsonnet", "Jenkinsfile.release", "ci/deploy.jenkinsfile"),
        *("azure-pipelines-nightly.yml", ".azure-pipelines/build.yml", "action.yaml", ".zuul.d/a"),
        *(
            "services/api/Jenkinsfile",
            "packages/ui/.gitlab-ci-test.yml",
            "a/b/.circleci/config.yml",
        ),
        *(".pre-commit-config.yaml", "lefthook-local.yml", "sub/.lfsconfig", "docs/.gitattributes"),
        *(".keruta/install.sh", "sub/.keruta/hooks/pre", ".devcontainer/devcontainer.json"),
        *(".github/dependabot.yml", "renovate.json5", ".vscode/tasks.json", ".envrc"),
        *("Jenkinsfile.groovy", "azure-pipelines/jenkinsfile.md"),
    ],
)
@pytest.mark.parametrize(
    "spelt",
    [str, str.upper, lambda path: path.replace(".", "\uff0e"), lambda path: f"{path}:$DATA"],
    ids=["plain", "upper case", "full width", "stream"],
)
def test_what_runs_by_itself_is_protected_however_it_is_spelt(
    root: Path, path: str, spelt: Callable[[str], str]
) -> None:
    with pytest.raises(errors.SecurityError, match=r"act upon it|CI server"):
        PermissionValidator(root).validate_path_access(spelt(path), "create")


@pytest.mark.parametrize(
    "path",
    [
        *("Makefile", "package.json", "Dockerfile", "src/actions.ts", "docs/jenkins.md"),
        *("tests/test_buildspec.py", "src/drone.py", "reaction.yml", "vscode/tasks.json"),
        *("keruta/install.sh", "azure.py", "src/.builder/x", "github/workflows/x.yml"),
        *("docs/jenkinsfile.md", "src/jenkinsfile_parser.py", "docs/azure-pipelines-guide.md"),
    ],
)
def test_what_only_sounds_like_automation_may_be_written(root: Path, path: str) -> None:
    PermissionValidator(root).validate_path_access(path, "create")

    assert protected.reason(path) is None


def test_a_protected_file_that_the_task_names_may_be_written_and_no_other(root: Path) -> None:
    permissions = PermissionValidator(root, allowed=[".github/workflows/test.yml", ".git/config"])
    permissions.validate_path_access(".github/workflows/test.yml", "create")
    for path in (".github/workflows/release.yml", ".GITHUB/workflows/test.yml", ".git/config"):
        with pytest.raises(errors.SecurityError):
            permissions.validate_path_access(path, "write")


def test_the_tasks_playbook_is_protected_where_it_lies_in_the_work_tree(root: Path) -> None:
    inside = root / "books" / "検査.yaml"
    context = TaskContext(task_id="1", spec_name="s", title="t", description="d")
    assert protected.playbook(dataclasses.replace(context, playbook_path=inside), root) == [
        "books/検査.yaml"
    ]
    outside = dataclasses.replace(context, playbook_path=root.parent / "a.yaml")
    assert protected.playbook(outside, root) == []


@pytest.mark.parametrize("given", ["Jenkinsfile", ["a", 1], [""], {"a": 1}])
def test_allowed_files_are_a_list_of_paths(given: object) -> None:
    context = TaskContext(
        task_id="1",
        spec_name="s",
        title="t",
        description="d",
        metadata={validation.ALLOWED: given},
    )
    with pytest.raises(errors.TaskContextValidationError, match="must be a list of paths"):
        validation.allowed_files(context)


def test_a_file_to_which_a_protected_name_leads_is_protected(root: Path) -> None:
    git(root, "init", "--quiet")
    (root / "pipelines").mkdir()
    (root / ".gitlab-ci.yml").symlink_to("pipelines/main.yml")
    (root / "ci").symlink_to("pipelines")
    (root / "services").mkdir()
    (root / "services" / ".circleci").symlink_to("../src/日本語")
    git(root, "add", ".gitlab-ci.yml", "ci", "services")
    permissions = PermissionValidator.of_repository(root)
    for path in ("pipelines/main.yml", "Pipelines/MAIN.yml", "src/日本語/config.yml"):
        with pytest.raises(errors.SecurityError, match=r"to which .* leads"):
            permissions.validate_path_access(path, "create")
    permissions.validate_path_access("pipelines/other.yml", "create")


def test_files_from_which_git_takes_settings_are_protected(root: Path) -> None:
    git(root, "init", "--quiet")
    (root / "tools").mkdir()
    (root / "tools" / "git.inc").write_text("[core]\n\tabbrev = 8\n")
    git(root, "config", "include.path", "../tools/git.inc")
    git(root, "config", "core.attributesFile", str(root / "tools" / "attributes"))
    git(root, "config", "core.hooksPath", "tools/hooks")
    permissions = PermissionValidator.of_repository(root)
    for path in ("tools/git.inc", "tools/attributes", "tools/HOOKS/pre-push"):
        with pytest.raises(errors.SecurityError, match="protected"):
            permissions.validate_path_access(path, "write")
    permissions.validate_path_access("tools/other.py", "write")


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
