"""What all tests need of the process that they run in."""

from __future__ import annotations

import signal

pytest_plugins = ["tests.helpers.workers"]


def pytest_configure() -> None:
    """Lets the programs that are started here get Ctrl-C and hang-ups.

    Who starts the tests in the background, or by nohup, has these ignored, and whoever is started
    by us would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
