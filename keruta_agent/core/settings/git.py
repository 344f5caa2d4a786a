"""Settings of the session's repository, and of what runs around a task in it."""

# ruff: noqa: RUF009 - setting returns a dataclass field, as dataclasses.field does

from __future__ import annotations

import dataclasses
from pathlib import Path

from keruta_agent.core.settings.declaration import DAY_S, setting
from keruta_agent.core.settings.fields import Choice, Hosts, Location, Secret, Text, YesNo
from keruta_agent.core.units import Duration, Size


@dataclasses.dataclass(frozen=True, kw_only=True)
class GitSettings:
    """The values in force. Seconds end in ``_s``, sizes are bytes, paths are absolute."""

    git_enabled: bool = setting(
        YesNo(),
        key="git.enabled",
        environment=("KERUTA_GIT_ENABLED",),
        default=True,
        help="Whether tasks work in the session's repository, if it names one.",
    )
    git_token: str | None = setting(
        Secret(),
        environment=("GIT_TOKEN",),
        secret=True,
        help="Token for the session's repository over https; see git.token_hosts.",
    )
    git_token_hosts: tuple[str, ...] = setting(
        Hosts(),
        key="git.token_hosts",
        environment=("KERUTA_GIT_TOKEN_HOSTS",),
        default=(),
        help="Hosts that GIT_TOKEN is for, such as git.example.org or http://localhost:3000; "
        "left out: the one of github.com, gitlab.com and bitbucket.org that it is from.",
    )
    git_username: str = setting(
        Text(),
        key="git.username",
        environment=("KERUTA_GIT_USERNAME",),
        default="x-access-token",
        help="User name that goes with GIT_TOKEN.",
    )
    git_timeout_s: float = setting(
        Duration(minimum_s=0.1, maximum_s=DAY_S),
        key="git.timeout",
        environment=("KERUTA_GIT_TIMEOUT",),
        default="10m",
        help="How long one git command may take.",
    )
    git_partial_clone: bool = setting(
        YesNo(),
        key="git.partial_clone",
        environment=("KERUTA_GIT_PARTIAL_CLONE",),
        default=False,
        help="Whether clones fetch old files only when they are needed: for large repositories.",
    )
    git_mirrors: Path | None = setting(
        Location(),
        key="git.mirrors",
        environment=("KERUTA_GIT_MIRRORS",),
        help="Directory of mirrors that the clones of several workspaces are made from.",
    )
    git_rerun: str = setting(
        Choice("continue", "restart"),
        key="git.rerun",
        environment=("KERUTA_GIT_RERUN",),
        default="continue",
        help="Whether a task that runs again continues on its branch, or restarts it.",
    )
    git_disable_auto_push: bool = setting(
        YesNo(),
        key="git.disable_auto_push",
        environment=("KERUTA_DISABLE_AUTO_PUSH",),
        default=False,
        help="Whether what a task changed is committed only, and not pushed.",
    )
    git_force_push: bool = setting(
        YesNo(),
        key="git.force_push",
        environment=("KERUTA_FORCE_PUSH",),
        default=False,
        help="Whether a push may overwrite what the agent itself pushed to the task's branch.",
    )
    git_require_push: bool = setting(
        YesNo(),
        key="git.require_push",
        environment=("KERUTA_GIT_REQUIRE_PUSH",),
        default=False,
        help="Whether a task fails when what it changed cannot be committed and pushed.",
    )
    git_sign: bool = setting(
        YesNo(),
        key="git.sign",
        environment=("KERUTA_GIT_SIGN",),
        default=False,
        help="Whether the agent's commits are signed, with the key that git is set up with.",
    )
    git_run_hooks: bool = setting(
        YesNo(),
        key="git.run_hooks",
        environment=("KERUTA_GIT_RUN_HOOKS",),
        default=False,
        help="Whether the repository's own hooks run around the agent's commits and pushes, like "
        "scripts, without its credentials.",
    )
    git_on_failure: str = setting(
        Choice("keep", "stash", "push"),
        key="git.on_failure",
        environment=("KERUTA_GIT_ON_FAILURE",),
        default="stash",
        help="What becomes of a failed task's changes: keep them until the next task, stash them, "
        "or push them to a branch whose name ends in -failed.",
    )
    git_max_file_size: int = setting(
        Size(),
        key="git.max_file_size",
        environment=("KERUTA_GIT_MAX_FILE_SIZE",),
        environment_unit="MB",
        default="50MB",
        help="Largest file that is committed; a bare number in the variable means MB.",
    )
    pre_task_hook: Path | None = setting(
        Location(),
        key="hooks.pre_task",
        environment=("KERUTA_PRE_TASK_HOOK",),
        help="Program that runs in the repository before each task's script.",
    )
    post_task_hook: Path | None = setting(
        Location(),
        key="hooks.post_task",
        environment=("KERUTA_POST_TASK_HOOK",),
        help="Program that runs in the repository after each task's script, before the commit.",
    )
    keep_awake_hook: Path | None = setting(
        Location(),
        key="hooks.keep_awake",
        environment=("KERUTA_KEEP_AWAKE_HOOK",),
        help="Program that tells the workspace that it is in use; run now and then while a script "
        "runs and does not wait for a person.",
    )
    keep_awake_interval_s: float = setting(
        Duration(minimum_s=1.0, maximum_s=DAY_S),
        key="hooks.keep_awake_interval",
        environment=("KERUTA_KEEP_AWAKE_INTERVAL",),
        default="10m",
        help="Time from one run of the keep-awake hook to the next.",
    )
    hook_timeout_s: float = setting(
        Duration(minimum_s=0.1, maximum_s=DAY_S),
        key="hooks.timeout",
        environment=("KERUTA_HOOK_TIMEOUT",),
        default="10m",
        help="How long a hook, or the repository's .keruta/install.sh, may take.",
    )
