"""What a runner has printed, and what its end means for its attempt."""

from __future__ import annotations

import collections
import contextlib
import json
import threading
from collections.abc import Mapping
from typing import IO, Any, Final

from keruta_agent.server.coding.attempts import Ending, Outcome

#: Seconds until the output of a runner that has ended counts as read.
OUTPUT_S: Final = 5.0
#: Bytes of the runner's result, which holds the difference; a longer one is not read.
LARGEST_RESULT: Final = 16 * 1024 * 1024
#: Lines of a runner's output that are kept for whoever asks why it ended.
LINES_KEPT: Final = 50
_LONGEST_LINE: Final = 2_000
#: Errors of a runner after which another attempt may do: what it needs was away.
_UNAVAILABLE: Final = frozenset(
    {
        "ArtifactUploadError",
        "ConnectionError",
        "ServiceError",
        "SlotAllocationError",
        "WorkspacePreparationError",
    }
)
#: Exit codes that say the same each time: the task cannot be understood, or (of containers) the
#: program cannot be run or is not there.
_FOR_GOOD: Final = frozenset({2, 126, 127})


class Output:
    """The output of a runner, read as it comes."""

    def __init__(self, stream: IO[bytes] | None) -> None:
        self._stream = stream
        self._lines: collections.deque[str] = collections.deque(maxlen=LINES_KEPT)
        self._last = b""
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)
        self._thread.start()

    def ending(self, code: int) -> Ending:
        """Return what the end of the runner with this exit code means."""
        # Whoever still holds the output is no process of the runner's.
        self._thread.join(OUTPUT_S)
        return ending_of(code, _result(self._last), "\n".join(self._lines))

    def _read(self) -> None:
        if self._stream is None:
            return
        with contextlib.suppress(OSError, ValueError), self._stream:
            while line := self._stream.readline(LARGEST_RESULT):
                self._lines.append(line[:_LONGEST_LINE].decode(errors="replace").rstrip())
                self._last = line if line.startswith(b"{") else self._last


def ending_of(code: int, result: Mapping[str, Any] | None, output: str) -> Ending:
    """Return what the end of a runner means; success needs its word as well as its exit code."""
    if result is None:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code} and no result"
        outcome = Outcome.FAILED if code in _FOR_GOOD else Outcome.UNAVAILABLE
        return Ending(outcome=outcome, error=f"the runner {how}: {output[-1000:]}".strip())
    if code == 0 and result["success"] is True:
        return Ending(outcome=Outcome.SUCCEEDED, result=result)
    kind, text = result.get("error_type"), result.get("error") or f"exit code {code}"
    outcome = Outcome.UNAVAILABLE if kind in _UNAVAILABLE else Outcome.FAILED
    return Ending(outcome=outcome, error=f"{kind}: {text}" if kind else str(text), result=result)


def _result(line: bytes) -> Mapping[str, Any] | None:
    """Return the result that a runner printed, None where the line is none."""
    try:
        result = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return result if isinstance(result, dict) and "success" in result else None
