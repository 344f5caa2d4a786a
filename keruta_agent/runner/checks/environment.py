"""What the commands of a run may see of the environment: nothing that gives access to anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from keruta_agent.core.redaction import names
from keruta_agent.core.redaction.redactor import Redactor

#: A key agent signs for whoever may ask it, and what git asks may answer.
_ACCESS: Final = frozenset(
    {*("SSH_AUTH_SOCK", "GPG_AGENT_INFO", "GIT_ASKPASS", "SSH_ASKPASS", "GIT_SSH_COMMAND")}
)
#: The agent's own, and a task's context, whose addresses may hold passwords.
_OURS: Final = ("KERUTA_", "TASK_CONTEXT", "RUNNER_")
#: Settings of the git that runs around the commands.
_GITS: Final = ("GIT_CONFIG",)
#: Settings of the command's environment that keep a run repeatable.
_FIXED: Final = {
    # A file that is changed twice in a second keeps its date, and Python its stale byte code.
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "CI": "true",
    # Installing a project's packages must not set up its git hooks, which would end the run.
    "HUSKY": "0",
}


def without_secrets(
    environment: Mapping[str, str], secrets: Iterable[str] = (), hidden: Iterable[str] = ()
) -> dict[str, str]:
    """Return the variables that test commands get.

    Left out are what is secret by its name, what holds one of ``secrets``, the variables that are
    named in ``hidden``, and what is the agent's.
    """
    known = Redactor(secrets)
    names_hidden = {*hidden, *_ACCESS}
    kept = {
        name: value
        for name, value in environment.items()
        if name not in names_hidden
        and not name.startswith((*_OURS, *_GITS))
        and not names.is_secret_name(name)
        and not Redactor.secrets_in({name: value})
        and not known.knows_secret_in(value.encode("utf-8", "surrogateescape"))
    }
    return {**kept, **_FIXED}
