"""The answers to what a model asks to see, and what it has seen so far.

Every request passes the guards that a prompt passes: no way out of the workspace, no file that
git ignores, no file of secrets, nothing unmasked, no command but the task's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.coding.model import LookRequest, SingleTestResult
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.changes import files
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.checks import failure
from keruta_agent.runner.exploration import requests
from keruta_agent.runner.exploration.search import Searcher, SearchError
from keruta_agent.runner.model.reply import estimated_tokens
from keruta_agent.runner.model.texts import fenced, within

#: Entries of a directory that are listed.
_MOST_LISTED: Final = 500
#: Answers that are kept, the last ones, and characters of each.
_MOST_KEPT: Final = 60
_LONGEST: Final = failure.MOST_OUTPUT
#: Tokens below which no part of an answer is worth its room.
_LEAST: Final = 50

RunCommand = Callable[[str], SingleTestResult]


class RefusedError(ValueError):
    """A request is not answered; the text tells the model why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of one request."""

    request: LookRequest
    #: What was found; of a file it is read anew for each prompt.
    text: str = ""
    #: Why there is nothing, if so.
    refusal: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """The answers in a prompt, and the files in them that are not as they are on disk."""

    text: str
    masked: frozenset[str]


@dataclasses.dataclass(kw_only=True)
class Explorer:
    """The guide of a model through one workspace."""

    tree: Tree
    permissions: PermissionValidator
    redactor: Redactor
    #: How often the model may ask.
    most_steps: int = 0
    #: Runs one of the task's test commands; None where there are none.
    run: RunCommand | None = None
    steps: int = 0
    _answers: list[Answer] = dataclasses.field(default_factory=list)

    @property
    def left(self) -> int:
        """How often the model may still ask."""
        return max(0, self.most_steps - self.steps)

    @property
    def files(self) -> list[str]:
        """Files that were asked for as a whole, the last first."""
        paths = (
            answer.request.path
            for answer in reversed(self._answers)
            if _is_whole(answer.request) and not answer.refusal
        )
        return list(dict.fromkeys(paths))

    def take(self, asked: Sequence[LookRequest]) -> list[Answer]:
        """Answer the requests of one step."""
        self.steps += 1
        answers = []
        for number, request in enumerate(asked):
            answer = self._answered(request, number)
            answers.append(answer)
            self._answers.append(answer)
        del self._answers[:-_MOST_KEPT]
        return answers

    def forget_outputs(self) -> None:
        """Forget what a change may have made untrue: files are read anew, all else is not."""
        self._answers = [
            answer
            for answer in self._answers
            if answer.request.action == requests.READ and not answer.refusal
        ]

    def shown(self, tokens: int, whole: Collection[str]) -> Shown:
        """Return the answers that have room, the last ones first to get it.

        ``whole`` are files that the prompt shows from end to end anyway.
        """
        parts: list[str] = []
        masked: set[str] = set()
        is_cut = False
        for answer in reversed(self._answers):
            if answer.request.action == requests.READ and answer.request.path in whole:
                continue
            part, is_masked = self._part(answer)
            if estimated_tokens(part) > tokens:
                part = within(part, tokens) if not is_cut and tokens > _LEAST else ""
                is_cut = True
            if part:
                tokens -= estimated_tokens(part)
                parts.append(part)
                if is_masked:
                    masked.add(answer.request.path)
        if is_cut:
            parts.append("(There was no room for all of the earlier answers.)\n")
        return Shown(text="\n".join(reversed(parts)), masked=frozenset(masked))

    def _answered(self, request: LookRequest, number: int) -> Answer:
        request = dataclasses.replace(request, path=files.plain(request.path))
        try:
            if number >= requests.MOST:
                raise RefusedError(f"only the first {requests.MOST} requests are answered")
            if any(known.request == request and not known.refusal for known in self._answers):
                raise RefusedError("it was asked before, and its answer is here already")
            return Answer(request=request, text=self._found(request))
        except (RefusedError, SearchError, files.NotShownError) as refusal:
            return Answer(request=request, refusal=str(refusal))
        except errors.SecurityError as refusal:
            return Answer(request=request, refusal=self.redactor.redact(refusal.message))

    def _found(self, request: LookRequest) -> str:
        """Return what a request finds.

        Raises:
            RefusedError: it is malformed.
            NotShownError: the file is not shown.
            SearchError: the search cannot be done.
            SecurityError: it is not allowed.
        """
        match request.action:
            case requests.READ:
                self._lines(request)
                return ""
            case requests.SEARCH:
                names = self._below(request.path)
                searcher = Searcher(
                    tree=self.tree, permissions=self.permissions, redactor=self.redactor
                )
                return searcher.search(request.pattern, names)
            case requests.LIST:
                return self._listed(request.path)
            case requests.RUN:
                return self._run(request.command)
        known = ", ".join(requests.ACTIONS)
        raise RefusedError(f"there is no action {request.action[:40]!r}: there are {known}")

    def _lines(self, request: LookRequest) -> tuple[str, bool]:
        """Return the lines of a file that are meant, and whether something is masked in it."""
        text = self._text(request.path)
        safe = self.redactor.redact(text)
        if not request.first_line:
            return safe, safe != text
        lines = safe.splitlines(keepends=True)
        first, last = request.first_line, min(request.last_line, len(lines))
        if first > last:
            raise RefusedError(f"{request.path} has {len(lines)} lines")
        return "".join(lines[first - 1 : last]), safe != text

    def _text(self, path: str) -> str:
        text = files.readable(path, self.tree, self.permissions)
        if files.ignored(self.tree.root, [path]):
            raise files.NotShownError(f"{path} is ignored by git, and not a part of the project")
        return text

    def _part(self, answer: Answer) -> tuple[str, bool]:
        """Return an answer as it is shown, and whether something is masked in it."""
        title = self.redactor.redact(requests.shown(answer.request))
        if answer.refusal:
            return f"### {title}\n\nRefused: {answer.refusal}\n", False
        text, is_masked = answer.text, False
        if answer.request.action == requests.READ:
            try:
                text, is_masked = self._lines(answer.request)
            except (RefusedError, files.NotShownError, errors.SecurityError) as gone:
                return f"### {title}\n\nIt is no longer shown: {gone}\n", False
        return f"### {title}\n\n{fenced(text)}", is_masked

    def _below(self, path: str) -> list[str]:
        """Return the files at or below a path.

        Raises:
            RefusedError: there are none.
            SecurityError: it leads out of the workspace.
        """
        names = files.listed(self.tree.root)
        if not path:
            return names
        place = str(self.permissions.location(path))
        found = [name for name in names if name == place or name.startswith(f"{place}/")]
        if not found:
            raise RefusedError(f"there is no file at or below {path}")
        return found

    def _listed(self, path: str) -> str:
        prefix = f"{path}/" if path else ""
        entries: dict[str, int] = {}
        for name in self._below(path):
            first, slash, _ = name.removeprefix(prefix).partition("/")
            entry = first + slash
            entries[entry] = entries.get(entry, 0) + 1
        lines = [
            f"{entry} ({count} files)" if entry.endswith("/") else entry
            for entry, count in sorted(entries.items())
        ]
        more = len(lines) - _MOST_LISTED
        return "\n".join(lines[:_MOST_LISTED]) + (f"\n(and {more} more)" if more > 0 else "")

    def _run(self, command: str) -> str:
        self.permissions.validate_command_execution(command)
        if self.run is None:
            raise RefusedError("no command can be run here")
        result = self.run(command)
        printed = "\n".join(part for part in (result.stdout, result.stderr) if part.strip())
        text = f"{failure.cut(printed, _LONGEST)}\n(exit code {result.exit_code})"
        return self.redactor.redact(text)


def _is_whole(request: LookRequest) -> bool:
    return request.action == requests.READ and not request.first_line
