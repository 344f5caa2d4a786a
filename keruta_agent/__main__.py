"""``python -m keruta_agent`` is the same program as ``keruta``."""

import sys

from keruta_agent.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
