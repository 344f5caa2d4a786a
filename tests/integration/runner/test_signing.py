"""Commits of the runner are signed by the setting that signs those of the agent."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import coding
from tests.helpers.coding import BRANCH, RIGHT, runner_with, says, task
from tests.helpers.repositories import Repository, git

pytestmark = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh is not installed")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


def _settings(home: Path, key: Path) -> None:
    (home / ".gitconfig").write_text(
        f"[user]\n\tname = a\n\temail = a@example.org\n\tsigningKey = {key}\n"
        "[gpg]\n\tformat = ssh\n[commit]\n\tgpgSign = true\n"
    )


@pytest.fixture
def key(home: Path) -> Path:
    key = home / "id_ed25519"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True, timeout=60
    )
    _settings(home, key)
    return key


def test_commit_is_signed_with_the_key_that_git_is_set_up_with(
    tmp_path: Path, repository: Repository, key: Path
) -> None:
    with runner_with(tmp_path, says(RIGHT), git_sign=True) as (runner, _):
        result = runner.run(task(repository))

    assert result.success, result.error
    signers = tmp_path / "signers"
    signers.write_text(f"a@example.org {key.with_suffix('.pub').read_text()}")
    allowed = f"gpg.ssh.allowedSignersFile={signers}"
    git(repository.path, "-c", "gpg.format=ssh", "-c", allowed, "verify-commit", BRANCH)


def test_without_the_setting_nothing_is_signed_and_the_log_says_so(
    tmp_path: Path, repository: Repository, key: Path
) -> None:
    with runner_with(tmp_path, says(RIGHT)) as (runner, _):
        result = runner.run(task(repository))

    assert result.success, result.error
    assert "gpgsig" not in git(repository.path, "cat-file", "commit", BRANCH)
    assert any("git.sign is off" in line for line in runner.execution_logs)


def test_key_that_cannot_sign_ends_the_task_before_the_model_is_asked(
    tmp_path: Path, repository: Repository, home: Path
) -> None:
    _settings(home, home / "nowhere")
    with runner_with(tmp_path, coding.fixing, git_sign=True) as (runner, model):
        result = runner.run(task(repository))

    assert (result.success, result.error_type) == (False, "WorkspacePreparationError")
    assert "git.sign" in str(result.error)
    assert model.requests == []
    assert BRANCH not in repository.branches
