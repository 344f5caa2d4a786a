"""The first module of every command: decides between the small way and the whole program.

Scripts call ``keruta progress`` in loops, and each import costs them: nothing but ``os`` and
``sys``, which the interpreter has loaded anyway, and ``gc``, which is built in, is imported before
the decision.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> int:
    """Run one command and return its exit code."""
    # What is loaded stays to the end. To look through it for garbage, again and again and once
    # more when the interpreter ends, would take a command a seventh of its time.
    gc.disable()
    try:
        return _run()
    except KeyboardInterrupt:  # before the program was loaded so far that it has words for it
        return 130
    finally:
        gc.freeze()


def _run() -> int:
    if len(sys.argv) > 1 and "KERUTA_RUN_TOKEN" in os.environ:
        from keruta_agent.cli import small

        code = small.run(sys.argv[1], sys.argv[2:])
        if code is not None:
            return code
    if "KERUTA_KEYS_FD" in os.environ:  # the second start of a program that has hidden its keys
        from keruta_agent.core.log import keys

        keys.take_back()
    from keruta_agent.core.process_tree.dispositions import hear_children

    hear_children()
    from keruta_agent.cli.main import run

    gc.freeze()
    gc.enable()
    return run(sys.argv[1:])
