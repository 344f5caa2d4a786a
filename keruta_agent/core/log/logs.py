"""The agent's own log: events with a stable ``action`` and ids, as text or JSON lines."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from keruta_agent.core import errors
from keruta_agent.core.log.context import AddIds
from keruta_agent.core.log.log_file import LogFile, Rotation
from keruta_agent.core.redaction.redactor import Redactor

#: Levels as the settings name them.
LEVELS: Final = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "ERROR": logging.ERROR,
}


class TextFormatter(logging.Formatter):
    """A formatter that writes an event as one line, whatever names and output it holds.

    Task names come from other people: a line end in one would forge an event, an escape would act
    on the terminal that shows the log.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line, what cannot be printed as backslash codes; tracebacks come after it."""
        text = super().formatMessage(record)
        if text.isprintable():
            return text
        return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class RedactedFormatter(logging.Formatter):
    """A formatter that masks secrets in the output of another, tracebacks included."""

    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as masked text."""
        return self._redactor.redact(self._inner.format(record))


def set_up(
    *,
    level: str,
    format: str,
    file: Path | None = None,
    rotation: Rotation | None = None,
    redactor: Redactor | None = None,
) -> None:
    """Send the agent's log to a file, or to standard error.

    Raises:
        SettingsError: the file cannot be written.
    """
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            handler = LogFile(file, rotation or Rotation())
        except OSError as exc:
            raise errors.SettingsError(
                f"cannot write the log file {file}: {exc.strerror}",
                advice="Set KERUTA_LOG_FILE to a file that this user may write",
            ) from exc
    handler.setFormatter(RedactedFormatter(_formatter(format), redactor or Redactor()))
    handler.addFilter(AddIds())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("keruta_agent").setLevel(LEVELS[level])


def reopen() -> None:
    """Reopen the log file by its name: another program may have moved the old one."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LogFile):
            handler.reopen()


def _formatter(format: str) -> logging.Formatter:
    if format == "json":
        return JsonFormatter(
            "%(levelname)s %(name)s %(message)s", timestamp=True, json_ensure_ascii=False
        )
    return TextFormatter("%(asctime)s %(levelname)-7s %(message)s")
