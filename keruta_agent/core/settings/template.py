"""The commented config file: each key with what it is for, its variables and its default.

``keruta init`` writes it, ``etc/config.yaml`` is a copy of it, and it stays what it is when values
are set in it and taken away again.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from keruta_agent.core.settings import schema

HEAD: Final = """\
# Settings of keruta-agent: every key, its default and its variable.
#
# Put this file at ~/.keruta/config.yaml or /etc/keruta/config.yaml (the first that exists is
# read), or name another with --config or KERUTA_CONFIG. To change a setting, take the # before its
# key away and write another value. Flags win over variables, variables over this file.
#
# Durations: 30 (seconds), 30s, 1m30s, 500ms, 2h, 7d. Sizes: 100MB, 1.5GB, 64K or whole bytes; a
# KB is 1024 bytes. A relative path counts from the directory of this file.
"""

#: What each section is about, and what follows from a key that stands in none.
SECTIONS: Final = {
    "api": "The keruta API.",
    "session": "What the agent works on.",
    "workspace": "Where the agent works.",
    "logging": "The agent's own log, and the log of scripts that goes to the API.",
    "artifacts": "Files that scripts leave.",
    "error_handling": "What happens after a failure.",
    "input": "Input for scripts that wait for an answer.",
    "input_detection": "How the daemon learns that a script waits.",
    "daemon": "The daemon process and its state.",
    "health": "Limits of `keruta health`.",
    "git": "The session's repository, if it names one.",
    "hooks": "Programs that run around a task in the repository, and beside it.",
    "execution_mode": (
        "The Agent Runner, which solves coding tasks with a language model, and its services. "
        "These keys stand alone, as its migration guide has them."
    ),
    "llm": "The language model; its key is in the variable that llm_api_key_env_var names.",
    "runner": "What a coding task may use.",
    "runs": "Directories of finished runs.",
    "retention": "Records of ended jobs. A pruned job's task is never run again.",
    "execution": "How scripts run.",
}

_WIDTH: Final = 98


def text() -> str:
    """Return the file; read as it is, it changes nothing."""
    return HEAD + "".join(f"{line}\n" for line in _lines())


def commented_default(key: str) -> str:
    """Return the line of a key that is not set, such as ``#timeout: 30s``."""
    info = next(info for info in schema.SETTINGS if info.key == key)
    default = _default(info.default)
    return f"#{key.rpartition('.')[2]}:{' ' if default else ''}{default}"


def _lines() -> Iterator[str]:
    before: str | None = None
    for info in schema.SETTINGS:
        if info.key is None:
            continue
        section = info.key.rpartition(".")[0]
        if section != before:
            yield from ("", *_wrapped(SECTIONS.get(section or info.key, ""), indent=""))
            if section:
                yield f"{section}:"
            elif info.key in SECTIONS:
                yield ""  # its comment is about all that follow
            before = section
        indent = "  " if section else ""
        # Variables hold together: a line is broken before their parenthesis.
        variables = f"({' or '.join(info.environment)})".replace(" ", "\0")
        for line in _wrapped(f"{info.help} {variables}", indent=indent):
            yield line.replace("\0", " ")
        yield f"{indent}{commented_default(info.key)}"


def _wrapped(prose: str, *, indent: str) -> list[str]:
    start = f"{indent}# "
    return textwrap.wrap(
        prose,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _default(default: object) -> str:
    if default is None:
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, tuple):
        return f"[{', '.join(default)}]"
    return str(default)
