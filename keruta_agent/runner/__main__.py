"""``python -m keruta_agent.runner``: one task, as a Dispatcher starts a runner.

The task is in TASK_CONTEXT; the settings are those of the config file and the environment. Exits
with 0 when the task is done, else with 1; with 2 when it cannot be understood.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from keruta_agent.core import errors
from keruta_agent.core.coding import context_file, environment_file
from keruta_agent.core.log import keys
from keruta_agent.runner import process
from keruta_agent.runner.config import RunnerConfig


def main() -> int:
    """Run the task and print its result as one line of JSON at the end."""
    keys.take_back()
    try:
        environment_file.take(os.environ)
        config = RunnerConfig.from_file()
        process.begin(config)
        context = context_file.from_environment(
            os.environ, timeout_s=config.default_timeout_seconds
        )
        if context.slot_path is None and (Path.cwd() / ".git").exists():
            context = context.from_dict({**context.to_dict(), "slot_path": str(Path.cwd())})
        result = process.run(config, context, write=process.print_line)
    except errors.AttemptLostError as exc:
        sys.stderr.write(f"keruta: {exc}\n")
        return 1
    except errors.KerutaError as exc:
        sys.stderr.write(f"keruta: {exc}\n")
        return 2
    process.print_line(json.dumps(result.to_dict(), ensure_ascii=False))
    return 0 if result.success else 1


if __name__ == "__main__":
    sys.exit(main())
