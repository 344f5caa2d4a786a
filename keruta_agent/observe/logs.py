"""The agent's own log: events with a stable ``action`` and ids, as text or JSON lines."""

from __future__ import annotations

import logging
import logging.handlers
import sys
from pathlib import Path
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from keruta_agent import errors
from keruta_agent.observe.redact import Redactor

#: Levels as the settings name them.
LEVELS: Final = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}
_MOST_BYTES: Final = 10 * 1024 * 1024
_OLD_FILES: Final = 5


class RedactedFormatter(logging.Formatter):
    """Masks secrets in whatever another formatter makes of a record, tracebacks included."""

    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Returns the record as masked text."""
        return self._redactor.redact(self._inner.format(record))


def set_up(
    *, level: str, format: str, file: Path | None = None, redactor: Redactor | None = None
) -> None:
    """Sends the agent's log to a file, or to standard error.

    Raises:
        SettingsError: the file cannot be written.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            handler = logging.handlers.RotatingFileHandler(
                file, maxBytes=_MOST_BYTES, backupCount=_OLD_FILES, encoding="utf-8"
            )
        except OSError as exc:
            raise errors.SettingsError(
                f"cannot write the log file {file}: {exc.strerror}",
                advice="Set KERUTA_LOG_FILE to a file that this user may write",
            ) from exc
    handler.setFormatter(RedactedFormatter(_formatter(format), redactor or Redactor()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("keruta_agent").setLevel(LEVELS[level])


def _formatter(format: str) -> logging.Formatter:
    if format == "json":
        return JsonFormatter(
            "%(levelname)s %(name)s %(message)s", timestamp=True, json_ensure_ascii=False
        )
    return logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
