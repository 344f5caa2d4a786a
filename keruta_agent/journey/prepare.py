"""Prepares a run: what is executed, where, and with which environment."""

from __future__ import annotations

import fnmatch
import logging
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from keruta_agent import errors
from keruta_agent.journey import coding, collect, limits, workspace
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.hooks import Hooks
from keruta_agent.journey.section import Section
from keruta_agent.model import Script
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Run
from keruta_agent.runs import memory, script_text
from keruta_agent.runs.directory import MARKER_VARIABLE, About, RunDirectory
from keruta_agent.runs.interpreter import interpreter
from keruta_agent.runs.launch import LaunchPlan, Stdin
from keruta_agent.settings.schema import Settings, shown
from keruta_agent.workspace.checkout import Place

logger = logging.getLogger(__name__)

#: Variables of the agent's own environment that scripts may see. A list, not everything: the
#: agent's environment holds its API token and whatever else the workspace keeps there.
PASSED_VARIABLES: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "HOSTNAME", "TERM", "TZ", "TMPDIR"),
    *("LANG", "LANGUAGE", "LC_*", "XDG_*", "COLORTERM", "NO_COLOR", "EDITOR", "PAGER"),
    *("SSH_AUTH_SOCK", "GIT_ASKPASS", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_AUTHOR_*"),
    *("GIT_COMMITTER_*", "CODER_WORKSPACE_*", "CODER_URL", "CODER_AGENT_URL"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "NODE_EXTRA_CA_CERTS",
    *("VIRTUAL_ENV", "CONDA_PREFIX", "PYENV_ROOT", "NVM_DIR", "JAVA_HOME", "GOPATH", "GOROOT"),
    *("CARGO_HOME", "RUSTUP_HOME", "PNPM_HOME", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH"),
)

#: What a name may hold when it becomes a directory's name.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
#: Characters of a session's id that its directory's name keeps.
_LONGEST_NAME: Final = 100


def passed_environment(
    environment: Mapping[str, str], more_patterns: Iterable[str] = ()
) -> dict[str, str]:
    """Returns the variables that scripts may see."""
    patterns = (*PASSED_VARIABLES, *more_patterns)
    return {
        name: value
        for name, value in environment.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def plan(agent: Agent, job: Job, run: Run, script: Script) -> LaunchPlan:
    """Fills the run directory and returns how the script is to be started.

    Raises:
        RunError: there is nothing to execute, or no place for it.
    """
    limits.timeout_s(job, agent.settings)  # refuses nonsense before anything is started
    limits.input_timeout_s(job, agent.settings)
    directory = agent.directory_of(run)
    directory.create()
    directory.write_about(_about(job, run))
    agent.redaction.keep(agent.records.jobs.get(job.id) or job, directory)
    is_coding = coding.is_wanted(agent.settings, script)
    section = Section(agent, job, run)
    command = [] if is_coding else _command(directory, job, script, section)
    place = workspace.prepare(agent, job, run, section)
    working_directory = _working_directory(agent, job) if place is None else place.directory
    artifacts_dir = collect.prepare_directory(agent, run, working_directory)
    environment = _environment(agent, job, run, script, artifacts_dir, place)
    if place is not None:
        Hooks(
            agent=agent,
            job=job,
            run=run,
            place=place,
            environment=environment,
            section=section,
        ).before()
    collect.remember_before(directory, artifacts_dir)
    memory.remember_before(directory)
    if is_coding:
        command = coding.command(directory, job, script, working_directory)
        environment = {**environment, **coding.variables(agent.settings)}
    return LaunchPlan(
        directory=directory,
        command=command,
        working_directory=working_directory,
        environment=environment,
        grace_s=agent.settings.stop_grace_s,
        stdin=_stdin(agent, job),
    )


def _stdin(agent: Agent, job: Job) -> Stdin:
    """Returns what the script gets as its standard input.

    Raises:
        RunError: the task says neither yes nor no to a terminal.
    """
    wants_terminal = job.work.parameters.get("tty", False)
    if not isinstance(wants_terminal, bool):
        raise errors.RunError(
            "parameters.tty of the task makes no sense", advice="Write true or false"
        )
    if wants_terminal:
        return "terminal"
    return "fifo" if agent.settings.auto_detect_input else "none"


def hook_variables(agent: Agent, job: Job, run: Run, place: Place) -> dict[str, str]:
    """Returns the environment of what runs after a script: what the script itself saw."""
    script = Script(content=job.work.script, parameters=job.work.parameters)
    artifacts_dir = collect.prepare_directory(agent, run, place.directory)
    return _environment(agent, job, run, script, artifacts_dir, place)


def _about(job: Job, run: Run) -> About:
    return About(
        uid=run.uid,
        number=run.number,
        job_id=job.id,
        filed_at=job.filed_at,
        task_id=job.task_id,
        session_id=job.session_id,
        name=job.name,
        priority=job.priority,
    )


def read_script(agent: Agent, job: Job) -> Script:
    """Asks the API for the task's script as it is now; what the task list said is the fallback.

    Raises:
        RunError: neither of them is there.
    """
    recorded = Script(content=job.work.script, parameters=job.work.parameters)
    if job.task_id is None or agent.api is None:
        return recorded
    try:
        return agent.api.script(job.task_id)
    except errors.ApiError as exc:
        if not recorded.content.strip():
            raise errors.RunError(f"cannot read the script of task {job.task_id}: {exc}") from exc
        logger.warning(
            "runs the script of task %s as it was filed, because it cannot be read now: %s",
            job.task_id,
            exc,
            extra={"action": "script_unread", "task": job.task_id, "job": job.id},
        )
        return recorded


def _command(directory: RunDirectory, job: Job, script: Script, section: Section) -> list[str]:
    if job.work.command:
        command = list(job.work.command)
        if all(_is_text(argument) for argument in command):
            return command
        # The library that starts processes takes text only; a shell script may hold any bytes.
        return ["/bin/sh", str(directory.write_script(f"exec {shlex.join(command)}\n"))]
    if not script.content.strip():
        raise errors.RunError(
            "the task has no script", advice="Give it one: an empty task has nothing to succeed at"
        )
    meant = script_text.as_meant(script.content)
    for note in meant.notes:
        section.say(note)
    path = directory.write_script(meant.text)
    return [*interpreter(meant.text), str(path)]


def _is_text(argument: str) -> bool:
    """Tells whether an argument is text, not bytes in another encoding (PEP 383)."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _working_directory(agent: Agent, job: Job) -> Path:
    if job.work.directory is not None:
        chosen = Path(job.work.directory)
        if not chosen.is_dir():
            raise errors.RunError(f"the directory {chosen} is gone")
        return chosen
    chosen = agent.settings.working_dir or (
        agent.settings.base_dir
        / "work"
        / (_UNSAFE.sub("_", job.session_id).strip(".")[:_LONGEST_NAME] or "adhoc")
    )
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise errors.RunError(f"cannot use the working directory {chosen}: {exc.strerror}") from exc
    return chosen


def _environment(
    agent: Agent, job: Job, run: Run, script: Script, artifacts_dir: Path, place: Place | None
) -> dict[str, str]:
    environment = passed_environment(os.environ, agent.settings.pass_environment)
    environment.update(_where_we_are(agent.settings))
    if place is not None:
        environment.update(workspace.variables(agent, place, environment))
    environment.update(job.work.environment)
    environment.update(_for_auto_fix(job))
    environment.update(_checked(script.environment))
    path = environment.get("PATH", os.defpath)
    environment.update(
        {
            "PATH": f"{agent.command_dir}{os.pathsep}{path}",
            "KERUTA_TASK_ID": job.task_id or "",
            "KERUTA_SESSION_ID": job.session_id,
            "KERUTA_JOB_ID": str(job.id),
            "KERUTA_RUN_NUMBER": str(run.number),
            "KERUTA_SOCKET": str(agent.socket_path),
            "KERUTA_RUN_TOKEN": run.token,
            "KERUTA_RUN_DIR": str(agent.directory_of(run).path),
            "KERUTA_ARTIFACTS_DIR": str(artifacts_dir),
            "KERUTA_MAX_FILE_SIZE": f"{agent.settings.artifacts_max_size}B",
            MARKER_VARIABLE: run.uid,
            # Output goes to files now; without this, Python scripts would show nothing for long.
            "PYTHONUNBUFFERED": environment.get("PYTHONUNBUFFERED", "1"),
        }
    )
    return environment


def _where_we_are(settings: Settings) -> dict[str, str]:
    """Returns what keruta's own commands need to find this agent and its API, and no other."""
    found = {"KERUTA_BASE_DIR": str(settings.base_dir)}
    if settings.api_url is not None and settings.api_url == shown(settings)["api_url"]:
        found["KERUTA_API_URL"] = settings.api_url  # else it holds a password
        if settings.api_ca_file is not None:
            found["KERUTA_API_CA_FILE"] = str(settings.api_ca_file)
    return found


def _checked(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Refuses what no environment can hold.

    Raises:
        RunError: a name or a value is impossible.
    """
    for name, value in variables.items():
        if not name or "=" in name or "\0" in name + value:
            raise errors.RunError(
                f"parameters.env of the task holds an impossible variable: {name!r}",
                advice="A name is not empty and has no '='; nothing holds a NUL character",
            )
    return variables


def _for_auto_fix(job: Job) -> dict[str, str]:
    """Tells a script that it runs as the auto-fix of a failed task."""
    parameters = job.work.parameters
    if not parameters.get("autoFix"):
        return {}
    return {
        "KERUTA_AUTO_FIX": "1",
        "KERUTA_FIX_COUNT": str(parameters.get("fixCount", 1)),
        "KERUTA_ORIGINAL_TASK_ID": str(parameters.get("originalTaskId", "")),
        "KERUTA_FIX_ERROR_CODE": str(parameters.get("errorCode", "")),
    }
