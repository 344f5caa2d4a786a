"""The environment of a script, and of the hooks around it."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from keruta_agent.agent.journey import workspace
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run.directory import MARKER_VARIABLE
from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.core import errors
from keruta_agent.core.model import Script
from keruta_agent.core.settings.schema import Settings, shown

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


def passed_environment(
    environment: Mapping[str, str], more_patterns: Iterable[str] = ()
) -> dict[str, str]:
    """Return the variables that scripts may see."""
    patterns = (*PASSED_VARIABLES, *more_patterns)
    return {
        name: value
        for name, value in environment.items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    }


def of_script(
    ctx: RunContext, script: Script, artifacts_dir: Path, place: Place | None
) -> dict[str, str]:
    """Return the environment of a script, and of the hooks around it.

    Raises:
        RunError: the task wants a variable that no environment can hold.
    """
    agent, job, run = ctx.agent, ctx.job, ctx.run
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
            "KERUTA_RUN_DIR": str(ctx.directory.path),
            "KERUTA_ARTIFACTS_DIR": str(artifacts_dir),
            "KERUTA_MAX_FILE_SIZE": f"{agent.settings.artifacts_max_size}B",
            MARKER_VARIABLE: run.uid,
            # Output goes to files now; without this, Python scripts would show nothing for long.
            "PYTHONUNBUFFERED": environment.get("PYTHONUNBUFFERED", "1"),
        }
    )
    return environment


def _where_we_are(settings: Settings) -> dict[str, str]:
    """Return what keruta's own commands need to find this agent and its API, and no other."""
    found = {"KERUTA_BASE_DIR": str(settings.base_dir)}
    if settings.api_url is not None and settings.api_url == shown(settings)["api_url"]:
        found["KERUTA_API_URL"] = settings.api_url  # else it holds a password
        if settings.api_ca_file is not None:
            found["KERUTA_API_CA_FILE"] = str(settings.api_ca_file)
    return found


def _checked(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Refuse what no environment can hold.

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
    """Tell a script that it runs as the auto-fix of a failed task."""
    parameters = job.work.parameters
    if not parameters.get("autoFix"):
        return {}
    return {
        "KERUTA_AUTO_FIX": "1",
        "KERUTA_FIX_COUNT": str(parameters.get("fixCount", 1)),
        "KERUTA_ORIGINAL_TASK_ID": str(parameters.get("originalTaskId", "")),
        "KERUTA_FIX_ERROR_CODE": str(parameters.get("errorCode", "")),
    }
