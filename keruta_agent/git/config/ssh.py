"""What the user has set up for ssh, as it was when this process began.

A task can write ``~/.ssh/config``, and a ``ProxyCommand`` in it would be run by the agent's git. So
ssh reads copies in memory (``-F``), like git its settings.
"""

from __future__ import annotations

import glob
import os
import pwd
import re
import shlex
from pathlib import Path
from typing import Final

from keruta_agent.git.config.files import LARGEST, SealedFile

#: Given a file, ssh leaves this one out.
_OF_SYSTEM: Final = "\nHost *\n    Include /etc/ssh/ssh_config\n"
_INCLUDE: Final = re.compile(r"(?P<start>\s*include\s*[\s=]\s*)(?P<names>.*)", re.IGNORECASE)
_DEEPEST: Final = 8
_MOST_FILES: Final = 200


class SshConfig:
    """Copies of the user's ``~/.ssh/config`` and of what it includes."""

    def __init__(self, home: Path) -> None:
        """Read them; ``home`` is the home directory."""
        self._home = home
        #: What each file held; None for one that was not there or could not be read.
        self.contents: dict[Path, bytes | None] = {}
        self._copies: list[SealedFile] = []
        text = self._text(home / ".ssh" / "config", _DEEPEST)
        self._main = SealedFile("keruta-ssh-config", os.fsencode(text + _OF_SYSTEM))

    @property
    def path(self) -> str:
        """The file for ``ssh -F``."""
        return self._main.path

    def _text(self, path: Path, depth: int) -> str:
        """Return what a file holds, with copies in the place of the files that it includes."""
        if path not in self.contents and len(self.contents) >= _MOST_FILES:
            return ""
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST) if path.is_file() else None
        except OSError:
            content = None
        self.contents[path] = content
        lines = os.fsdecode(content or b"").splitlines()
        return "\n".join(self._line(line, depth) for line in lines)

    def _line(self, line: str, depth: int) -> str:
        found = _INCLUDE.fullmatch(line)
        if found is None:
            return line
        try:
            names = shlex.split(found["names"], comments=True)
        except ValueError:  # ssh refuses such a line, and says so
            return line
        copies = [self._copy(path, depth) for name in names for path in self._files(name)]
        return f"{found['start']}{' '.join(copies)}" if copies and depth > 0 else ""

    def _files(self, name: str) -> list[Path]:
        expanded = os.path.expandvars(name.replace("%d", str(self._home)))
        if expanded.startswith("~/"):
            expanded = f"{self._home}{expanded[1:]}"
        # Path.glob takes no pattern that begins at the root.
        found = glob.glob(str(self._home / ".ssh" / expanded))  # noqa: PTH207
        return [Path(name) for name in sorted(found)]

    def _copy(self, path: Path, depth: int) -> str:
        text = self._text(path, depth - 1) if depth > 0 else ""
        copy = SealedFile("keruta-ssh-config", os.fsencode(text + "\n"))
        self._copies.append(copy)
        return copy.path


def of_user() -> SshConfig:
    """Return the settings of this user; ssh takes the home directory from the list of users."""
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        home = os.environ.get("HOME", "/")
    return SshConfig(Path(home))


def with_file(command: str, path: str) -> str:
    """Return a command that starts ssh, with the file of settings to read.

    Another program, or a command that names its own file, is left as it is.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # the shell refuses it, and git says so
        return command
    if not words or Path(words[0]).name != "ssh" or any(word.startswith("-F") for word in words):
        return command
    return f"{command} -F {shlex.quote(path)}"
