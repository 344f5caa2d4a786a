"""Files in git's own format, and unchangeable copies of them.

Git itself does the parsing (``git config --file``), which runs nothing that such a file names.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
import stat
import subprocess
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.process_tree.children import OWN

#: Seconds that git may take to read one file.
READ_S: Final = 10.0
#: Bytes of a file of settings; larger ones were not made for that.
LARGEST: Final = 1024 * 1024
_ESCAPED: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\b": "\\b"})


class UnreadableError(errors.WorkspaceError):
    """A file of settings that git cannot read either."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One setting. Section and name are in lower case, as git compares them."""

    key: str
    #: None where a name stands alone, which means true.
    value: str | None

    @property
    def is_include(self) -> bool:
        """Whether it names another file to read."""
        return self.key == "include.path" or (
            self.key.startswith("includeif.") and self.key.endswith(".path")
        )


def read(path: Path, program: str) -> list[Entry]:
    """Return the settings of one file in their order, without what it includes.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableError: it is no file, too large, or not in git's format.
    """
    try:
        state = path.stat()
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise UnreadableError(f"cannot read {path}: {exc.strerror}") from exc
    if not stat.S_ISREG(state.st_mode) or state.st_size > LARGEST:
        raise UnreadableError(f"cannot read {path}: it is no file of settings")
    try:
        done = OWN.run(
            [program, "config", "--file", str(path), "--no-includes", "--list", "-z"],
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "GIT_CONFIG_NOSYSTEM": "1"},
            timeout=READ_S,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise UnreadableError(f"cannot read {path} with {program}: {exc}") from exc
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().removeprefix("fatal: ")
        raise UnreadableError(f"cannot read {path}: {said[:300]}")
    return [_entry(os.fsdecode(field)) for field in done.stdout.split(b"\0") if field]


def render(entries: Iterable[Entry]) -> bytes:
    """Return a file that holds these settings in this order."""
    lines: list[str] = []
    section = ""
    for entry in entries:
        header, name = _header(entry.key)
        if header != section:
            lines.append(header)
            section = header
        value = "" if entry.value is None else f' = "{entry.value.translate(_ESCAPED)}"'
        lines.append(f"\t{name}{value}")
    return os.fsencode("".join(f"{line}\n" for line in lines))


class SealedFile:
    """A file in memory that cannot be changed any more, not even by this user.

    Every process of this user can open it by its path, for as long as this one keeps it.
    """

    def __init__(self, name: str, content: bytes) -> None:
        descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.fchmod(descriptor, 0o400)  # ssh reads no file that others may write
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        # By our own number: a helper program that closes what it inherits finds it as well.
        self.path = f"/proc/{os.getpid()}/fd/{descriptor}"
        weakref.finalize(self, os.close, descriptor)


def _entry(field: str) -> Entry:
    key, newline, value = field.partition("\n")
    return Entry(key=key, value=value if newline else None)


def _header(key: str) -> tuple[str, str]:
    section, _, rest = key.partition(".")
    subsection, dot, name = rest.rpartition(".")
    if not dot:
        return f"[{section}]", name
    escaped = subsection.replace("\\", "\\\\").replace('"', '\\"')
    return f'[{section} "{escaped}"]', name
