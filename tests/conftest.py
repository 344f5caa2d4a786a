"""What all tests need of the process that they run in."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.helpers.workers"]


# A busy machine is no failure, and no example is kept between runs.
settings.register_profile(
    "usual",
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
#: For a long look: pytest --hypothesis-profile=long
settings.register_profile("long", settings.get_profile("usual"), max_examples=500)
settings.load_profile("usual")


def pytest_configure() -> None:
    """Lets the programs that are started here get Ctrl-C and hang-ups.

    Who starts the tests in the background, or by nohup, has these ignored, and whoever is started
    by us would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
