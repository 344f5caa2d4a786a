"""The prompt: the task, the files that it needs, what failed, and how to answer.

Only from inside the workspace, without secrets, and within a number of tokens: what does not fit
is left out, the least needed first, and named.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.core.coding import validation
from keruta_agent.core.coding.model import TaskContext
from keruta_agent.core.redaction.names import is_secret_name
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.changes import files
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.exploration import outline, relevance, requests
from keruta_agent.runner.exploration.explorer import Explorer
from keruta_agent.runner.model.answer import SHAPE
from keruta_agent.runner.model.reply import estimated_tokens
from keruta_agent.runner.model.texts import fenced, within

#: Shares of the limit that a failure and the list of files may have.
_FAILURE_SHARE: Final = 0.3
_LIST_SHARE: Final = 0.15
#: The same of what files define that are not shown, and tokens for it.
_SYMBOLS_SHARE: Final = 0.1
_SYMBOLS_TOKENS: Final = 3_000
#: Share of what is left that is kept free for answers to what the model asked for.
_ASKED_SHARE: Final = 0.5
_SYMBOLS: Final = "Definitions in Files That Are Not Shown"
#: Tokens for files that nobody named: enough for a small project, cheap in a large one.
_OTHERS_TOKENS: Final = 8_000
#: Tokens for headings, and for the names of files that are not shown.
_OVERHEAD: Final = 150
_NOT_SHOWN_LENGTH: Final = 300
#: Files that are looked into for that.
_MOST_OTHERS: Final = 200
#: Tokens below which it is not worth while to show a part of a file.
_LEAST_PART: Final = 300

#: What a Dispatcher says to the runner and not to the model.
_NOT_TOLD: Final = frozenset({"repo_url", "base_branch", "runner_id", "pool_name"})

_INSTRUCTIONS: Final = f"""\
Answer with exactly one JSON object, and nothing before or after it:

{SHAPE}

- file_path is relative to the workspace, with slashes.
- "create" makes a new file, and "modify" replaces a whole existing one: content is all of it.
- "edit" replaces passages of an existing file, which is best for large ones. Its content holds \
unified diff hunks, or blocks of this form:

<<<<<<< SEARCH
lines as they are in the file, which occur there exactly once
=======
the lines to be there instead
>>>>>>> REPLACE

- "delete" removes a file; its content is "".
- Passages shown as *** are masked secrets: edit around them, and never write *** for them.
- Git's own files, hooks, symbolic links and the definitions of CI servers cannot be changed.
- Existing tests, what configures them (conftest.py, scripts of package.json, ...) and what the \
test commands run are put back before your change is tested, unless allow_test_changes above says \
otherwise: mend the code. New tests go into new files.
- Change only what the task needs. Your change is written as a whole or not at all, and then tested.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prompt:
    """What is sent, and which files in it are not as they are on disk."""

    text: str
    masked: frozenset[str]
    shown: tuple[str, ...]


def build(
    context: TaskContext,
    tree: Tree,
    permissions: PermissionValidator,
    *,
    limit_tokens: int,
    redactor: Redactor,
    failed: str = "",
    touched: Collection[str] = (),
    explorer: Explorer | None = None,
    may_ask: bool = False,
) -> Prompt:
    """Return the prompt of a round.

    ``failed`` is what became of the round before, or what the tests say without any change;
    ``touched`` are the files that earlier rounds have changed. ``explorer`` knows what the model
    has asked for; ``may_ask`` says that it may go on.

    Raises:
        ImplementationError: the task alone is longer than the limit.
    """
    writer = _Writer(redactor=redactor, tree=tree, permissions=permissions)
    head = redactor.redact(_task(context))
    tail = redactor.redact(_facts(context)) + _section("Instructions", _INSTRUCTIONS)
    if explorer is not None and may_ask:
        tail += _section("If You Need to See More", _asking(explorer.left))
    left = limit_tokens - _OVERHEAD - estimated_tokens(head) - estimated_tokens(tail)
    if left < 0:
        raise errors.ImplementationError(
            f"The task {context.task_id} is longer than a prompt may be ({limit_tokens} tokens)",
            advice="Raise llm.prompt_tokens, or describe the task in fewer words",
        )
    failed = within(redactor.redact(failed), int(_FAILURE_SHARE * limit_tokens))
    result = _section("Result of the Last Attempt", fenced(failed)) if failed else ""
    names = files.listed(tree.root)
    asked = [] if explorer is None else explorer.files
    related = files.named(context.related_files or (), names, tree.root)
    said = f"{_task(context)}\n{failed}"
    wanted = list(dict.fromkeys([*touched, *asked, *related, *files.mentioned(said, names)]))
    words = relevance.words(said)
    ranked = relevance.ranked(names, wanted, words)
    structure = _section(
        "Current Workspace Structure",
        outline.structure(names, ranked, int(_LIST_SHARE * limit_tokens)),
    )
    left -= estimated_tokens(result) + estimated_tokens(structure)
    # What was asked for last is needed most, also where it is a part of a large file.
    reserved = int(_ASKED_SHARE * left) if explorer is not None and explorer.steps else 0
    shown = writer.shown(wanted, left - reserved, is_needed=True)
    answers = ""
    if explorer is not None and explorer.steps:
        seen = explorer.shown(left - estimated_tokens(shown), writer.whole)
        writer.masked |= seen.masked
        answers = _section("What You Asked For", seen.text) if seen.text else ""
        left -= estimated_tokens(answers)
    others = [name for name in ranked if name not in wanted][:_MOST_OTHERS]
    left -= estimated_tokens(shown)
    beside = writer.shown(others, min(left, _OTHERS_TOKENS), is_needed=False)
    left -= estimated_tokens(beside)
    defined = outline.definitions(
        [name for name in ranked if name not in writer.whole],
        tree,
        permissions,
        wanted=words,
        tokens=min(left, int(_SYMBOLS_SHARE * limit_tokens), _SYMBOLS_TOKENS),
    )
    text = head + structure
    if defined:
        text += _section(f"{_SYMBOLS} (with their lines)", redactor.redact(defined))
    text += _section("Related Files", shown) if shown else ""
    text += _section("Other Files", beside) if beside else ""
    return Prompt(
        text=text + answers + result + tail,
        masked=frozenset(writer.masked),
        shown=tuple(writer.names),
    )


@dataclasses.dataclass
class _Writer:
    """The files in a prompt, until there is no more room."""

    redactor: Redactor
    tree: Tree
    permissions: PermissionValidator
    masked: set[str] = dataclasses.field(default_factory=set)
    names: list[str] = dataclasses.field(default_factory=list)
    #: Those of them that are shown from end to end.
    whole: set[str] = dataclasses.field(default_factory=set)

    def shown(self, paths: Iterable[str], tokens: int, *, is_needed: bool) -> str:
        """Return files in fences; of a needed one that is too long, beginning and end."""
        parts, left_out = [], []
        for path in paths:
            part = self._part(path, tokens, is_needed=is_needed)
            if part is None:
                left_out.append(path)
                continue
            parts.append(part)
            self.names.append(path)
            tokens -= estimated_tokens(part)
        if is_needed and left_out:
            names = ", ".join(left_out)[:_NOT_SHOWN_LENGTH]
            parts.append(f"Not shown (no text, not here, secret, or no room): {names}\n\n")
        return "".join(parts)

    def _part(self, path: str, tokens: int, *, is_needed: bool) -> str | None:
        if tokens < _LEAST_PART and not is_needed:
            return None
        text = files.read(path, self.tree, self.permissions)
        if text is None:
            return None
        safe = self.redactor.redact(text)
        part = f"### {path}\n\n{fenced(safe)}\n"
        if estimated_tokens(part) > tokens:
            if not is_needed or tokens < _LEAST_PART:
                return None
            safe = within(safe, tokens - estimated_tokens(path) - 40)
            part = f"### {path} (a part)\n\n{fenced(safe)}\n"
        else:
            self.whole.add(path)
        if safe != text:
            self.masked.add(path)
        return part


def _asking(left: int) -> str:
    return f"""\
If you have to see more of the repository before you know what to change, answer with this object \
instead:

{requests.SHAPE}

- You get what you ask for; answers of this form that are left: {left}. Up to {requests.MOST} \
requests in each, of these actions only.
- read: a file, or its lines (lines "" is all of it). search: a regular expression of Python, in \
each line of the files at or below path ("" is everywhere). list: a directory. run: one of the \
test commands above, word for word.
- Ask for nothing that is here already, and change nothing that you have not seen.
"""


def _task(context: TaskContext) -> str:
    parts = [f"# Task: {context.title}\n\n", _section("Description", context.description)]
    if context.acceptance_criteria:
        numbered = "\n".join(
            f"{number}. {text}" for number, text in enumerate(context.acceptance_criteria, 1)
        )
        parts.append(_section("Acceptance Criteria", numbered))
    if context.dependencies:
        done = "\n".join(f"- Task {name}" for name in context.dependencies)
        parts.append(_section("Completed Dependencies", done))
    return "".join(parts)


def _facts(context: TaskContext) -> str:
    facts: dict[str, Any] = {
        "Required skill": context.required_skill,
        "Complexity": context.complexity,
        "Spec": context.spec_name,
        "Tests": "; ".join(context.test_commands or ()),
    }
    facts |= {
        name: value
        for name, value in context.metadata.items()
        if isinstance(value, str | int | float)
        and name not in _NOT_TOLD
        and not is_secret_name(name)
    }
    allowed = validation.allowed_tests(context)
    if isinstance(allowed, tuple):
        facts[validation.ALLOWED_TESTS] = ", ".join(allowed)
    lines = [f"- {name}: {' '.join(str(value).split())}" for name, value in facts.items() if value]
    return _section("Technical Context", "\n".join(lines))


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text.strip(chr(10))}\n\n"
