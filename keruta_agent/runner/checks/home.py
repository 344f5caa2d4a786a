"""A home directory for the commands of a run, so that what they set up there ends with it.

Tests are programs: in the user's own home they could change how every later git, shell or package
manager of this user behaves. What tools keep outside of a project stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keruta_agent.git.config import files as config_file
from keruta_agent.git.config.files import Entry

#: Where tools keep what was installed or fetched once, unless a variable says otherwise.
_TOOLS: Final = {
    "XDG_CACHE_HOME": ".cache",
    "PYTHONUSERBASE": ".local",
    "PYENV_ROOT": ".pyenv",
    "CARGO_HOME": ".cargo",
    "RUSTUP_HOME": ".rustup",
    "GOPATH": "go",
    "NVM_DIR": ".nvm",
    "npm_config_cache": ".npm",
    "GRADLE_USER_HOME": ".gradle",
}
#: Variables that lead to a user's settings in another place than the home directory.
_ELSEWHERE: Final = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")


def make(directory: Path, identity: Mapping[str, str]) -> Path:
    """Make a home directory with the user's git identity and nothing else of theirs."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    entries = [Entry(key=key, value=value) for key, value in identity.items()]
    (directory / ".gitconfig").write_bytes(config_file.render(entries))
    return directory


def settled_in(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with another home directory, in which tools find what they had."""
    own = environment.get("HOME")
    tools = {
        name: str(Path(own, place))
        for name, place in _TOOLS.items()
        if own and name not in environment and Path(own, place).is_dir()
    }
    kept = {name: value for name, value in environment.items() if name not in _ELSEWHERE}
    return {**kept, **tools, "HOME": str(home)}
