"""The session's repository, brought to where a task begins: the clone and the branch.

Where the session names no repository, there is nothing to do, and the task runs as ever.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe.monitor import ProgramMonitor
from keruta_agent.agent.run import processes
from keruta_agent.agent.run.directory import MARKER_VARIABLE
from keruta_agent.agent.run.exit_record import UNPROVED
from keruta_agent.agent.run.files import read_small
from keruta_agent.agent.workspace import checkout, location, recovery
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.agent.workspace.made import MadeClones
from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff
from keruta_agent.core.model import Session
from keruta_agent.core.settings.schema import Settings
from keruta_agent.git import url
from keruta_agent.git.access.credentials import HELPER_NAME, Credentials, GitAccess
from keruta_agent.git.clone import CloneOptions
from keruta_agent.git.command import Git
from keruta_agent.git.commit import fallback_identity
from keruta_agent.git.config import user as user_config
from keruta_agent.git.problems import GitError, Problem
from keruta_agent.git.retry import Retry
from keruta_agent.git.url import RepositoryUrl

#: Where the directory of a run that an older agent started says where the run works.
NOTE: Final = "workspace.json"
#: Attempts to reach the server, and the waits between them.
ATTEMPTS: Final = 3
BACKOFF: Final = Backoff(first_s=1.0, longest_s=3.0, factor=3.0)
#: Seconds between looks whether the job is to stop meanwhile.
LOOK_S: Final = 0.1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Repository:
    """The repository of a session."""

    url: RepositoryUrl
    ref: str


def remember(agent: Agent, session: Session) -> None:
    """Store which repository a session names, for when the API cannot be asked."""
    address = url.without_secrets(session.repository_url) if session.repository_url else ""
    agent.records.repositories.remember(session.id, address, session.repository_ref or "")


def repository_of(ctx: RunContext) -> Repository | None:
    """Return the repository in which a job is to work, None for none.

    Raises:
        WorkspaceError: the session names something that is none.
    """
    agent, job = ctx.agent, ctx.job
    if job.task_id is None or not job.session_id or not agent.settings.git_enabled:
        return None
    if agent.records.repositories.of(job.session_id) == ("", ""):
        return None  # as the poll saw it that brought the task
    try:
        session = None if agent.api is None else agent.api.session(job.session_id)
    except errors.ApiError:
        session = None
    if session is not None:
        remember(agent, session)
        address, ref = session.repository_url or "", session.repository_ref or ""
    else:
        address, ref = agent.records.repositories.of(job.session_id) or ("", "")
    return Repository(url=url.parse(address), ref=ref) if address.strip() else None


def directory_for(settings: Settings, repository: RepositoryUrl) -> Path:
    """Return where the clone of a repository is, or is to be."""
    if settings.working_dir is not None:
        return settings.working_dir
    own = Path("~/.keruta").expanduser()
    parent = Path("~/keruta").expanduser() if settings.base_dir == own else settings.base_dir
    return location.choose(parent, repository, made_clones(settings))


def made_clones(settings: Settings) -> MadeClones:
    """Return the memory of which clones the agent made."""
    return MadeClones(notes=settings.base_dir / "clones")


def prepare(ctx: RunContext) -> Place | None:
    """Bring the repository to where the task begins; None when the session has none.

    Raises:
        WorkspaceError: it cannot be brought.
        JobStoppedError: somebody stopped the job meanwhile.
    """
    repository = repository_of(ctx)
    if repository is None:
        return None
    end_left_over(ctx)
    directory = directory_for(ctx.settings, repository.url)
    for path in user_config.tell_changes():
        ctx.log.say(f"ignores what was changed in {path} since the agent started", "WARN")
    monitor = ProgramMonitor(ctx)
    git = git_for(ctx, repository.url, directory, monitor)
    try:
        place = _bring_with_retries(ctx, repository, git, monitor)
    except GitError as exc:
        raise ctx.stop_error() if exc.problem is Problem.STOPPED else exc from None
    finally:
        monitor.store_log()
    ctx.records.runs.work_in(ctx.run.id, place.to_json())
    ctx.records.journal.add(
        "workspace", ctx.job.id, ctx.run.number, directory=str(directory), branch=place.branch
    )
    return place


def _bring_with_retries(
    ctx: RunContext, repository: Repository, git: Git, monitor: ProgramMonitor
) -> Place:
    """Try again when the server could not be reached, or broke off."""

    def pause(number: int) -> None:
        deadline = time.monotonic() + BACKOFF.delay_s(number + 1)
        while time.monotonic() < deadline:
            if monitor.stop_reason() is not None:
                raise ctx.stop_error()
            time.sleep(LOOK_S)

    retry = Retry(attempts=ATTEMPTS, pause=pause, say=lambda text: ctx.log.say(text, "WARN"))
    place, _ = retry.run(lambda: _bring(ctx, repository, git))
    return place


def _bring(ctx: RunContext, repository: Repository, git: Git) -> Place:
    settings = ctx.settings
    options = CloneOptions(
        is_partial=settings.git_partial_clone,
        mirrors=settings.git_mirrors,
    )
    request = checkout.CheckoutRequest(
        session_id=ctx.job.session_id,
        task_id=ctx.job.task_id or "",
        run_uid=ctx.run.uid,
        ref=repository.ref,
        goes_on=settings.git_rerun == "continue",
        excluded=_artifacts_in(settings, git.directory),
    )
    made = made_clones(settings)
    return recovery.bring(git, repository.url, options, made, request, ctx.log.say)


def _artifacts_in(settings: Settings, directory: Path) -> tuple[str, ...]:
    """Return the directories of artifacts inside of a clone."""
    inside = [".keruta/doc"]
    if settings.artifacts_dir.is_relative_to(directory) and settings.artifacts_dir != directory:
        inside.append(settings.artifacts_dir.relative_to(directory).as_posix())
    return tuple(dict.fromkeys(inside))


def git_for(
    ctx: RunContext, repository: RepositoryUrl, directory: Path, monitor: ProgramMonitor
) -> Git:
    """Return git for a run; it marks its processes as the run's."""
    return Git(
        directory,
        timeout_s=ctx.settings.git_timeout_s,
        url=repository,
        credentials=credentials_for(ctx.agent, repository),
        redactor=ctx.redactor,
        variables={MARKER_VARIABLE: ctx.run.uid},
        stop_reason=monitor.stop_reason,
    )


def credentials_for(agent: Agent, repository: RepositoryUrl) -> Credentials | None:
    """Return what the agent knows of the access to a repository."""
    settings = agent.settings
    access = GitAccess(
        token=settings.git_token,
        username=settings.git_username,
        token_hosts=settings.git_token_hosts,
    )
    return access.credentials(repository)


def end_left_over(ctx: RunContext) -> None:
    """End what an agent that was killed had started for a run: a git, a hook."""
    if processes.marked_processes(ctx.run.uid):
        processes.sweep(ctx.run.uid, 0.0)


def place_of(ctx: RunContext) -> Place | None:
    """Return where a run works; None when it works in no repository."""
    if ctx.run.place is not None:
        return Place.from_json(ctx.run.place)
    if ctx.run.exit_digest != UNPROVED:
        return None
    try:
        text = read_small(ctx.directory.path / NOTE)
        return None if text is None else Place.from_json(text)
    except (OSError, ValueError):  # the script spoilt it
        return None


def url_with_login(ctx: RunContext, place: Place) -> RepositoryUrl:
    """Return a place's address with the login that the API's address holds."""
    stored = url.parse(place.address)
    given = repository_of(ctx)
    return stored if given is None or given.url.address != stored.address else given.url


def variables(agent: Agent, place: Place, passed: Mapping[str, str]) -> dict[str, str]:
    """Return what scripts and hooks learn of where they work.

    They push with GIT_TOKEN only if it is among the variables that they may see.
    """
    git = Git(place.directory, timeout_s=agent.settings.git_timeout_s)
    own = credentials_for(agent, url.parse(place.address)) if "GIT_TOKEN" in passed else None
    return {
        **({} if own is None else own.for_script(agent.command_dir / HELPER_NAME)),
        "KERUTA_WORKING_DIR": str(place.directory),
        "KERUTA_GIT_BRANCH": place.branch,
        "KERUTA_GIT_BASE": place.base or "",
        "KERUTA_GIT_REF": place.ref or place.default_branch or "",
        "KERUTA_GIT_DEFAULT_BRANCH": place.default_branch or "",
        "GIT_TERMINAL_PROMPT": "0",
        **fallback_identity(git),
    }
