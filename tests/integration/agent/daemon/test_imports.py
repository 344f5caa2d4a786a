"""What the daemon loads only when it is needed: an idle one is to stay small."""

from __future__ import annotations

import subprocess
import sys

#: Libraries for runs that take a while, and for whoever asks for /metrics.
LATE = ("psutil", "prometheus_client")


def test_daemon_starts_without_the_libraries_for_measuring() -> None:
    code = (
        "import sys, keruta_agent.agent.daemon.supervisor, keruta_agent.agent.control.metrics; "
        f"print([name for name in {LATE!r} if name in sys.modules])"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    ).stdout
    assert loaded == "[]\n"
