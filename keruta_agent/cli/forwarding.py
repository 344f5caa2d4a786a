"""The standard input of ``keruta execute``, forwarded to its script when the script asks for it.

Nothing is read before: a script that reads nothing takes nothing away from the caller, such
as a loop over the same input.
"""

from __future__ import annotations

import base64
import contextlib
import os
import select
from typing import TYPE_CHECKING, Any, Final

from keruta_agent.agent.control.commands import FeedInput
from keruta_agent.agent.control.socket import client
from keruta_agent.agent.run.directory import RUNS_DIRECTORY
from keruta_agent.agent.run.input import prompt
from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.agent.store.jobs import Job
    from keruta_agent.agent.store.questions import Question
    from keruta_agent.agent.store.run import Run
    from keruta_agent.agent.store.store import Records
    from keruta_agent.core.settings.schema import Settings

#: Bytes that are passed on at once; a pipe holds more.
CHUNK_BYTES: Final = 16 * 1024
STDIN: Final = 0


class Forwarder:
    """The forwarder of standard input to one job."""

    def __init__(self, settings: Settings, records: Records, job_id: int) -> None:
        self._base_dir = settings.base_dir
        self._questions = records.questions
        self._job_id = job_id
        self._terminal = _Terminal() if os.isatty(STDIN) else None
        #: Read from standard input and not taken by the script yet.
        self._pending = b""
        self._has_ended = False
        #: The run that began to read; what comes goes there without being asked for.
        self._run_id: int | None = None
        #: The run that was informed of the end.
        self._end_sent_to: int | None = None
        self._is_refused = False

    def look(self, job: Job, run: Run) -> bool:
        """Pass on what the script asks for and what is there; return whether there was anything."""
        question = self._questions.open_of_job(self._job_id)
        run_id = run.id
        if self._terminal is not None:
            self._terminal.hide_input(self._is_hidden(job, run, question))
        if question is not None:
            self._run_id = run_id
            self._is_refused = False
        # A person at a terminal types the next line when asked for it.
        is_wanted = question is not None or (self._terminal is None and self._run_id == run_id)
        if not is_wanted or self._is_refused or self._end_sent_to == run_id:
            return False
        self._read()
        if not self._pending and not self._has_ended:
            return False
        return self._pass_on(run_id)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._terminal is not None:
            self._terminal.hide_input(False)

    def _is_hidden(self, job: Job, run: Run, question: Question | None) -> bool:
        """Return whether what is typed must not be shown here.

        A person may type before the agent has seen that the script waits.
        """
        if job.work.parameters.get("tty") is True:  # its own terminal shows it
            return True
        if question is not None:
            return question.secret
        directory = self._base_dir / RUNS_DIRECTORY / run.directory
        text, is_unfinished = prompt.OutputEnd(directory).prompt()
        return is_unfinished and prompt.is_secret(text)

    def _read(self) -> None:
        if self._pending or self._has_ended:
            return
        if self._terminal is not None and not self._terminal.is_ours():
            return  # a background process that reads is stopped
        if not select.select([STDIN], [], [], 0)[0]:
            return
        try:
            self._pending = os.read(STDIN, CHUNK_BYTES)
        except OSError:  # a directory, or a terminal that has gone
            self._pending = b""
        self._has_ended = not self._pending

    def _pass_on(self, run_id: int) -> bool:
        data = base64.b64encode(self._pending).decode("ascii")
        command = FeedInput(job=self._job_id, data=data, ends=self._has_ended)
        try:
            taken = client.ask(self._base_dir, command).taken
        except errors.AgentUnreachable:  # it is being restarted
            return False
        except errors.KerutaError:  # the script reads no more, or has just ended
            self._is_refused = True
            self._pending = b""
            return False
        if taken:
            self._pending = b""
            self._end_sent_to = run_id if self._has_ended else None
        return taken


class _Terminal:
    """The terminal that is our standard input."""

    def __init__(self) -> None:
        self._shown: list[Any] | None = None

    def is_ours(self) -> bool:
        """Return whether this process may read: in the background it may not."""
        try:
            return os.tcgetpgrp(STDIN) == os.getpgrp()
        except OSError:  # it is not our controlling terminal: nobody else has a claim
            return True

    def hide_input(self, hidden: bool) -> None:
        """Show what is typed, or does not."""
        import termios

        if hidden == (self._shown is not None) or not self.is_ours():
            return
        with contextlib.suppress(termios.error):
            if self._shown is not None:
                termios.tcsetattr(STDIN, termios.TCSANOW, self._shown)
                self._shown = None
                return
            shown = termios.tcgetattr(STDIN)
            quiet = [*shown]
            quiet[3] &= ~termios.ECHO
            termios.tcsetattr(STDIN, termios.TCSANOW, quiet)
            self._shown = shown
