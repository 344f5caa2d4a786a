"""What all tests need of the process that they run in."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.helpers.object_server",
    "tests.helpers.postgresql",
    "tests.helpers.databases",
    "tests.helpers.redis",
    "tests.helpers.workers",
]


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


#: Holds the tests' files where it can: to write through to a disk, as databases and git do, takes
#: half of the suite's time.
_MEMORY = Path("/dev/shm")
#: Bytes that must be free there.
_ROOM = 4 * 2**30
_TEMPORARY = "PYTEST_DEBUG_TEMPROOT"


def _memory_serves() -> bool:
    try:
        room = os.statvfs(_MEMORY)
    except OSError:
        return False
    has_room = room.f_bavail * room.f_frsize >= _ROOM
    return has_room and not room.f_flag & os.ST_NOEXEC and os.access(_MEMORY, os.W_OK)


_in_memory = _TEMPORARY not in os.environ and _memory_serves()
if _in_memory:
    os.environ[_TEMPORARY] = str(_MEMORY)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Give the memory back; what failed stays to be looked at."""
    if _in_memory and exitstatus == 0 and shutil.which("rm"):
        base = session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
        subprocess.run(["rm", "-rf", "--", base], check=True)
        with contextlib.suppress(OSError):  # another run's are still there
            (base.parent / "pytest-current").unlink()
            base.parent.rmdir()


def pytest_configure() -> None:
    """Have the programs that are started here get Ctrl-C and hang-ups.

    Who starts the tests in the background, or by nohup, has these ignored, and whoever is started
    by us would inherit that.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
