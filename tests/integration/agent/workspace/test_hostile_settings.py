"""What a task can write for git to read, and that the agent's own git does not act upon it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import commit, push
from keruta_agent.agent.workspace.commit import Message
from keruta_agent.agent.workspace.push import Target
from keruta_agent.git import clone, url, work_tree
from keruta_agent.git.command import Git
from keruta_agent.git.config import user as user_config
from tests.helpers.git_http import PASSWORD, USER, GitHttpServer, git_http_server
from tests.helpers.repositories import Repository, git
from tests.integration.agent.workspace.conftest import BRANCH, LIMITS, SESSION, TASK, Worker


@pytest.fixture
def server(repository: Repository) -> Iterator[GitHttpServer]:
    with git_http_server(repository.path.parent) as server:
        git(repository.path, "config", "http.receivepack", "true")
        yield server


@pytest.fixture
def worker(tmp_path: Path, server: GitHttpServer, repository: Repository) -> Worker:
    worker = Worker(tmp_path / "w" / "clone", server.url(repository), token=PASSWORD)
    worker.prepare()
    return worker


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A program that notes that it was run, and every credential that it can reach."""
    program = tmp_path / "trap"
    loot = tmp_path / "loot"
    program.write_text(
        f"#!/bin/sh\nexec >> {loot}\necho $0 ran\n"
        "for fd in /proc/self/fd/*; do readlink $fd | grep keruta-cred && cat $fd; done\n"
    )
    program.chmod(0o755)
    return program


def loot_of(trap: Path) -> str:
    loot = trap.with_name("loot")
    return loot.read_text() if loot.exists() else ""


def deliver(worker: Worker) -> str:
    """Commit and push what lies in the work tree, and prepares for the next task."""
    (worker.directory / "new.txt").write_text("new\n")
    message = Message(name="work", task_id=TASK, session_id=SESSION, run_uid="work")
    commit.commit_all(worker.open(), worker.place, message, LIMITS, worker.said.append)
    target = Target(branch=BRANCH, protected=frozenset({"main"}))
    pushed = push.push(worker.open(), target, LIMITS, worker.said.append)
    worker.prepare()
    return pushed


#: Together, as far as one does not keep git from coming to another. Each trap is a program of its
#: own: what it notes names it.
TRAPS = {
    "at work": {
        "filter": ["filter.t.clean={}", "filter.t.smudge={}", "filter.t.required=true"],
        "process filter": ["filter.p.process={}"],
        "file-system-monitor": ["core.fsmonitor={}"],
        "hooks-elsewhere": ["core.hooksPath=hooks-of-the-task"],
        "proxy-command": ["core.gitProxy={}", "core.sshCommand={}"],
        "credential-helper": ["credential.helper=!{}", "core.askPass={}"],
        "helper-of-the-host": ["credential.http://127.0.0.1.helper=!{}"],
        "external-diff": ["diff.external={}", "diff.t.command={}", "diff.t.textconv={}"],
        "merge-driver": ["merge.t.driver={}", "merge.default=t"],
        "signing": ["gpg.program={}", "commit.gpgSign=true", "push.gpgSign=true"],
        "pack-program": ["remote.origin.receivepack={}", "remote.origin.uploadpack={}"],
        "signatures": ["log.showSignature=true", "gpg.ssh.program={}"],
        "clean-up": ["gc.recentObjectsHook={}", "gc.auto=1"],
    },
    "elsewhere": {
        "another-server": ["url.ext::{}.insteadOf=http://", "protocol.ext.allow=always"],
        "included-file": ["include.path=included-by-a-task"],
    },
}


@pytest.mark.parametrize("traps", TRAPS.values(), ids=TRAPS.keys())
@pytest.mark.parametrize("place", ["clone", "home", "xdg"])
def test_program_that_a_task_names_is_not_run(
    worker: Worker, trap: Path, repository: Repository, traps: dict[str, list[str]], place: str
) -> None:
    attributes = "* filter=t diff=t merge=t\n*.txt filter=p\n"
    (worker.directory / ".git" / "info" / "attributes").write_text(attributes)
    (worker.directory / ".git" / "included-by-a-task").write_text(
        f'[filter "t"]\n\tclean = {trap}\n\tsmudge = {trap}\n'
    )
    hooks = worker.directory / "hooks-of-the-task"
    hooks.mkdir()
    (hooks / "pre-push").symlink_to(trap)
    home = Path(os.environ["HOME"])
    file = {
        "clone": worker.directory / ".git" / "config",
        "home": home / ".gitconfig",
        "xdg": home / ".config" / "git" / "config",
    }[place]
    file.parent.mkdir(parents=True, exist_ok=True)
    for name, settings in traps.items():
        program = trap.with_name(f"trap-{name.replace(' ', '-')}")
        program.write_bytes(trap.read_bytes())
        program.chmod(0o755)
        for setting in settings:
            key, value = setting.format(program).split("=")
            git(worker.directory, "config", "--file", str(file), "--add", key, value)

    pushed = deliver(worker)

    assert loot_of(trap) == ""
    assert repository.branches[BRANCH] == pushed


def test_token_is_not_sent_to_a_place_that_a_task_puts_before_the_server(
    worker: Worker, repository: Repository, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(repository.path), str(elsewhere))
    config = worker.directory / ".git" / "config"
    config.write_text(
        f'[remote "origin"]\n\turl = {elsewhere}\n\tpushurl = {elsewhere}\n'
        f'[url "{elsewhere}"]\n\tinsteadOf = {worker.url.address}\n'
    )
    pushed = deliver(worker)
    assert repository.branches[BRANCH] == pushed
    assert BRANCH not in Repository(elsewhere).branches


def test_what_a_task_sets_for_people_stays(worker: Worker) -> None:
    harmless = {
        "user.name": "花子",
        "branch.x.merge": "refs/heads/x",
        "branch.x.vscode-merge-base": "origin/main",
        "core.autocrlf": "input",
        "merge.conflictStyle": "diff3",
        "push.default": "current",
    }
    for key, value in harmless.items():
        git(worker.directory, "config", key, value)
    git(worker.directory, "config", "alias.x", "!true")
    git(worker.directory, "config", "branch.x.mergeOptions", "-s x")
    worker.open()
    for key, value in harmless.items():
        assert git(worker.directory, "config", "--get", key) == value
    left = (worker.directory / ".git" / "config").read_text()
    assert "alias" not in left
    assert "mergeoptions" not in left.lower()


def test_mere_look_runs_no_filter_and_changes_nothing(worker: Worker, trap: Path) -> None:
    (worker.directory / ".git" / "info" / "attributes").write_text("* filter=t\n")
    git(worker.directory, "config", "filter.t.clean", str(trap))
    git(worker.directory, "config", "filter.t.required", "true")
    before = (worker.directory / ".git" / "config").read_bytes()
    (worker.directory / "README.md").write_text("# A PROJECT\n")
    found = clone.open_existing(worker.git(), worker.url, is_mere_look=True)
    assert [change.path for change in work_tree.look(found.git).changes] == ["README.md"]
    assert loot_of(trap) == ""
    assert (worker.directory / ".git" / "config").read_bytes() == before


def test_submodules_settings_are_settled_too(worker: Worker, trap: Path) -> None:
    module = worker.directory / ".git" / "modules" / "libs" / "inner"
    git(worker.directory, "init", "--quiet", "--bare", str(module))
    git(module, "config", "filter.t.clean", str(trap))
    git(module, "config", "core.worktree", str(worker.directory.parent))
    worker.open()
    text = (module / "config").read_text()
    assert "filter" not in text
    assert "worktree" not in text


def test_repository_whose_settings_are_said_to_be_elsewhere(worker: Worker, trap: Path) -> None:
    other = worker.directory.parent / "other"
    git(worker.directory, "init", "--quiet", "--bare", str(other))
    git(other, "config", "core.fsmonitor", str(trap))
    (worker.directory / ".git" / "commondir").write_text(str(other))
    worker.open()
    assert not (worker.directory / ".git" / "commondir").exists()


def test_persons_own_settings_act_and_what_a_task_adds_does_not(
    tmp_path: Path,
    server: GitHttpServer,
    repository: Repository,
    trap: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    person = tmp_path / "person"
    git(tmp_path, "clone", "--quiet", str(repository.path), str(person))
    git(person, "remote", "set-url", "origin", server.url(repository))
    git(person, "config", "filter.mine.clean", "sed s/private/public/")
    (person / ".git" / "info" / "attributes").write_text("new.txt filter=mine\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "read-from-now-on"))
    worker = Worker(person, server.url(repository), token=PASSWORD)
    worker.prepare()
    git(person, "config", "filter.theirs.clean", str(trap))
    git(person, "config", "--add", "remote.origin.url", str(tmp_path / "elsewhere"))
    with (person / ".git" / "info" / "attributes").open("a") as file:
        file.write("other.txt filter=theirs\n")
    (person / "new.txt").write_text("private\n")
    (person / "other.txt").write_text("other\n")
    message = Message(name="work", task_id=TASK, session_id=SESSION, run_uid="work")
    commit.commit_all(worker.open(), worker.place, message, LIMITS, worker.said.append)
    assert git(person, "show", "HEAD:new.txt") == "public"
    assert loot_of(trap) == ""
    assert git(person, "config", "--get-all", "remote.origin.url") == server.url(repository)
    assert "theirs" in (person / ".git" / "config.before-keruta").read_text()


def test_users_settings_with_what_they_include_act_as_they_were_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "other-home"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    repository = home / "work" / "project"
    git(home, "init", "--quiet", str(repository))
    (home / ".gitconfig").write_text(
        '[user]\n\tname = "Hanako \\"H\\" \\\\"\n[include]\n\tpath = more\n'
        '[includeIf "gitdir:~/work/"]\n\tpath = ~/at-work\n'
        '[includeIf "gitdir:./elsewhere/"]\n\tpath = never\n[broken'
    )
    (home / "more").write_text("[include]\n\tpath = more\n[a]\n\tb = 1\n")
    (home / "at-work").write_text("[user]\n\temail = work@example.org\n")
    assert user_config.current().problems  # a broken file stops nothing
    (home / ".gitconfig").write_text((home / ".gitconfig").read_text().removesuffix("[broken"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "read-from-now-on"))

    its = Git(repository, timeout_s=20)
    (home / "at-work").write_text("[user]\n\temail = task@example.org\n")

    assert its.find("config", "user.name") == 'Hanako "H" \\'
    assert its.find("config", "user.email") == "work@example.org"
    assert its.find("config", "a.b") == "1"
    assert [Path(name).name for name in user_config.tell_changes()] == ["at-work"]
    assert user_config.tell_changes() == []


def test_users_url_and_helper_go_on_to_work(
    tmp_path: Path,
    server: GitHttpServer,
    repository: Repository,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(os.environ["HOME"], ".gitconfig").write_text(
        f'[url "http://{server.host}/"]\n\tinsteadOf = http://git.example.org/\n'
        f'[credential]\n\thelper = "!f() {{ echo username={USER}; echo password=$OF_USER; }}; f"\n'
    )
    monkeypatch.setenv("OF_USER", PASSWORD)
    worker = Worker(tmp_path / "w" / "clone", f"http://git.example.org/{repository.path.name}")
    assert worker.prepare().base == repository.branches["main"]


def test_agents_environment_is_for_commands_that_reach_a_server(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OF_THE_AGENT", "not-for-scripts")
    shows = "alias.x=!env"
    at_server = worker.git().text("-c", shows, "x", action="show")
    assert "not-for-scripts" not in at_server
    home = Git(worker.directory, timeout_s=20, url=url.parse(str(worker.directory)))
    assert "not-for-scripts" not in home.text("-c", shows, "x", action="show")


def test_directory_without_a_repository_is_not_its_parents(worker: Worker) -> None:
    inner = worker.directory / "inner"
    inner.mkdir()
    assert Git(inner, timeout_s=20).find("rev-parse", "--show-toplevel") is None


@pytest.mark.parametrize("name", ["", " ", ".", "<>"])
def test_name_that_git_refuses_stops_no_commit(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, repository: Repository, name: str
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", name)
    monkeypatch.setenv("GIT_COMMITTER_EMAIL", name)
    git(worker.directory, "config", "user.name", name)
    deliver(worker)
    assert git(repository.path, "log", "-1", "--format=%an", BRANCH) == "keruta-agent"


def test_settings_that_would_stop_a_commit_do_not(
    tmp_path: Path, server: GitHttpServer, repository: Repository
) -> None:
    Path(os.environ["HOME"], ".gitconfig").write_text(
        "[core]\n\tsafecrlf = true\n\tautocrlf = input\n\tuntrackedCache = true\n"
        "[diff]\n\torderFile = /nowhere\n[safe]\n\tbareRepository = explicit\n"
        "[commit]\n\tgpgSign = true\n\ttemplate = /nowhere\n[push]\n\tgpgSign = true\n"
        "[user]\n\tsigningKey = nobody\n"
    )
    worker = Worker(tmp_path / "w" / "clone", server.url(repository), token=PASSWORD)
    worker.prepare()
    (worker.directory / "crlf.txt").write_bytes(b"a\r\nb\n")
    pushed = deliver(worker)
    assert repository.branches[BRANCH] == pushed
