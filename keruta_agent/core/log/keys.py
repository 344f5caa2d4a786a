"""Keys removed from this process's environment, where all that it starts could read them.

A process may remove a variable, but what it was started with stays in ``/proc/PID/environ`` for
whoever runs as the same user, the tests of a change among them. So the process starts itself once
more without the keys, and gets them through a file in memory.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from keruta_agent.core.redaction.redactor import Redactor

DESCRIPTOR: Final = "KERUTA_KEYS_FD"


def put_away(more: Iterable[str] = ()) -> None:
    """See to it that no process that is started can read the keys; call it before anything else.

    ``more`` are variables whose names do not tell that they hold one. The first time this starts
    the program anew, as the same process, and does not return.
    """
    hide(secret_names(_started_with(), more))


def _started_with() -> dict[str, str]:
    """Return the variables that others can read."""
    try:
        variables = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:  # then nobody else can read them either
        return {}
    pairs = (os.fsdecode(variable).partition("=") for variable in variables)
    return {name: value for name, _, value in pairs}


def secret_names(environment: Mapping[str, str], more: Iterable[str] = ()) -> list[str]:
    """Return the variables that hold secrets, by their names or their values."""
    named = set(more)
    return sorted(
        name
        for name, value in environment.items()
        if value and (name in named or Redactor.secrets_in({name: value}))
    )


def hide(names: Iterable[str]) -> None:
    """Restart this program without these variables; ``take_back`` returns them.

    Returns only where there is nothing to hide.
    """
    hidden = {name: os.environ[name] for name in names if name in os.environ}
    if not hidden:
        return
    descriptor = os.memfd_create("keruta-keys", 0)
    os.write(descriptor, json.dumps(hidden).encode("utf-8", "surrogatepass"))
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    sys.stdout.flush()
    os.execve(  # noqa: S606 - this very program
        sys.executable,
        [sys.executable, *sys.orig_argv[1:]],
        {**kept, DESCRIPTOR: str(descriptor)},
    )


def take_back() -> None:
    """Bring back what ``hide`` took away; to be called before anything reads the environment.

    What is set now is not what the process was started with, so nobody else can read it.
    """
    number = os.environ.pop(DESCRIPTOR, "")
    if not number.isdigit():
        return
    with os.fdopen(int(number), "rb") as file:
        file.seek(0)
        os.environ.update(json.loads(file.read().decode("utf-8", "surrogatepass")))
