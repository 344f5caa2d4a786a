"""The matcher of a regular expression: a program of its own, as only a process can be ended.

``python -I -S matcher.py LIST MOST_PER_FILE PATTERN``: LIST is a file of names, each with a NUL
behind it, below the working directory. It prints the number of a name and that of a line for each
line that matches; line 0 says that a file is no UTF-8 and was not looked into.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from pathlib import Path

#: Bytes of a file, and characters of a line that are looked at.
_LARGEST = 1024 * 1024
_LONGEST_LINE = 2000


def main(names: str, most: int, given: str) -> int:
    """Print what matches; return 2 where the expression is none."""
    try:
        pattern = re.compile(given)
    except (re.error, OverflowError, RecursionError) as error:
        sys.stderr.write(str(error))
        return 2
    listed = Path(names).read_bytes().split(b"\0")
    for number, name in enumerate(listed):
        data = _read(name) if name else None
        if data is None or b"\0" in data:
            continue
        try:
            lines = data.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            sys.stdout.write(f"{number} 0\n")
            continue
        left = most
        for place, line in enumerate(lines, 1):
            if pattern.search(line[:_LONGEST_LINE].rstrip("\r")):
                sys.stdout.write(f"{number} {place}\n")
                left -= 1
                if not left:
                    break
    return 0


def _read(name: bytes) -> bytes | None:
    try:
        # Not to wait: opening a FIFO would, for ever.
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        is_fit = stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST
        return file.read(_LARGEST) if is_fit else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
