"""The tests of the repository in a run: what they may use, and what they must not change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.coding import (
    BRANCH,
    RIGHT,
    TESTS,
    runner_with,
    says,
    task,
)
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import Around


def test_tests_that_change_git_are_refused(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    poison = f"git config core.fsmonitor 'touch {tmp_path}/pwned'; true"
    with runner_with(tmp_path, says(RIGHT), around) as (runner, _):
        result = runner.run(task(repository, test_commands=[poison]))

    assert (result.success, result.error_type) == (False, "SecurityError")
    assert not (tmp_path / "pwned").exists()
    assert BRANCH not in repository.branches


@pytest.mark.parametrize("place", [".gitconfig", ".config/git/config", ".config/git/attributes"])
def test_tests_that_change_the_users_git_are_refused(
    tmp_path: Path,
    repository: Repository,
    around: Around,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    users = tmp_path / "users-home"
    (users / ".config" / "git").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(users))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    poison = f"echo '* filter=x' >> {users / place}"
    with runner_with(tmp_path, says(RIGHT), around) as (runner, _):
        result = runner.run(task(repository, test_commands=[poison]))

    assert (result.success, result.error_type) == (False, "SecurityError")
    assert str(users / place) in str(result.error)
    assert BRANCH not in repository.branches


def test_tests_have_a_home_of_their_own_with_the_users_name_and_tools(
    tmp_path: Path, repository: Repository, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users-home"
    (users / ".cargo").mkdir(parents=True)
    (users / ".gitconfig").write_text('[user]\n\tname = 花子\n[filter "x"]\n\tclean = false\n')
    monkeypatch.setenv("HOME", str(users))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(users / ".config"))
    monkeypatch.delenv("CARGO_HOME", raising=False)
    before = (users / ".gitconfig").read_text()
    commands = [
        "git config --global core.fsmonitor false && echo x > ~/.profile && touch ~/.netrc",
        f'test "$CARGO_HOME" = {users}/.cargo && test "$(git config user.name)" = 花子',
        '! git config filter.x.clean && test -z "$XDG_CONFIG_HOME"',
        TESTS,
    ]
    with runner_with(tmp_path, says(RIGHT), around) as (runner, _):
        result = runner.run(task(repository, test_commands=commands))

    assert result.success, result.error
    assert sorted(path.name for path in users.iterdir()) == [".cargo", ".gitconfig"]
    assert (users / ".gitconfig").read_text() == before


@pytest.mark.parametrize(
    "deed", ["rm -rf .git", 'cd .. && rm -rf "$OLDPWD"', "mv .git g && echo gitdir: g > .git"]
)
def test_tests_that_remove_the_repository_are_refused_and_what_they_said_is_kept(
    tmp_path: Path, repository: Repository, around: Around, deed: str
) -> None:
    with runner_with(tmp_path, says(RIGHT), around) as (runner, _):
        result = runner.run(task(repository, test_commands=[f"echo 証拠; {deed}"]))

    assert (result.success, result.error_type) == (False, "SecurityError")
    assert "removed the repository" in str(result.error)
    kept = [around.store.download_text(artifact.uri) for artifact in result.artifacts]
    assert len([text for text in kept if "証拠" in text]) == 2  # test results and log
