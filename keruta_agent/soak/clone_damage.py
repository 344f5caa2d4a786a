"""Damage to a clone, and leftovers in its way: done by scripts of the soak, and by the soak itself.

Only runs that fail do so: what a run that succeeds has changed could not be pushed from a clone
that was broken meanwhile, and the task would rightly fail for it.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path
from typing import Final

#: Each leaves a clone that git cannot work in, or not rightly.
BREAKS: Final = (
    'find .git/objects -type f -exec sh -c \'for f; do chmod u+w "$f"; : > "$f"; done\' _ {} +',
    ": > .git/index",
    ": > .git/HEAD",
    "printf '[broken' >> .git/config",
    "git config core.bare true",
    "find .git/refs .git/packed-refs -type f -exec sh -c 'for f; do : > \"$f\"; done' _ {} +",
    "rm -rf .git/objects",
    "rm -rf .git",
)
#: Each leaves something that a checkout or a removal stumbles over.
LEFTOVERS: Final = (
    "mkdir -p left/module && : > left/module/file && chmod -R a-w left",
    "mkdir -p shut && : > shut/file && : > unreadable && chmod 000 shut/file shut unreadable",
    "git init -q nested && : > nested/file && git -C nested add file",
    ": > .git/index.lock; : > .git/config.lock; printf 'no commit' > .git/refs/heads/half",
    "rm -f README.md && mkdir -p README.md && : > README.md/file",
)


def step(chosen: random.Random) -> str:
    """Return lines of a script that damage its clone, or leave something there."""
    is_break = chosen.random() < 0.5
    word, commands = ("broke", BREAKS) if is_break else ("left", LEFTOVERS)
    # Noted before, as it may be stopped in the middle. What fails for an earlier damage is fine.
    return (
        f'echo "{word} $R" >> "$L/events"; '
        f'( cd "$KERUTA_WORKING_DIR" && {{ {chosen.choice(commands)}; }} ) > /dev/null 2>&1'
    )


def break_clone(clone: Path, chosen: random.Random) -> bool:
    """Break a clone from outside; return whether there was one."""
    if not (clone / ".git").is_dir():
        return False
    subprocess.run(
        ["sh", "-c", chosen.choice(BREAKS)],
        cwd=clone,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=60,
    )
    return True
