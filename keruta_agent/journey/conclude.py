"""Brings back what a task changed in its repository: commit, push, and what a failure left.

It can be cut off anywhere and is done again from the beginning: what is committed is not committed
twice, and a push of what is there already changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from keruta_agent import errors
from keruta_agent.journey import announce, hooks, prepare, workspace
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.section import Section
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Ending, Outcome, Run
from keruta_agent.workspace import branch as branches
from keruta_agent.workspace import clone, commit, push, repair, tree
from keruta_agent.workspace.checkout import Place
from keruta_agent.workspace.clone import Clone
from keruta_agent.workspace.commit import Message
from keruta_agent.workspace.push import Target
from keruta_agent.workspace.scan import Limits

#: Ends after which nobody waits for the network any more.
_STOPPED = frozenset({Outcome.CANCELLED, Outcome.AGENT_STOPPED, Outcome.REFUSED})


def conclude(agent: Agent, job: Job, run: Run, ending: Ending) -> Ending:
    """Takes the changes of a run home and returns its end with what became of them."""
    place = workspace.place_of(agent, run)
    if place is None:
        return ending
    workspace.end_left_over(run)
    current = agent.jobs.get(job.id) or job
    heeded = current.stop_kind if ending.outcome is not Outcome.SUCCEEDED else None
    section = Section(agent, job, run, heeded)
    succeeded = ending.outcome is Outcome.SUCCEEDED
    try:
        _run_hook(agent, job, run, place, ending, section)
        if succeeded:
            return _told(ending, _deliver(agent, job, run, ending, place, section))
        return _told(ending, _keep_evidence(agent, job, run, ending, place, section))
    except announce.NotWantedError as exc:
        return _failed(agent, ending, f"stopped before its changes were taken: {exc}", section)
    except errors.WorkspaceError as exc:
        return _failed(agent, ending, str(exc), section)
    finally:
        section.look(final=True)


def _told(ending: Ending, what: str) -> Ending:
    if not what:
        return ending
    message = f"{ending.message} ({what})" if ending.message else what[:1].upper() + what[1:]
    return dataclasses.replace(ending, message=message)


def _failed(agent: Agent, ending: Ending, why: str, section: Section) -> Ending:
    """Reports that changes could not be taken home; by setting the task fails of it."""
    section.say(why, "ERROR")
    ending = _told(ending, f"its changes were not pushed: {why}")
    if ending.outcome is Outcome.SUCCEEDED and agent.settings.git_require_push:
        return dataclasses.replace(ending, outcome=Outcome.NOT_PUSHED)
    return ending


def _run_hook(
    agent: Agent, job: Job, run: Run, place: Place, ending: Ending, section: Section
) -> None:
    if agent.settings.post_task_hook is None or ending.outcome in _STOPPED:
        return
    outcome = {
        "KERUTA_OUTCOME": ending.outcome.value,
        "KERUTA_EXIT_CODE": "" if ending.exit_code is None else str(ending.exit_code),
    }
    environment = {**prepare.hook_variables(agent, job, run, place), **outcome}
    try:
        hooks.after(agent, job, run, place, environment, section)
    except errors.WorkspaceError as exc:
        section.say(str(exc), "WARN")


def _deliver(
    agent: Agent, job: Job, run: Run, ending: Ending, place: Place, section: Section
) -> str:
    """Commits and pushes what a successful run changed; returns what was done, in words."""
    with clone.locked(place.directory, agent.settings.git_timeout_s):
        found = _open(agent, job, run, place, section)
        pushed = push.by_runner(found)
        if pushed is not None:
            return _note(section, *pushed, commit.diff_stat(found, place), "pushed {} to {}")
        message = _message(agent, job, run, ending)
        commit.commit_all(found, place, message, _limits(agent, run), section.say)
        tip = found.git.find("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if tip is None or tip in (place.base, place.pushed):
            section.say("nothing was changed")
            return ""
        stat = commit.diff_stat(found, place)
        if agent.settings.git_disable_auto_push:
            return _note(section, place.branch, tip, stat, "committed {} on {}, not pushed")
        tip = push.push(found, _target(agent, place), _limits(agent, run), section.say)
        if found.is_ours:
            repair.keep_house(found.git)
        return _note(section, place.branch, tip, stat, "pushed {} to {}")


def _keep_evidence(
    agent: Agent, job: Job, run: Run, ending: Ending, place: Place, section: Section
) -> str:
    """Does with a failed run's changes what the settings say; returns that in words."""
    wish = agent.settings.git_on_failure
    if wish == "keep":
        return ""
    with clone.locked(place.directory, agent.settings.git_timeout_s):
        found = _open(agent, job, run, place, section)
        branch = branches.failed_name(place.branch)
        if wish == "push" and ending.outcome not in _STOPPED:
            failed = dataclasses.replace(place, branch=branch)
            found.git.run(
                *("checkout", "--quiet", "--no-track", "-B", branch), action=f"begin {branch}"
            )
            message = _message(agent, job, run, ending)
            commit.commit_all(found, failed, message, _limits(agent, run), section.say)
            tip = found.git.text("rev-parse", "HEAD", action="find the commit")
            if tip in (place.base, place.start):
                return ""
            stat = commit.diff_stat(found, failed)
            target = dataclasses.replace(_target(agent, place), branch=branch, force=True)
            tip = push.push(found, target, _limits(agent, run), section.say)
            return _note(section, branch, tip, stat, "pushed what it left {} to {}")
        ref = tree.set_aside(
            found, f"failed/{place.branch}/{run.uid}", f"left by a failed run of task {job.task_id}"
        )
        if ref is None:
            return ""
        section.say(f"set aside what the run left: git stash apply {ref}", fields={"ref": ref})
        return f"what it left is in {ref}"


def _open(agent: Agent, job: Job, run: Run, place: Place, section: Section) -> Clone:
    """Opens the clone that the script worked in.

    Raises:
        WorkspaceError: it is gone.
    """
    git_dir = place.directory / ".git"
    if not git_dir.is_dir():
        raise errors.WorkspaceError(f"the repository in {place.directory} is gone")
    repository = workspace.url_with_login(agent, job, place)
    git = workspace.git_for(agent, run, repository, place.directory, section)
    found = clone.open_existing(git, repository)
    if found.is_ours:
        repair.remove_locks(git_dir)
    return found


def _target(agent: Agent, place: Place) -> Target:
    protected = {place.default_branch or "", place.ref, "main", "master"}
    return Target(
        branch=place.branch, protected=frozenset(protected), force=agent.settings.git_force_push
    )


def _limits(agent: Agent, run: Run) -> Limits:
    return Limits(
        largest_file=agent.settings.git_max_file_size,
        holds_secret=agent.redaction.of_run(run.id).knows_secret_in,
    )


def _message(agent: Agent, job: Job, run: Run, ending: Ending) -> Message:
    redact = agent.redaction.of_run(run.id).redact
    return Message(
        name=redact(job.name),
        task_id=job.task_id or "",
        session_id=job.session_id,
        run_uid=run.uid,
        body=redact(ending.message),
    )


def _note(section: Section, branch: str, tip: str, stat: commit.DiffStat, words: str) -> str:
    told = f"{words.format(tip[:12], branch)}: {stat}"
    fields: Mapping[str, Any] = {"branch": branch, "commit": tip, **dataclasses.asdict(stat)}
    section.say(told, fields=fields)
    return told
